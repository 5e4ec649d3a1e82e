r"""The manifold of minimisers near some weights: its normals, and the way back to it.

Locally $\mathcal L=\frac12|r|^2$ with $H=J^\top J$, $J=\partial r$ on the manifold. For
a [`Regression`][penchant.Regression] $r$ are the residuals over $\sqrt n$; for any
other problem the rows of $J$ are $\sqrt{\lambda_i}u_i^\top$ of the Hessian's range.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from penchant._checks import check_instance
from penchant.measures import DENSE, hessian
from penchant.problems import AbstractClassification, AbstractProblem, Regression

Flat = Float[Array, " p"]
Spread = Float[Array, "..."]
"""S: a vector for its diagonal, or a matrix."""

NULL = 1e-7
"""Eigenvalues of a Hessian below this share of the largest are those of a manifold."""

RIDGE = 1e-14
"""Added to $JSJ^\\top$, as a share of its trace: rows may repeat."""


class Manifold(eqx.Module):
    """A problem near its minimisers; `rank` is that of the Hessian on them."""

    problem: AbstractProblem
    rank: int = eqx.field(static=True)

    @property
    def by_residuals(self) -> bool:
        """Whether normals are gradients of residuals."""
        return isinstance(self.problem, Regression)

    def r(self, x: Flat) -> Float[Array, " m"]:
        r"""Residuals with $\mathcal L=\frac12|r|^2$."""
        assert isinstance(self.problem, Regression)
        s = self.problem.residuals(self.problem.unflat(x))
        return jnp.ravel(s) / jnp.sqrt(float(s.shape[0]))

    def loss(self, x: Flat) -> Array:
        """The training loss."""
        return self.problem.batch_loss(self.problem.unflat(x))

    def normals(self, x: Flat) -> tuple[Float[Array, "m p"], Float[Array, " m"]]:
        r"""$J$ and $r$ with $\nabla\mathcal L=J^\top r$ up to what is tangent."""
        if self.by_residuals:
            r, back = jax.vjp(self.r, x)
            return jax.vmap(lambda e: back(e)[0])(jnp.eye(r.size)), r
        values, U = jnp.linalg.eigh(self.dense(x))
        values, U = values[-self.rank :], U[:, -self.rank :]
        roots = jnp.sqrt(jnp.maximum(values, 1e-300))
        g = jax.grad(self.loss)(x)
        return (U * roots[None, :]).T, (U.T @ g) / roots

    def dense(self, x: Flat) -> Float[Array, "p p"]:
        """The Hessian, all of it."""
        H = jax.hessian(self.loss)(x)
        return 0.5 * (H + H.T)

    def inner(self, x: Flat, S: Spread) -> Array:
        r"""$\langle H,S\rangle$; where there are residuals of $J^\top J$ alone.

        On the manifold the rest has a gradient that is normal, and goes.
        """
        if self.by_residuals:
            J = self.normals(x)[0]
            return jnp.sum(J.T * times(S, J.T))
        H = self.dense(x)
        return jnp.sum(jnp.diag(H) * S) if S.ndim == 1 else jnp.sum(H * S)

    def diagonal(self, x: Flat) -> Flat:
        r"""$\operatorname{diag}H$."""
        if self.by_residuals:
            return jnp.sum(self.normals(x)[0] ** 2, axis=0)
        return jnp.maximum(jnp.diag(self.dense(x)), 0.0)

    def back(self, x: Flat, S: Spread) -> Flat:
        r"""$SJ^\top(JSJ^\top)^{-1}r$: a Gauss-Newton step towards the manifold."""
        J, r = self.normals(x)
        return times(S, J.T @ solve(J @ times(S, J.T), r))


def times(S: Spread, M: Array) -> Array:
    """`S @ M`, for a diagonal or a matrix."""
    if S.ndim == 2:
        return S @ M
    return S * M if M.ndim == 1 else S[:, None] * M


def solve(A: Array, b: Array) -> Array:
    """`A^-1 b` for a Gram matrix whose rows may repeat."""
    ridge = RIDGE * jnp.trace(A)
    return jnp.linalg.solve(A + ridge * jnp.eye(len(A)), b)


def tangent(manifold: Manifold, x: Flat, S: Spread, u: Flat) -> Flat:
    r"""$\partial\Phi_Su=u-SJ^\top(JSJ^\top)^{-1}Ju$, twice, against rounding."""
    J = manifold.normals(x)[0]
    SJ = times(S, J.T)
    A = J @ SJ
    for _ in range(2):
        u = u - SJ @ solve(A, J @ u)
    return u


def manifold_of(problem: AbstractProblem, x: Flat) -> Manifold:
    """The manifold near weights.

    Raises:
        TypeError: If the problem is a classification: its losses have no minimiser.
        ValueError: If there are too many parameters for matrices of them.
    """
    check_instance("problem", problem, AbstractProblem, "a Regression or an Objective")
    if isinstance(problem, AbstractClassification):
        raise TypeError(
            "problem must have minimisers, as a Regression or an Objective has; the "
            f"loss of {problem!r} falls to 0 at infinity only. See penchant.limit."
        )
    if isinstance(problem, Regression) and x.size <= DENSE:
        return Manifold(problem, min(problem.y.size, x.size))
    values = jnp.linalg.eigvalsh(hessian(problem, problem.unflat(x)))
    rank = int(jnp.sum(values > NULL * values[-1]))
    return Manifold(problem, max(rank, 1))
