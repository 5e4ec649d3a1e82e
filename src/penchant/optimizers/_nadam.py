import equinox as eqx
import jax
import jax.numpy as jnp

from penchant._checks import check_number
from penchant._leaves import as_leaf
from penchant._types import Parameters, Real, Scalar
from penchant.norms import Linf
from penchant.optimizers._base import AbstractOptimizer
from penchant.optimizers._character import Character, Divisor, Memory, as_memory_of
from penchant.optimizers._moments import (
    TwoMoments,
    adaptive_ratio,
    correct,
    decay_both,
    move,
    no_moments,
)
from penchant.problems import ScaledGradient


class NAdam(AbstractOptimizer):
    r"""Adam with Nesterov's momentum: steps along $\beta_1m+(1-\beta_1)g$.

    `dozat2016incorporating`, with a constant $\beta_1$ as in optax; torch's warms
    $\beta_1$ up besides. $m$ and $v$ are those of [`Adam`][penchant.optimizers.Adam],
    the new gradient in them. With `bias_correction` the memory is divided by
    $1-\beta_1^{t+1}$ and the gradient by $1-\beta_1^t$.

    >>> import penchant as pn
    >>> pn.optimizers.NAdam().character().first.nesterov
    True

    Args:
        b1: Decay of the first moment, in [0, 1).
        b2: Decay of the second moment, in [0, 1).
        eps: $\varepsilon\ge0$.
        eps_inside: $\sqrt{v+\varepsilon}$ in place of $\sqrt v+\varepsilon$.
        bias_correction: Correct the moments as the frameworks do.

    Raises:
        ValueError: If a decay is outside [0, 1) or `eps` is negative.
    """

    b1: Real = eqx.field(default=0.9, converter=as_leaf)
    b2: Real = eqx.field(default=0.999, converter=as_leaf)
    eps: Real = eqx.field(default=1e-8, converter=as_leaf)
    eps_inside: bool = eqx.field(default=False, static=True)
    bias_correction: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        check_number("b1", self.b1, least=0.0, below=1.0)
        check_number("b2", self.b2, least=0.0, below=1.0)
        check_number("eps", self.eps, least=0.0, finite=True)

    def init(self, w: Parameters) -> TwoMoments:
        return no_moments(w)

    def character(self) -> Character:
        first = as_memory_of(self.b1, corrected=self.bias_correction)
        if first is not None:
            mix = jnp.square(jnp.asarray(self.b1))
            first = Memory(self.b1, mix=mix, corrected=self.bias_correction)
        second = Divisor(
            "mean", self.b2, self.eps, self.eps_inside, self.bias_correction
        )
        return Character(Linf(), True, first, second)

    def log_second(self, state: TwoMoments) -> Parameters:
        return state.log_second()

    def update(
        self,
        gradient: ScaledGradient,
        state: TwoMoments,
        w: Parameters,
        step_size: Scalar,
    ) -> tuple[Parameters, TwoMoments]:
        state = decay_both(state, gradient, self.b1, self.b2)
        m, v = state.first, state.second
        scale = jnp.exp(gradient.log_scale - state.log_frame)
        g = jax.tree.map(lambda d: scale * d, gradient.direction)
        if self.bias_correction:
            m = correct(m, self.b1, state.count + 1.0)
            g = correct(g, self.b1, state.count)
            v = correct(v, self.b2, state.count)
        ahead = jax.tree.map(lambda m, g: self.b1 * m + (1.0 - self.b1) * g, m, g)
        ratio = adaptive_ratio(ahead, v, state.log_frame, self.eps, self.eps_inside)
        return move(w, ratio, step_size), state
