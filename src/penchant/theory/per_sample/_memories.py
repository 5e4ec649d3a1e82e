"""What the memories m and v hold over steps, and the means of m/√v along them."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from penchant._types import Scalar, Vector

LEAST = 1e-290
"""Second moments below it are 0: their inverse cubes would overflow."""


def memories(
    b1: Scalar, b2: Scalar, growth: Scalar
) -> tuple[tuple[Scalar, Scalar], tuple[Scalar, Scalar]]:
    r"""What $m$ and $v$ keep of a step ago, and the factor of what they see now."""
    first = (b1 * jnp.exp(growth), 1.0 - b1)
    return first, (b2 * jnp.exp(2.0 * growth), 1.0 - b2)


def periodic(G: Float[Array, "s d"], kept: Scalar, gain: Scalar) -> Vector:
    r"""Where $m\leftarrow\text{kept}\cdot m+\text{gain}\cdot G_s$ is after a period."""
    s = G.shape[0]
    # what a whole period leaves adds up as a geometric series
    period = -jnp.expm1(s * jnp.log(kept))
    return gain * (kept ** jnp.arange(s - 1.0, -1.0, -1.0) @ G) / period


@jax.custom_vjp
def means_over(
    G: Float[Array, "s ..."],
    m: Float[Array, "..."],
    v: Float[Array, "..."],
    kept1: Scalar,
    gain1: Scalar,
    kept2: Scalar,
    gain2: Scalar,
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    r"""The means of $m_s/\sqrt{v_s}$, $m_s$, $v_s$ over steps that see $G_s$.

    From `m` and `v` on. The derivative is a scan back, given what the scan forward saw:
    several times faster than the loop's own. The decays have none.
    """

    def one(carry: Any, x: Array) -> Any:
        m, v, *sums = carry
        m, v = kept1 * m + gain1 * x, kept2 * v + gain2 * x**2
        return (m, v, *_added(sums, m * _rooted(v), m, v)), None

    zero = jnp.zeros_like(m)
    end, _ = jax.lax.scan(one, (m, v, zero, zero, zero), G)
    return _over(end[2:], G.shape[0])


def _added(sums: Any, *terms: Array) -> Any:
    return tuple(a + b for a, b in zip(sums, terms, strict=True))


def _over(sums: Any, count: int) -> Any:
    return tuple(total / count for total in sums)


def _rooted(v: Array) -> Array:
    """1/√v; 0 where v is, to the digits that squares have."""
    positive = v > LEAST
    return jnp.where(positive, jax.lax.rsqrt(jnp.where(positive, v, 1.0)), 0.0)


def _means_forward(
    G: Array, m: Array, v: Array, kept1: Any, gain1: Any, kept2: Any, gain2: Any
) -> Any:
    def one(carry: Any, x: Array) -> Any:
        m, v, *sums = carry
        m, v = kept1 * m + gain1 * x, kept2 * v + gain2 * x**2
        r = _rooted(v)
        return (m, v, *_added(sums, m * r, m, v)), (m * r, r)

    zero = jnp.zeros_like(m)
    end, seen = jax.lax.scan(one, (m, v, zero, zero, zero), G)
    return _over(end[2:], G.shape[0]), (G, *seen, (kept1, gain1, kept2, gain2))


def _means_back(saved: Any, bars: Any) -> Any:
    G, ratio, root, (kept1, gain1, kept2, gain2) = saved
    of_ratio, of_m, of_v = _over(bars, G.shape[0])

    # a = d/dm_s and h = d/dv_s of all that comes after, the step itself included
    def one(carry: Any, x: Any) -> Any:
        a, h = carry
        now, u, r = x
        a = kept1 * a + of_m + of_ratio * r
        h = kept2 * h + of_v - 0.5 * of_ratio * u * r**2
        return (a, h), gain1 * a + 2.0 * gain2 * now * h

    zero = jnp.zeros_like(of_ratio)
    (a, h), slopes = jax.lax.scan(one, (zero, zero), (G, ratio, root), reverse=True)
    none = jnp.zeros(())
    return slopes, kept1 * a, kept2 * h, none, none, none, none


means_over.defvjp(_means_forward, _means_back)
