from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from penchant._checks import check_count

Flat = Float[Array, " p"]


def lanczos(
    product: Callable[[Flat], Flat], start: Flat, steps: int
) -> tuple[Array, Array]:
    r"""Ritz values of a symmetric matrix, ascending, and their residuals.

    Fully reorthogonalised. Each value lies within its residual of an eigenvalue, and
    the largest is never above $\lambda_1$. Where the Krylov space ends early the
    values are exact and the rest repeat.

    >>> import jax.numpy as jnp, penchant as pn
    >>> A = jnp.diag(jnp.array([1.0, 2.0, 5.0]))
    >>> values, residuals = pn.measures.lanczos(lambda v: A @ v, jnp.ones(3), 3)
    >>> [round(float(v), 12) for v in values]
    [1.0, 2.0, 5.0]

    Args:
        product: `v -> A v`, traced once.
        start: Any vector but 0.
        steps: Number of products, at most the length of `start`.

    Raises:
        ValueError: If `steps` is less than 1.
    """
    steps = min(check_count("steps", steps), start.shape[0])
    _, values, residuals = krylov(product, start, steps)
    return values, residuals


def largest_ritz(
    product: Callable[[Flat], Flat], start: Flat, steps: int
) -> tuple[Array, Array, Flat]:
    r"""The largest Ritz value of a symmetric matrix, its residual, and its unit vector.

    As [`lanczos`][penchant.measures.lanczos], for whoever goes on from the vector: to
    its quotients on other matrices, or from a matrix to one nearby.

    >>> import jax.numpy as jnp, penchant as pn
    >>> A = jnp.diag(jnp.array([1.0, 2.0, 5.0]))
    >>> value, residual, v = pn.measures.largest_ritz(lambda v: A @ v, jnp.ones(3), 3)
    >>> round(float(value), 12), [round(abs(float(x)), 6) for x in v]
    (5.0, [0.0, 0.0, 1.0])

    Args:
        product: `v -> A v`, traced once.
        start: Any vector but 0.
        steps: Number of products, at most the length of `start`.

    Raises:
        ValueError: If `steps` is less than 1.
    """
    steps = min(check_count("steps", steps), start.shape[0])
    Q, T, beta = _tridiagonal(product, start, steps)
    values, U = jnp.linalg.eigh(T)
    v = Q.T @ U[:, -1]
    return values[-1], jnp.abs(beta * U[-1, -1]), v / jnp.linalg.norm(v)


def krylov(
    product: Callable[[Flat], Flat], start: Flat, steps: int
) -> tuple[Float[Array, "k p"], Array, Array]:
    """An orthonormal basis in rows, then Ritz values and residuals as `lanczos`.

    Rows after an early end are 0, as are their Ritz values.
    """
    Q, T, beta = _tridiagonal(product, start, steps)
    values, U = jnp.linalg.eigh(T)
    return Q, values, jnp.abs(beta * U[-1])


def _tridiagonal(
    product: Callable[[Flat], Flat], start: Flat, steps: int
) -> tuple[Float[Array, "k p"], Float[Array, "k k"], Array]:
    tiny = 1e-14

    def one(carry: tuple, i: Array) -> tuple:
        Q, q, before = carry
        Q = Q.at[i].set(q)
        u = product(q)
        alpha = jnp.vdot(q, u)
        for _ in range(2):  # twice is enough for orthogonality to rounding
            u = u - Q.T @ (Q @ u)
        beta = jnp.linalg.norm(u)
        scale = jnp.maximum(before, jnp.abs(alpha))
        goes_on = beta > tiny * scale
        following = jnp.where(goes_on, u / jnp.where(goes_on, beta, 1.0), 0.0)
        carry = (Q, following, jnp.maximum(scale, beta))
        return carry, (alpha, jnp.where(goes_on, beta, 0.0))

    q = start / jnp.linalg.norm(start)
    Q = jnp.zeros((steps, start.shape[0]))
    carry = (Q, q, jnp.zeros(()))
    (Q, *_), (alpha, beta) = jax.lax.scan(one, carry, jnp.arange(steps))
    T = jnp.diag(alpha) + jnp.diag(beta[:-1], 1) + jnp.diag(beta[:-1], -1)
    return Q, T, beta[-1]
