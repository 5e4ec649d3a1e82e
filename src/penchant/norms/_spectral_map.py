r"""Functions of a matrix through its singular values, with derivatives that are finite.

Automatic differentiation of an SVD divides by differences of singular values, and so
gives NaN at repeated ones and at rank deficiency, where weights spend their lives. A
function $F(W)=U\,\mathrm{diag}(\varphi(\sigma))V^\top$ with symmetric, odd $\varphi$
has no such trouble: its derivative is written with divided differences
(Daleckii--Krein), whose limits at ties are derivatives of $\varphi$.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import linalg
from jaxtyping import Array, Float

from penchant._types import Tree

Matrix = Float[Array, "k d"]
Values = Float[Array, " r"]


def svd(
    W: Matrix,
) -> tuple[Float[Array, "k r"], Values, Float[Array, "r d"]]:
    """The reduced decomposition `U, s, Vt`.

    Small tall matrices by the QR iteration: on a CPU twice as fast as the default,
    divide and conquer, which pays from some tens of columns on.
    """
    wide = W.shape[0] < W.shape[1]
    tall = W.T if wide else W
    small = min(W.shape) <= 48 and jax.default_backend() == "cpu"
    algorithm = linalg.SvdAlgorithm.QR if small else None
    U, s, Vt = linalg.svd(tall, full_matrices=False, algorithm=algorithm)
    return (Vt.T, s, U.T) if wide else (U, s, Vt)


@jax.custom_jvp
def singular_values(W: Matrix) -> Values:
    """Singular values in descending order; derivative 0 at the zero matrix."""
    return svd(W)[1]


@singular_values.defjvp
def _(primals: Tree, tangents: Tree) -> Any:
    (W,), (dW,) = primals, tangents
    U, s, Vt = svd(W)
    ds = jnp.einsum("ki,kd,id->i", U, dW, Vt)
    return s, jnp.where(s[0] > 0, ds, 0.0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def spectral_map(W: Matrix, phi: Callable[[Values], Values]) -> Matrix:
    r"""$U\,\mathrm{diag}(\varphi(\sigma))\,V^\top$, $U,\sigma,V$ the SVD of $W$.

    Args:
        W: A matrix of any rank.
        phi: Maps the vector of singular values to one of the same shape; symmetric
            under permutation and odd in each entry, so that $F$ is well defined.
    """
    U, s, Vt = svd(W)
    return (U * phi(s)[None, :]) @ Vt


@spectral_map.defjvp
def _(phi: Callable[[Values], Values], primals: Tree, tangents: Tree) -> Any:
    (W,), (dW,) = primals, tangents
    U, s, Vt = svd(W)
    value, J = phi(s), jax.jacfwd(phi)(s)
    near = 1e-9 * jnp.where(s[0] > 0, s[0], 1.0)

    inner = U.T @ dW @ Vt.T
    even, odd = 0.5 * (inner + inner.T), 0.5 * (inner - inner.T)
    row, col = value[:, None], value[None, :]
    diag = jnp.diagonal(J)
    difference = s[:, None] - s[None, :]
    apart = jnp.abs(difference) > near
    at_tie = 0.5 * (diag[:, None] + diag[None, :]) - J
    for_even = jnp.where(apart, (row - col) / jnp.where(apart, difference, 1.0), at_tie)
    total = s[:, None] + s[None, :]
    positive = total > near
    at_zero = 0.5 * (diag[:, None] + diag[None, :])
    for_odd = jnp.where(
        positive, (row + col) / jnp.where(positive, total, 1.0), at_zero
    )
    along = jnp.diag(J @ jnp.diagonal(inner))
    off = 1.0 - jnp.eye(s.size, dtype=s.dtype)
    core = along + off * (for_even * even + for_odd * odd)

    # directions outside the row and column spaces see the chord phi(s)/s
    nonzero = s > near
    chord = jnp.where(nonzero, value / jnp.where(nonzero, s, 1.0), diag)
    left = (dW @ Vt.T - U @ inner) * chord[None, :]
    right = (U.T @ dW - inner @ Vt) * chord[:, None]
    return (U * col) @ Vt, U @ core @ Vt + left @ Vt + U @ right
