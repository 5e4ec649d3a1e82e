import functools
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from penchant._types import Parameters, Scalar
from penchant.optimizers._base import AbstractOptimizer, Loss, State
from penchant.problems import ScaledGradient


class FromOptax(AbstractOptimizer):
    r"""Any `optax.GradientTransformation`, its updates multiplied by the step size.

    Give the transformation a learning rate of 1 and the schedule to `train`, or its own
    schedule and `step_size=1.0`. It sees the gradient itself, not a scaled one: below
    a loss of about $e^{-745}$ it is 0, and its own `eps` acts as in any framework.

    Transformations that read the loss besides (`lbfgs`, `polyak_sgd`,
    `contrib.reduce_on_plateau`) get `value`, `grad` and `value_fn` of the step's batch.

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

    @property
    def needs_loss(self) -> bool:
        """Whether the transformation reads the loss."""
        return _reads_loss(self.tx)

    def update(
        self,
        gradient: ScaledGradient,
        state: State,
        w: Parameters,
        step_size: Scalar,
        loss: Loss | None = None,
    ) -> tuple[Parameters, State]:
        g = gradient.value()
        more = {}
        if loss is not None:
            more = {"value": loss(w), "grad": g, "value_fn": loss}
        # optax adds numbers of single and double precision where it searches
        with jax.numpy_dtype_promotion("standard"):
            updates, state = self.tx.update(g, state, w, **more)
        w = jax.tree.map(lambda w, u: w + jnp.asarray(step_size) * u, w, updates)
        return w, state

    def __repr__(self) -> str:
        return "FromOptax(…)"


@functools.lru_cache(maxsize=64)
def _reads_loss(tx: Any) -> bool:
    """Whether a transformation reads the loss: seen by what it does with one.

    optax's chains take a loss whether or not a link reads it, so the type can't say.
    """
    if "GradientTransformationExtraArgs" not in {k.__name__ for k in type(tx).__mro__}:
        return False
    asked = []

    def value_fn(w: Array) -> Array:
        asked.append(True)
        return jnp.sum(w**2)

    def step(value: Array, w: Array) -> Any:
        return tx.update(w, tx.init(w), w, value=value, grad=w, value_fn=value_fn)

    try:
        with jax.numpy_dtype_promotion("standard"):
            jaxpr = jax.make_jaxpr(step)(jnp.ones(()), jnp.ones((2, 2))).jaxpr
    except Exception:  # noqa: BLE001 - of another shape of weights, perhaps
        return True
    read = {id(v) for equation in jaxpr.eqns for v in equation.invars}
    return bool(asked) or id(jaxpr.invars[0]) in read | {id(v) for v in jaxpr.outvars}
