import dataclasses

import equinox as eqx
import jax.numpy as jnp

from penchant._checks import check_number
from penchant._leaves import as_leaf
from penchant._types import Parameters, Real, Scalar
from penchant.optimizers._adam import Adam
from penchant.optimizers._base import AbstractOptimizer
from penchant.optimizers._character import Character
from penchant.optimizers._moments import TwoMoments
from penchant.problems import ScaledGradient


class RMSProp(AbstractOptimizer):
    r"""$w\leftarrow w-\eta\,g/(\sqrt v+\varepsilon)$, $v$ a running mean of $g^2$.

    Adam without a first moment. With `bias_correction` it is what
    `wang2021adaptive` calls Adam without momentum. Without, the first step is
    $\eta/\sqrt{1-\beta_2}$ long in every coordinate.

    Args:
        b2: Decay of the second moment, in [0, 1).
        eps: $\varepsilon\ge0$.
        eps_inside: $\sqrt{v+\varepsilon}$ in place of $\sqrt v+\varepsilon$.
        bias_correction: Divide $v$ by $1-\beta_2^t$.

    Raises:
        ValueError: If `b2` is outside [0, 1) or `eps` is negative.
    """

    b2: Real = eqx.field(default=0.99, converter=as_leaf)
    eps: Real = eqx.field(default=1e-8, converter=as_leaf)
    eps_inside: bool = eqx.field(default=False, static=True)
    bias_correction: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        check_number("b2", self.b2, least=0.0, below=1.0)
        check_number("eps", self.eps, least=0.0, finite=True)

    def _adam(self) -> Adam:
        b1 = jnp.zeros_like(self.b2)
        return Adam(b1, self.b2, self.eps, self.eps_inside, self.bias_correction)

    def init(self, w: Parameters) -> TwoMoments:
        return self._adam().init(w)

    def character(self) -> Character:
        return dataclasses.replace(self._adam().character(), first=None)

    def log_second(self, state: TwoMoments) -> Parameters:
        return state.log_second()

    def update(
        self,
        gradient: ScaledGradient,
        state: TwoMoments,
        w: Parameters,
        step_size: Scalar,
    ) -> tuple[Parameters, TwoMoments]:
        return self._adam().update(gradient, state, w, step_size)
