r"""Maximum margins by a primal--dual first-order method, for any norm and size.

The saddle point $\max_{\|W\|\le1}\min_{q\in\Delta}\langle q,AW\rangle$ by the
primal--dual hybrid gradient method (`chambolle2011pdhg`), restarted at the running
average whenever that has cut the duality gap enough (`applegate2021pdlp`). Per step two
products with the data and two projections, on whatever device JAX runs on; memory is
that of the rows.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from penchant._types import Scalar, Weights
from penchant.norms import AbstractNorm, project_simplex
from penchant.problems import LinearClassification

Pairs = Float[Array, "n c"]

STEPS_A_CALL = 64
ENOUGH = 0.3  # restart when the gap has fallen to this share


class Saddle(eqx.Module):
    """The iterate, the averages since the last restart, and the best bounds so far."""

    W: Weights
    q: Pairs
    W_mean: Weights
    q_mean: Pairs
    count: Scalar  # steps since the restart
    W_restart: Weights
    q_restart: Pairs
    gap_restart: Scalar
    omega: Scalar  # primal weight
    best_W: Weights
    best_q: Pairs
    lower: Scalar
    upper: Scalar


def first_order(
    problem: LinearClassification,
    norm: AbstractNorm,
    *,
    steps: int,
    tol: float,
    floor: float,
) -> tuple[Weights, Pairs, float, float]:
    """Best weights and dual weights met, and the margin bounds they prove.

    Args:
        problem: Its data.
        norm: The norm.
        steps: At most so many steps.
        tol: Relative gap to stop at.
        floor: Stop once the upper bound is below it.
    """
    state, length = _start(problem, norm)
    for _ in range(-(-steps // STEPS_A_CALL)):
        lower, upper = float(state.lower), float(state.upper)
        if upper <= floor or 1.0 - lower / upper <= tol:
            break
        state = _advance(problem, norm, state, length)
    return state.best_W, state.best_q, float(state.lower), float(state.upper)


def _apply(problem: LinearClassification, W: Weights) -> Pairs:
    margins = problem.pair_margins(W)
    return jnp.where(jnp.isinf(margins), 0.0, margins)


@eqx.filter_jit
def _start(problem: LinearClassification, norm: AbstractNorm) -> tuple[Saddle, Scalar]:
    real = jnp.isfinite(problem.pair_margins(jnp.zeros(problem.weight_shape)))
    q = jnp.where(real, 1.0, 0.0) / jnp.sum(real, dtype=float)
    G = problem.pull(q)

    def power(_: Any, W: Weights) -> Weights:
        W = problem.pull(_apply(problem, W))
        return W / jnp.sqrt(jnp.sum(W**2))

    noise = jax.random.normal(jax.random.key(0), problem.weight_shape)
    W = jax.lax.fori_loop(0, 30, power, noise)
    length = 1.05 * jnp.sqrt(jnp.sum(_apply(problem, W) ** 2))
    zero = jnp.zeros_like(G)
    infinity = jnp.asarray(jnp.inf)
    state = Saddle(
        zero, q, zero, jnp.zeros_like(q), jnp.zeros(()), zero, q, infinity,
        jnp.ones(()), norm.steepest(G), q, -infinity, norm.dual(G),
    )  # fmt: skip
    return state, length


@eqx.filter_jit
def _advance(
    problem: LinearClassification, norm: AbstractNorm, state: Saddle, length: Scalar
) -> Saddle:
    real = jnp.isfinite(problem.pair_margins(jnp.zeros(problem.weight_shape)))
    tau, sigma = state.omega / length, 1.0 / (state.omega * length)

    def step(_: Any, carry: Any) -> Any:
        W, q, W_sum, q_sum = carry
        following = norm.project(W + tau * problem.pull(q))
        ahead = _apply(problem, 2.0 * following - W)
        q = project_simplex(jnp.where(real, q - sigma * ahead, -jnp.inf))
        return following, q, W_sum + following, q_sum + q

    zero = (jnp.zeros_like(state.W), jnp.zeros_like(state.q))
    W, q, W_sum, q_sum = jax.lax.fori_loop(
        0, STEPS_A_CALL, step, (state.W, state.q, *zero)
    )
    count = state.count + STEPS_A_CALL
    share = STEPS_A_CALL / count
    W_mean = (1 - share) * state.W_mean + share * W_sum / STEPS_A_CALL
    q_mean = (1 - share) * state.q_mean + share * q_sum / STEPS_A_CALL

    lower_now, upper_now = _bounds(problem, norm, W, q)
    lower_mean, upper_mean = _bounds(problem, norm, W_mean, q_mean)
    mean_is_better = upper_mean - lower_mean < upper_now - lower_now
    pick = lambda a, b: jnp.where(mean_is_better, a, b)
    gap = jnp.minimum(upper_mean - lower_mean, upper_now - lower_now)
    restart = (gap <= ENOUGH * state.gap_restart) | (count >= 0.5 * _patience(state))

    W_new, q_new = pick(W_mean, W), pick(q_mean, q)
    moved_W = jnp.sqrt(jnp.sum((W_new - state.W_restart) ** 2))
    moved_q = jnp.sqrt(jnp.sum((q_new - state.q_restart) ** 2))
    sensible = (moved_W > 1e-14) & (moved_q > 1e-14)
    ratio = jnp.where(sensible, moved_W / jnp.where(sensible, moved_q, 1.0), 1.0)
    omega = jnp.where(sensible, jnp.sqrt(state.omega * ratio), state.omega)

    lower, upper = (
        jnp.maximum(lower_now, lower_mean),
        jnp.minimum(upper_now, upper_mean),
    )
    better_W, better_q = lower > state.lower, upper < state.upper
    at = lambda a, b: jnp.where(restart, a, b)
    return Saddle(
        W=at(W_new, W),
        q=at(q_new, q),
        W_mean=at(jnp.zeros_like(W), W_mean),
        q_mean=at(jnp.zeros_like(q), q_mean),
        count=at(0.0, count),
        W_restart=at(W_new, state.W_restart),
        q_restart=at(q_new, state.q_restart),
        gap_restart=at(gap, state.gap_restart),
        omega=at(omega, state.omega),
        best_W=jnp.where(
            better_W, jnp.where(lower_now > lower_mean, W, W_mean), state.best_W
        ),
        best_q=jnp.where(
            better_q, jnp.where(upper_now < upper_mean, q, q_mean), state.best_q
        ),
        lower=jnp.maximum(lower, state.lower),
        upper=jnp.minimum(upper, state.upper),
    )


def _patience(state: Saddle) -> Any:
    """Steps after which to restart anyway, so that the primal weight can adapt."""
    return jnp.where(jnp.isinf(state.gap_restart), 2 * STEPS_A_CALL, 4096.0)


def _bounds(
    problem: LinearClassification, norm: AbstractNorm, W: Weights, q: Pairs
) -> tuple[Scalar, Scalar]:
    length = norm(W)
    margin = jnp.min(problem.pair_margins(W))
    lower = jnp.where(length > 0, margin / jnp.where(length > 0, length, 1.0), -jnp.inf)
    return lower, norm.dual(problem.pull(q))
