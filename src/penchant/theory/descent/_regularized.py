r"""The regularisation path: the least loss in a ball, which weight decay leads to."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from penchant._checks import check_count, check_instance, check_number
from penchant._types import Real, Scalar, Tree, Weights
from penchant.norms import L2, AbstractNorm
from penchant.problems import LinearClassification
from penchant.theory._setting import longest_row

STEPS_A_CALL = 200


class PathPoint(eqx.Module):
    r"""$W_R=\arg\min_{\|W\|\le R}L(W)$, with a certificate.

    `gap` bounds $\log L(W)-\min_{\|V\|\le R}\log L(V)$ from above (Frank and Wolfe's
    duality gap). `margin` is the least margin of `weights` over their norm.
    """

    weights: Weights
    radius: float = eqx.field(static=True)
    log_loss: Scalar
    gap: Scalar
    margin: Scalar

    def __repr__(self) -> str:
        return (
            f"PathPoint(radius={self.radius:g}, log_loss={float(self.log_loss):.6g}, "
            f"gap={float(self.gap):.1e}, margin={float(self.margin):.6g})"
        )


def path_deficit(problem: LinearClassification, gamma: Real, radius: Real) -> float:
    r"""A bound of $D=\gamma R-\min_iq_i(W_R)$ on the regularisation path.

    $L(W_R)\le\log(1+(k-1)e^{-\gamma R})$ from the max-margin weights of that length,
    and $L\ge\frac1n\log(1+e^{-\min q})$ from the worst sample alone, so

    $$D\le\gamma R+\log\bigl((1+(k-1)e^{-\gamma R})^n-1\bigr)\to\log(n(k-1)) .$$

    For cross-entropy (with two classes $k=2$). The exponential and the pairwise loss
    are treated with their own first and last step, which has the same limit. Where the
    bound exceeds $\gamma R$ it is vacuous: no margin at all is promised at that radius.

    Args:
        problem: Data and loss.
        gamma: The largest margin in the norm of the ball.
        radius: $R$.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If `gamma` or `radius` is not positive.
    """
    check_instance("problem", problem, LinearClassification, "a LinearClassification")
    check_number("gamma", gamma, above=0.0)
    check_number("radius", radius, above=0.0)
    length = float(np.asarray(gamma)) * float(np.asarray(radius))
    opponents = 1 if problem.binary else problem.classes - 1
    # log of n times the loss of one sample whose margins all are gamma R
    margins = jnp.full((1, opponents), length)
    total = float(problem.loss.log_losses(margins)[0]) + math.log(problem.samples)
    # the margin at which a lone opponent's loss is that much, by bisection
    low, high = -abs(total) - length - 50.0, abs(total) + length + 50.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        above = float(problem.loss.log_losses(jnp.full((1, 1), middle))[0]) > total
        low, high = (middle, high) if above else (low, middle)
    return length - low


def regularized(
    problem: LinearClassification,
    norm: AbstractNorm,
    radius: Real,
    *,
    tol: float = 1e-6,
    steps: int = 100_000,
) -> PathPoint:
    r"""The weights of least loss in a ball: a point of the regularisation path.

    $$W_R=\arg\min_{\|W\|\le R}L(W),\qquad
    \frac{\min_iq_i(W_R)}{R}\to\gamma\quad(R\to\infty)$$

    It is where steepest descent in `norm` with decoupled decay $\lambda=1/R$ ends: with
    steps of norm $\eta_t$ the update $(1-\eta\lambda)W-\eta\Delta$ is that of Frank and
    Wolfe, which converges for $\eta_t\to0$, $\sum\eta_t=\infty$
    (`dunn1978conditional`; momentum is not covered there). Decay therefore trades
    margin for a ball: `path_deficit` says how much.

    Accelerated projected gradients on $\log L$, restarted when it rises.

    >>> import penchant as pn
    >>> problem = pn.datasets.gaussian(10, 20, seed=0).problem()
    >>> point = regularized(problem, pn.norms.Linf(), 5.0)
    >>> bool(point.gap < 1e-6)
    True

    Args:
        problem: Data and loss; separable or not.
        norm: The norm of the ball.
        radius: $R=1/\lambda$.
        tol: Largest gap of the log-loss to stop at. Another one may be reached; it is
            in the result.
        steps: At most so many.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range.
    """
    check_instance("problem", problem, LinearClassification, "a LinearClassification")
    check_instance("norm", norm, AbstractNorm, "one of penchant.norms")
    check_number("radius", radius, above=0.0, below=math.inf)
    check_number("tol", tol, above=0.0)
    steps = check_count("steps", steps)
    R = jnp.asarray(radius, dtype=float)
    # the curvature of log L is at most that of one row: its Euclidean length squared
    length = longest_row(problem, L2())
    step_size = jnp.asarray(1.0 / max(length, 1e-300) ** 2)
    W = jnp.zeros(problem.weight_shape)
    state: Any = (W, W, jnp.ones(()), problem.log_loss(W))
    for _ in range(-(-steps // STEPS_A_CALL)):
        state = _descend(problem, norm, R, step_size, state)
        gap = _gap(problem, norm, R, state[0])
        if float(gap) <= tol:
            break
    W = state[0]
    size = norm(W)
    margin = jnp.min(problem.margins(W)) / jnp.where(size > 0, size, 1.0)
    return PathPoint(
        W, float(R), problem.log_loss(W), _gap(problem, norm, R, W), margin
    )


@eqx.filter_jit
def _descend(
    problem: LinearClassification,
    norm: AbstractNorm,
    R: Scalar,
    step_size: Scalar,
    state: Tree,
) -> Any:
    def log_gradient(V: Weights) -> Weights:
        g = problem.scaled_gradient(V)
        return g.direction * jnp.exp(g.log_scale - problem.log_loss(V))

    def one(_: Tree, carry: Tree) -> Any:
        W, V, momentum, value = carry
        following = norm.project(V - step_size * log_gradient(V), R)
        reached = problem.log_loss(following)
        fine = reached <= value
        # a rise means the momentum overshot: step from W itself next time
        ahead = 0.5 * (1.0 + jnp.sqrt(1.0 + 4.0 * momentum**2))
        moved = following + (momentum - 1.0) / ahead * (following - W)
        W_new = jnp.where(fine, following, W)
        return (
            W_new,
            jnp.where(fine, moved, W),
            jnp.where(fine, ahead, 1.0),
            jnp.where(fine, reached, value),
        )

    return jax.lax.fori_loop(0, STEPS_A_CALL, one, state)


@eqx.filter_jit
def _gap(
    problem: LinearClassification, norm: AbstractNorm, R: Scalar, W: Weights
) -> Scalar:
    r"""$-\log(1-g/L)\ge\log L(W)-\log L^*$, with $g\ge L(W)-L^*$ by convexity."""
    gradient = problem.scaled_gradient(W)
    d = gradient.direction
    scale = jnp.exp(gradient.log_scale - problem.log_loss(W))
    share = scale * (jnp.sum(d * W) + R * norm.dual(d))
    return -jnp.log1p(-jnp.minimum(share, 1.0))
