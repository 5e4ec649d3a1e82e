"""Whether a field of forces is the gradient of anything at all."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from penchant._checks import check_count
from penchant._keys import as_key
from penchant._types import Key, Parameters

CONSERVATIVE = 1e-6
"""Below this a field counts as a gradient: products of float64, chained."""


class Curl(eqx.Module):
    r"""How far a field's Jacobian $J$ is from symmetric.

    `value` is $\sqrt{\sum(u^\top Jv-v^\top Ju)^2/\sum((u^\top Jv)^2+(v^\top Ju)^2)}$
    over random $u,v$: 0 for a gradient, about 1 where the two have nothing to do with
    one another. `error` is its standard error over the pairs.
    """

    value: float = eqx.field(static=True)
    error: float = eqx.field(static=True)
    pairs: int = eqx.field(static=True)

    @property
    def conservative(self) -> bool:
        """Whether the field is a gradient, up to rounding: a penalty exists."""
        return self.value < CONSERVATIVE

    def __repr__(self) -> str:
        if math.isnan(self.value):
            return "Curl: the field does not change, and has a linear potential"
        if self.conservative:
            return f"Curl {self.value:.1g}: a gradient, so some penalty exists"
        return (
            f"Curl {self.value:.3g} ± {self.error:.1g}: no gradient field; no penalty "
            "of the weights makes these forces"
        )


def curl(
    field: Callable[[Parameters], Any],
    w: Parameters,
    *,
    pairs: int = 32,
    key: Key = 0,
) -> Curl:
    r"""Is there any penalty at all? A gradient field has a symmetric Jacobian.

    A penalty that makes the force $r(w)$ near `w` exists if and only if $J=\partial r$
    is symmetric there. Dropout's and label noise's are by construction; what a divisor
    $1/\sqrt{v(w)}$ does to a gradient, or a ridge with the Fisher matrix of the current
    weights frozen in it, is not, and then no fit of penalties means anything.

    >>> import jax.numpy as jnp
    >>> import penchant as pn
    >>> turning = lambda w: jnp.stack([-w[1], w[0]])
    >>> pn.estimators.curl(turning, jnp.ones(2)).conservative
    False
    >>> pn.estimators.curl(lambda w: w**3, jnp.ones(2)).conservative
    True

    Args:
        field: `field(params)`, forces in a pytree like the parameters; a pure JAX
            function.
        w: Where.
        pairs: How many pairs of random directions.
        key: A seed, or a JAX key.

    Raises:
        TypeError: If `field` is no function, or gives no pytree like `w`.
        ValueError: If `pairs` is below 2.
    """
    if not callable(field):
        raise TypeError(f"field must be a function; got {type(field).__name__}.")
    pairs = check_count("pairs", pairs, least=2)
    w = jax.tree.map(lambda x: jnp.asarray(x, dtype=float), w)
    shapes = jax.eval_shape(field, w)
    if jax.tree.map(jnp.shape, shapes) != jax.tree.map(jnp.shape, w):
        raise TypeError("field must return a pytree like w, of the same shapes.")
    there, back = _products(field, w, as_key(key), pairs)
    a, b = np.asarray(there), np.asarray(back)
    odd, all_of = (a - b) ** 2, a**2 + b**2
    if not all_of.sum() > 0:
        return Curl(math.nan, 0.0, pairs)
    square = odd.sum() / all_of.sum()
    # of a ratio of means, by what each pair leaves
    spread = np.std(odd - square * all_of, ddof=1) / math.sqrt(pairs) / all_of.mean()
    value = math.sqrt(square)
    return Curl(value, float(spread / max(2.0 * value, 1e-300)), pairs)


@eqx.filter_jit
def _products(
    field: Callable[[Parameters], Any], w: Parameters, key: Array, pairs: int
) -> tuple[Array, Array]:
    flat, unflat = ravel_pytree(w)
    forces = lambda v: ravel_pytree(field(unflat(v)))[0]

    def one(key: Array) -> Any:
        u, v = jax.random.normal(key, (2, flat.shape[0]))
        # both products forward: a field need not have a transpose that is cheap
        Jv = jax.jvp(forces, (flat,), (v,))[1]
        Ju = jax.jvp(forces, (flat,), (u,))[1]
        return u @ Jv, v @ Ju

    return jax.lax.map(one, jax.random.split(key, pairs))
