from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from penchant._checks import check_count, check_instance, check_number
from penchant._types import Parameters, Real, Scalar, Tree
from penchant.flows.modified._algebra import flat_gradient
from penchant.problems import AbstractProblem

MOST = 2000
"""Most parameters whose Hessian is decomposed at every step."""

ITERATIONS = 300
"""Of the projected gradient method for the covariance, a matrix of few rows."""


class CentralFlow(eqx.Module):
    r"""Where gradient descent is on average while it oscillates.

    `weights` have a leading axis of `steps + 1`; `sharpness` is the Hessian's largest
    eigenvalue there and `variance` the trace of the oscillations' covariance $\Sigma$,
    both `(steps + 1,)`: 0 below the edge.
    """

    weights: Parameters
    sharpness: Float[Array, " t"]
    variance: Float[Array, " t"]

    def __repr__(self) -> str:
        last, most = float(self.sharpness[-1]), float(jnp.max(self.variance))
        return (
            f"CentralFlow({len(self.sharpness) - 1} steps, sharpness {last:.4g} at the "
            f"end, variance up to {most:.3g})"
        )


def central_flow(
    problem: AbstractProblem,
    *,
    step_size: Real,
    steps: int,
    init: Parameters | None = None,
    rank: int = 2,
    substeps: int = 4,
) -> CentralFlow:
    r"""Gradient descent at the edge of stability, on average: $h\lambda\ge2$.

    Beyond $2/h$ no flow of weights alone follows the steps: they oscillate, and the
    oscillations push back on the sharpness. The time-averaged weights follow
    (`cohen2025central`)

    $$\dot w=-\nabla\mathcal L-\tfrac12\nabla_w\langle\Sigma,H(w)\rangle,$$

    $\Sigma\succeq0$ on the directions at the edge being what keeps their curvatures
    from passing $2/h$: of all covariances the one that makes $\|\dot w\|$ least. Below
    the edge it is gradient flow. It is a heuristic of its authors that runs bear out,
    no theorem: hold it against the mean of a run.

    >>> import jax.numpy as jnp, penchant as pn
    >>> sharpen = lambda w, _: 0.5 * w[1] * w[0] ** 2 - 0.1 * w[1] + 0 * _
    >>> problem = pn.Objective(sharpen, jnp.array([0.3, 1.0]), jnp.zeros(1))
    >>> flow = pn.flows.central_flow(problem, step_size=1.0, steps=40)
    >>> round(float(flow.sharpness[-1]), 2), round(float(flow.variance[-1]), 2)
    (2.0, 0.2)

    Args:
        problem: Data, model and loss, with at most 2 000 parameters.
        step_size: $h$ of gradient descent.
        steps: How many steps the flow goes along.
        init: Where to start; None for the problem's start.
        rank: The most directions that are at the edge at a time.
        substeps: Euler steps to a step of gradient descent.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range.
    """
    check_instance("problem", problem, AbstractProblem, "a problem of penchant")
    check_number("step_size", step_size, above=0.0, finite=True)
    steps = check_count("steps", steps)
    rank = check_count("rank", rank)
    substeps = check_count("substeps", substeps)
    w = problem.start if init is None else problem.read(init, "init")
    if problem.parameters > MOST:
        raise ValueError(
            f"problem must have at most {MOST} parameters, whose Hessian is decomposed "
            f"at every step; it has {problem.parameters}."
        )
    x = problem.flat(w)
    path, sharp, spread = _follow(
        problem, x, jnp.asarray(step_size, float), steps, min(rank, x.size), substeps
    )
    return CentralFlow(jax.vmap(problem.unflat)(path), sharp, spread)


@eqx.filter_jit
def _follow(
    problem: AbstractProblem,
    x: Float[Array, " p"],
    h: Scalar,
    steps: int,
    rank: int,
    substeps: int,
) -> tuple[Float[Array, "t p"], Float[Array, " t"], Float[Array, " t"]]:
    def gradient(x: Array) -> Array:
        return flat_gradient(problem, x)

    def top(x: Array) -> tuple[Array, Array]:
        H = jax.jacfwd(gradient)(x)
        lam, U = jnp.linalg.eigh(0.5 * (H + H.T))
        return lam[-rank:], U[:, -rank:]

    def velocity(x: Array) -> tuple[Array, Array, Array]:
        lam, U = top(x)
        g = gradient(x)
        along = lambda x, v: jax.jvp(gradient, (x,), (v,))[1]

        def curvatures(x: Array) -> Array:
            HU = jax.vmap(lambda u: along(x, u), in_axes=1, out_axes=1)(U)
            return U.T @ HU

        T = jnp.moveaxis(jax.jacfwd(curvatures)(x), -1, 0)  # (p, k, k)
        T = 0.5 * (T + jnp.swapaxes(T, 1, 2))
        # what is below the edge must not be held there: it may rise by the gap
        gap = (2.0 / h - lam) / (0.5 * h)
        X = _covariance(g, T, gap)
        push = 0.5 * jnp.einsum("pij,ij->p", T, X)
        return -g - push, lam[-1], jnp.trace(X)

    def step(x: Array, _: Tree) -> Any:
        seen = velocity(x)[1:]
        for _i in range(substeps):
            x = x + h / substeps * velocity(x)[0]
        return x, (x, seen)

    _, (path, (sharp, spread)) = jax.lax.scan(step, x, None, length=steps)
    last = velocity(path[-1])[1:]
    put = lambda values, end: jnp.concatenate([values, end[None]])
    return jnp.concatenate([x[None], path]), put(sharp, last[0]), put(spread, last[1])


def _covariance(
    g: Float[Array, " p"], T: Float[Array, "p k k"], gap: Float[Array, " k"]
) -> Float[Array, "k k"]:
    r"""The $X\succeq0$ for which curvatures rise by no more than `gap`.

    $\min_X\frac12\|g+\frac12\sum X_{ij}T_{ij}\|^2+\frac12\operatorname{tr}(X\,$gap$)$:
    its gradient is half of gap minus the rate at which curvatures rise, which is
    $\succeq0$ at the minimum and 0 on the range of $X$.
    """
    B = 0.25 * jnp.einsum("pij,pkl->ijkl", T, T)
    a = 0.5 * jnp.einsum("pij,p->ij", T, g) + 0.5 * jnp.diag(gap)
    size = jnp.maximum(jnp.sum(B**2) ** 0.5, 1e-300)

    def onto(X: Array) -> Array:
        values, U = jnp.linalg.eigh(0.5 * (X + X.T))
        return (U * jnp.maximum(values, 0.0)[None, :]) @ U.T

    def iterate(carry: Tree, _: None) -> Any:
        X, Y, t = carry
        slope = a + jnp.einsum("ijkl,kl->ij", B, Y)
        new = onto(Y - slope / size)
        later = 0.5 * (1.0 + jnp.sqrt(1.0 + 4.0 * t * t))
        Y = new + (t - 1.0) / later * (new - X)
        return (new, Y, later), None

    zero = jnp.zeros_like(a)
    (X, _, _), _ = jax.lax.scan(
        iterate, (zero, zero, jnp.ones(())), None, length=ITERATIONS
    )
    return X
