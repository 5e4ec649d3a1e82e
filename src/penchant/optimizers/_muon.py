import equinox as eqx
import jax
import jax.numpy as jnp

from penchant._checks import check_instance, check_number
from penchant._leaves import as_memory
from penchant._types import Parameters, Real, Scalar
from penchant.norms import Spectral
from penchant.optimizers._base import AbstractOptimizer
from penchant.optimizers._character import Character, as_memory_of
from penchant.optimizers._moments import (
    FirstMoment,
    memory_of,
    move,
    remember,
)
from penchant.optimizers._polar import AbstractPolar, ExactPolar
from penchant.problems import ScaledGradient


class Muon(AbstractOptimizer):
    r"""Momentum, orthogonalised: $w\leftarrow w-\eta\,\mathrm{polar}(m)$.

    $m\leftarrow\beta_1m+(1-\beta_1)g$ (`jordan2024muon`). The scale of the momentum is
    immaterial, so $\beta_1m+g$, as frameworks write it, is the same rule. No weight
    decay, and no factor for the shape of a layer. `Muon(0.0)` is Spectral descent.

    Args:
        b1: Momentum, in [0, 1).
        polar: How the polar factor is computed.
        nesterov: Orthogonalise $\beta_1m+(1-\beta_1)g$ in place of $m$.

    Raises:
        TypeError: If `polar` is no polar map.
        ValueError: If `b1` is outside [0, 1).
    """

    b1: Real = eqx.field(default=0.95, converter=as_memory)
    polar: AbstractPolar = ExactPolar()
    nesterov: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        check_number("b1", self.b1, least=0.0, below=1.0)
        check_instance(
            "polar",
            self.polar,
            AbstractPolar,
            "one of ExactPolar(), NewtonSchulz(), CubicNewtonSchulz(), PolarExpress()",
        )

    def init(self, w: Parameters) -> FirstMoment | None:
        return memory_of(self.b1, w)

    def character(self) -> Character:
        ahead = {"mix": jnp.asarray(self.b1) ** 2} if self.nesterov else {}
        first = as_memory_of(self.b1, **ahead)
        return Character(Spectral(), True, first, steepest=self.polar.exact)

    def update(
        self,
        gradient: ScaledGradient,
        state: FirstMoment | None,
        w: Parameters,
        step_size: Scalar,
    ) -> tuple[Parameters, FirstMoment | None]:
        b1 = self.b1
        m = remember(state, gradient, b1, 1.0 - b1)
        direction = m.value
        if self.nesterov:
            ahead = (1.0 - b1) * jnp.exp(gradient.log_scale - m.log_frame)
            direction = jax.tree.map(
                lambda m, g: b1 * m + ahead * g, direction, gradient.direction
            )
        w = move(w, jax.tree.map(self.polar, direction), step_size)
        return w, None if state is None else m
