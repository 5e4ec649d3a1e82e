import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float

from penchant._checks import check_instance, check_number
from penchant._threads import one_blas_thread
from penchant._types import Parameters, Tree
from penchant.flows.slow._manifold import Manifold, Spread, manifold_of, times
from penchant.problems import AbstractProblem

Flat = Float[Array, " p"]

CLOSE = 1e-4
"""Residuals are followed by the flow down to this share of where they began; what is
left is projected by the expansion, whose error is of the third order in it."""

LOSS = 1e-16
"""Loss below which weights are on the manifold, as a share of the targets' scale."""


class NotInterpolatingError(ValueError):
    """The loss does not fall to 0 from these weights: there is no manifold to be on."""


class Projection(eqx.Module):
    r"""$\Phi_S(w)$ with what is known of it.

    `error` bounds the Euclidean distance to the flow's end as far as the expansion's
    terms show it; `loss` is that of `weights`; `distance` how far the start was.
    """

    weights: Parameters
    error: float
    loss: float
    distance: float

    def __repr__(self) -> str:
        return (
            f"Projection: {self.distance:.3g} away, loss {self.loss:.2g}, "
            f"error about {self.error:.1g}"
        )


def project(
    problem: AbstractProblem, w: Parameters, *, preconditioner: Tree = None
) -> Parameters:
    r"""$\Phi_S(w)=\lim_{t\to\infty}x(t)$ of $\dot x=-S\nabla\mathcal L(x)$, $x(0)=w$.

    Where the preconditioned gradient flow lands on the manifold of minimisers
    (`li2025sharpness`; $S=I$ is `li2022what`). What a run's weights are compared by:
    their distance from the manifold, of the order of the step size, drops out.

    The flow is integrated until residuals are $10^{-4}$ of what they were, then ends by
    an expansion in the distance that is exact to the second order.

    >>> import jax.numpy as jnp, penchant as pn
    >>> apply = lambda w, X: jnp.prod(w)[None] + 0 * X[:, 0]  # on the hyperbola xy = 1
    >>> problem = pn.Regression(apply, jnp.ones(2), [[1.0]], [1.0])
    >>> at = pn.flows.project(problem, jnp.array([2.0, 1.0]))  # keeps x^2 - y^2
    >>> round(float(at[0] ** 2 - at[1] ** 2), 8), round(float(at[0] * at[1]), 12)
    (3.0, 1.0)

    Args:
        problem: A regression or an objective whose loss falls to 0 near `w`.
        w: Weights.
        preconditioner: $S$, a positive pytree that *multiplies* the gradient; None is
            the identity.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a shape differs or `preconditioner` is not positive.
        NotInterpolatingError: If the flow ends at a loss above 0.
    """
    return projection(problem, w, preconditioner=preconditioner).weights


def projection(
    problem: AbstractProblem, w: Parameters, *, preconditioner: Tree = None
) -> Projection:
    """As [`project`][penchant.flows.project], with error, loss and distance.

    >>> import jax.numpy as jnp, penchant as pn
    >>> apply = lambda w, X: X @ w
    >>> problem = pn.Regression(apply, jnp.zeros(2), [[1.0, 1.0]], [2.0])
    >>> pn.flows.projection(problem, jnp.zeros(2)).distance
    1.4142135623730951

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a shape differs or `preconditioner` is not positive.
        NotInterpolatingError: If the flow ends at a loss above 0.
    """
    check_instance("problem", problem, AbstractProblem, "a Regression or an Objective")
    x = problem.flat(problem.read(w, "w"))
    S = jnp.ones_like(x)
    if preconditioner is not None:
        S = problem.flat(problem.read(preconditioner, "preconditioner"))
        check_number("preconditioner", np.asarray(S), above=0.0)
    manifold = manifold_of(problem, x)
    y = by_flow(manifold, x, S)
    end, error = _finish(manifold, y, S)
    loss = float(manifold.loss(end))
    check_interpolates(manifold, end)
    if not manifold.by_residuals:  # the Hessian at the end says what the rank is
        error = max(error, float(jnp.linalg.norm(end - y)) ** 2)
    moved = float(jnp.linalg.norm(end - x))
    return Projection(problem.unflat(end), float(error), loss, moved)


def check_interpolates(manifold: Manifold, x: Flat) -> None:
    """Refuse weights whose loss is not that of a minimiser of an interpolating model.

    Raises:
        NotInterpolatingError: If residuals, or the gradient, are not 0.
    """
    problem = manifold.problem
    if manifold.by_residuals:
        left = float(jnp.max(jnp.abs(manifold.r(x))))
        scale = 1.0 + float(jnp.max(jnp.abs(problem.y)))  # type: ignore[attr-defined]
        if not left <= 1e-7 * scale:
            raise NotInterpolatingError(
                "problem must be fitted exactly near these weights for a manifold of "
                f"minimisers; the flow from them ends at a residual of {left:.3g}. "
                "Give more parameters, or start elsewhere."
            )
        return
    g = float(jnp.linalg.norm(jax.grad(manifold.loss)(x)))
    if not g <= 1e-6:
        raise NotInterpolatingError(
            "problem must have a manifold of minimisers near these weights; the flow "
            f"from them ends at a gradient of {g:.3g}."
        )


def by_flow(manifold: Manifold, x: Flat, S: Spread) -> Flat:
    """Along the flow until the gradient is a small share of what it was."""
    with one_blas_thread():  # for systems this small
        return _by_flow(manifold, x, S)


def _by_flow(manifold: Manifold, x: Flat, S: Spread) -> Flat:
    size, trace = map(float, _distance(manifold, x, S))
    floor = 1e-9 * (1.0 + float(jnp.max(jnp.abs(x))))
    if size <= floor:
        return x
    scale = 1.0 / trace

    def right(t: float, y: np.ndarray) -> np.ndarray:
        del t
        return np.asarray(_descend(manifold, jnp.asarray(y), S)) * scale

    solver = scipy.integrate.LSODA(
        right, 0.0, np.asarray(x), 1e12, rtol=1e-10, atol=1e-12
    )
    before = np.inf
    for count in range(20_000):
        if solver.step() is not None or solver.status == "failed":
            break
        if count % 8 == 0:
            now = float(_distance(manifold, jnp.asarray(solver.y), S)[0])
            if now <= max(CLOSE * size, floor) or solver.t > 1e9:
                break
            # loss that has come to rest above 0: the caller says so
            if solver.t > 1e4 and now > (1 - 1e-9) * before:
                break
            before = now
    return jnp.asarray(solver.y)


@eqx.filter_jit
def _distance(manifold: Manifold, x: Flat, S: Spread) -> tuple[Array, Array]:
    r"""$|r|$ and $\operatorname{tr}JSJ^\top$."""
    J, r = manifold.normals(x)
    return jnp.linalg.norm(r), jnp.trace(J @ times(S, J.T))


@eqx.filter_jit
def _descend(manifold: Manifold, x: Flat, S: Spread) -> Flat:
    return -times(S, jax.grad(manifold.loss)(x))


@eqx.filter_jit
def _finish(manifold: Manifold, x: Flat, S: Spread) -> tuple[Flat, Array]:
    if manifold.by_residuals:
        return near(manifold, x, S)
    for _ in range(6):
        x = x - manifold.back(x, S)
    return x, jnp.zeros(())


def near(manifold: Manifold, x: Flat, S: Spread) -> tuple[Flat, Array]:
    r"""$\Phi_S(x)$ for $x$ near the manifold, to the second order in the distance.

    With $A=JSJ^\top=\sum_ia_iu_iu_i^\top$ and $\rho=U^\top r$ the flow's end is
    $$x-SJ^\top A^{-1}r+S\sum_{ij}\frac{\rho_i\rho_j}{a_j(a_i+a_j)}
      \nabla\bigl(u_j^\top J\,SJ^\top u_i\bigr)+O(|r|^3),$$
    the gradient taken at fixed $u_j$ and $SJ^\top u_i$; Gauss-Newton steps then end on
    the manifold. Without the second-order term the end is wrong along the manifold, by
    as much as the drift that noise makes. Also an estimate of the error.
    """
    J, r = manifold.normals(x)
    SJ = times(S, J.T)
    a, U = jnp.linalg.eigh(J @ SJ)
    a = jnp.maximum(a, RESOLVED * a[-1])
    rho = U.T @ r
    weight = rho[:, None] * rho[None, :] / (a[None, :] * (a[:, None] + a[None, :]))
    d, g = (SJ @ U).T, weight @ U.T

    def one(d: Array, g: Array) -> Flat:
        along = lambda x: jax.jvp(manifold.r, (x,), (d,))[1]
        return jax.grad(lambda x: jnp.vdot(g, along(x)))(x)

    first = SJ @ (U @ (rho / a))
    second = times(S, jnp.sum(jax.vmap(one)(d, g), axis=0))
    y = x - first + second
    for _ in range(3):
        y = y - manifold.back(y, S)
    size, more = jnp.linalg.norm(first), jnp.linalg.norm(second)
    return y, more * more / jnp.where(size > 0, size, 1.0)


RESOLVED = 1e-13
"""Eigenvalues of a Gram matrix below this share of the largest are rounding."""
