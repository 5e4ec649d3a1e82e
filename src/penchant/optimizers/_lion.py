import equinox as eqx
import jax
import jax.numpy as jnp

from penchant._checks import check_number
from penchant._leaves import as_leaf
from penchant._types import Parameters, Real, Scalar
from penchant.norms import Linf
from penchant.optimizers._base import AbstractOptimizer
from penchant.optimizers._character import Character, Memory
from penchant.optimizers._moments import (
    FirstMoment,
    decay_first,
    move,
    no_first_moment,
)
from penchant.problems import ScaledGradient


class Lion(AbstractOptimizer):
    r"""$w\leftarrow w-\eta\,\mathrm{sign}(\beta_1m+(1-\beta_1)g)$, then
    $m\leftarrow\beta_2m+(1-\beta_2)g$.

    `chen2023lion`, without weight decay. With `b1 == b2` it is
    [`Signum`][penchant.optimizers.Signum].

    Args:
        b1: Weight of the memory in the step, in [0, 1).
        b2: Decay of the memory, in [0, 1).

    Raises:
        ValueError: If a decay is outside [0, 1).
    """  # noqa: D205

    b1: Real = eqx.field(default=0.9, converter=as_leaf)
    b2: Real = eqx.field(default=0.99, converter=as_leaf)

    def __check_init__(self):
        check_number("b1", self.b1, least=0.0, below=1.0)
        check_number("b2", self.b2, least=0.0, below=1.0)

    def init(self, w: Parameters) -> FirstMoment:
        return no_first_moment(w)

    def character(self) -> Character:
        return Character(Linf(), True, Memory(self.b2, mix=self.b1), steepest=True)

    def update(
        self,
        gradient: ScaledGradient,
        state: FirstMoment,
        w: Parameters,
        step_size: Scalar,
    ) -> tuple[Parameters, FirstMoment]:
        b1, b2 = jnp.asarray(self.b1), jnp.asarray(self.b2)
        mixed = decay_first(state, gradient, b1, 1.0 - b1)
        direction = jax.tree.map(jnp.sign, mixed.value)
        state = decay_first(state, gradient, b2, 1.0 - b2)
        return move(w, direction, step_size), state
