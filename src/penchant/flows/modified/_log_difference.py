import jax
import jax.numpy as jnp
from jaxtyping import Array

from penchant._checks import check_count
from penchant._types import Parameters


def log_difference(weights: Parameters, *, order: int = 5) -> Parameters:
    r"""$h\dot w(t_n)=\log(1+\Delta)w_n=\sum_{k=1}^{\text{order}}\frac{(-1)^{k-1}}k
    \Delta^kw_n$: the field that a run follows, from its steps alone.

    To compare with $-F$ and $-F+hC$: it tests a correction without solving anything.
    It needs a run that is smooth from step to step: not within the first steps of a
    memory, nor where a rule oscillates.

    >>> import jax.numpy as jnp, penchant as pn
    >>> run = 0.9 ** jnp.arange(12.0)[:, None]
    >>> field = pn.flows.log_difference(run, order=9)
    >>> round(float(field[0, 0]), 8), round(float(jnp.log(0.9)), 8)
    (-0.10536052, -0.10536052)

    Args:
        weights: Of consecutive steps, along a leading axis.
        order: Differences taken; the error is of the next one's size.

    Returns:
        $h\dot w$ at all steps that have `order` after them.

    Raises:
        ValueError: If `order` is below 1, or there are not more records than that.
    """  # noqa: D205
    order = check_count("order", order)
    count = len(jax.tree.leaves(weights)[0])
    if count <= order:
        raise ValueError(
            f"weights must be of more than {order} consecutive steps; got {count}."
        )

    def one(w: Array) -> Array:
        total, difference = jnp.zeros(()), w
        for k in range(1, order + 1):
            difference = jnp.diff(difference, axis=0)
            total = total + (-1.0) ** (k - 1) / k * difference[: count - order]
        return total

    return jax.tree.map(one, weights)
