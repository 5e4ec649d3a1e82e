import equinox as eqx
import jax
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

    With `nesterov` the step is along $g+\mu b$, the memory one step ahead.

    Args:
        momentum: $\mu\in[0,1)$; 0 is plain gradient descent.
        nesterov: Nesterov's momentum, as in torch and optax; without momentum it
            changes nothing.

    Raises:
        ValueError: If `momentum` is outside [0, 1).
    """

    momentum: Real = eqx.field(default=0.0, converter=as_memory)
    nesterov: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        check_number("momentum", self.momentum, least=0.0, below=1.0)

    def init(self, w: Parameters) -> FirstMoment | None:
        return memory_of(self.momentum, w)

    def character(self) -> Character:
        ahead = {"mix": jnp.asarray(self.momentum) ** 2} if self.nesterov else {}
        first = as_memory_of(self.momentum, kind="sum", **ahead)
        return Character(L2(), False, first, steepest=True)

    def update(
        self,
        gradient: ScaledGradient,
        state: FirstMoment | None,
        w: Parameters,
        step_size: Scalar,
    ) -> tuple[Parameters, FirstMoment | None]:
        b = remember(state, gradient, self.momentum, 1.0)
        direction = b.value
        if self.nesterov and state is not None:
            fresh = jnp.exp(gradient.log_scale - b.log_frame)
            direction = jax.tree.map(
                lambda b, g: self.momentum * b + fresh * g, b.value, gradient.direction
            )
        w = move(w, direction, step_size * jnp.exp(b.log_frame))
        return w, None if state is None else b
