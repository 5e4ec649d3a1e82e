from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from penchant._types import Parameters, Scalar
from penchant.optimizers._base import AbstractOptimizer, State
from penchant.problems import ScaledGradient


class FromOptax(AbstractOptimizer):
    r"""Any `optax.GradientTransformation`, its updates multiplied by the step size.

    Give the transformation a learning rate of 1 and the schedule to `train`, or its own
    schedule and `step_size=1.0`. It sees the gradient itself, not a scaled one: below
    a loss of about $e^{-745}$ it is 0, and its own `eps` acts as in any framework.

    >>> import optax, penchant as pn
    >>> rule = pn.optimizers.FromOptax(optax.adamw(1.0))

    Args:
        tx: The transformation; part of the compiled code, so its hyper-parameters
            can't be swept.

    Raises:
        TypeError: If `tx` has no `init` and `update`.
    """

    opaque: ClassVar[bool] = True

    tx: Any = eqx.field(static=True)

    def __check_init__(self):
        if not (hasattr(self.tx, "init") and hasattr(self.tx, "update")):
            raise TypeError(
                "tx must be an optax.GradientTransformation (with init and update); "
                f"got {self.tx!r}."
            )

    def init(self, w: Parameters) -> State:
        return self.tx.init(w)

    def update(
        self, gradient: ScaledGradient, state: State, w: Parameters, step_size: Scalar
    ) -> tuple[Parameters, State]:
        updates, state = self.tx.update(gradient.value(), state, w)
        w = jax.tree.map(lambda w, u: w + jnp.asarray(step_size) * u, w, updates)
        return w, state

    def __repr__(self) -> str:
        return "FromOptax(…)"
