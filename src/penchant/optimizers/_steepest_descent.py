import equinox as eqx
import jax
import jax.numpy as jnp

from penchant._checks import check_instance, check_number
from penchant._leaves import as_memory
from penchant._types import Parameters, Real, Scalar
from penchant.norms import AbstractNorm
from penchant.optimizers._base import AbstractOptimizer
from penchant.optimizers._character import Character, as_memory_of
from penchant.optimizers._moments import (
    FirstMoment,
    memory_of,
    move,
    remember,
)
from penchant.problems import ScaledGradient


class SteepestDescent(AbstractOptimizer):
    r"""Steepest descent in a norm, with momentum: $w\leftarrow w-\eta\,d$.

    $m\leftarrow\beta_1m+(1-\beta_1)g$ and
    $d=\arg\max_{\|d\|\le1}\langle m,d\rangle$, times $\|m\|_*$ unless `normalized`. The
    algorithms NSD and NMD of `fan2025spectral`; with `normalized=False` and `b1=0` that
    of `gunasekar2018geometry`.

    Args:
        norm: The geometry. A pytree of parameters takes the norm leaf by leaf.
        b1: Momentum, in [0, 1), as an exponential mean.
        normalized: Drop the factor $\|m\|_*$: steps of norm $\eta$ at any loss.

    Raises:
        TypeError: If `norm` is no norm.
        ValueError: If `b1` is outside [0, 1).
    """

    norm: AbstractNorm
    b1: Real = eqx.field(default=0.0, converter=as_memory)
    normalized: bool = eqx.field(default=True, static=True)

    def __check_init__(self):
        check_instance("norm", self.norm, AbstractNorm, "one of penchant.norms")
        check_number("b1", self.b1, least=0.0, below=1.0)

    def init(self, w: Parameters) -> FirstMoment | None:
        return memory_of(self.b1, w)

    def character(self) -> Character:
        return Character(
            self.norm, self.normalized, as_memory_of(self.b1), steepest=True
        )

    def update(
        self,
        gradient: ScaledGradient,
        state: FirstMoment | None,
        w: Parameters,
        step_size: Scalar,
    ) -> tuple[Parameters, FirstMoment | None]:
        m = remember(state, gradient, self.b1, 1.0 - self.b1)
        direction = jax.tree.map(self.norm.steepest, m.value)
        if not self.normalized:
            length = jnp.exp(m.log_frame)
            direction = jax.tree.map(
                lambda d, m: length * self.norm.dual(m) * d, direction, m.value
            )
        return move(w, direction, step_size), None if state is None else m
