import equinox as eqx
import jax.numpy as jnp

from penchant._checks import check_number
from penchant._leaves import as_memory
from penchant._types import Parameters, Real, Scalar
from penchant.norms import L2
from penchant.optimizers._base import AbstractOptimizer
from penchant.optimizers._character import Character, as_memory_of
from penchant.optimizers._moments import (
    FirstMoment,
    memory_of,
    move,
    remember,
)
from penchant.problems import ScaledGradient


class GradientDescent(AbstractOptimizer):
    r"""$b\leftarrow\mu b+g$, $w\leftarrow w-\eta b$: heavy-ball momentum, as in torch.

    Steps shrink with the loss: past a loss of about $e^{-36}$ of the weights' rounding
    they are exact but no longer move float64 weights.

    Args:
        momentum: $\mu\in[0,1)$; 0 is plain gradient descent.

    Raises:
        ValueError: If `momentum` is outside [0, 1).
    """

    momentum: Real = eqx.field(default=0.0, converter=as_memory)

    def __check_init__(self):
        check_number("momentum", self.momentum, least=0.0, below=1.0)

    def init(self, w: Parameters) -> FirstMoment | None:
        return memory_of(self.momentum, w)

    def character(self) -> Character:
        first = as_memory_of(self.momentum, kind="sum")
        return Character(L2(), False, first, steepest=True)

    def update(
        self,
        gradient: ScaledGradient,
        state: FirstMoment | None,
        w: Parameters,
        step_size: Scalar,
    ) -> tuple[Parameters, FirstMoment | None]:
        b = remember(state, gradient, self.momentum, 1.0)
        w = move(w, b.value, step_size * jnp.exp(b.log_frame))
        return w, None if state is None else b
