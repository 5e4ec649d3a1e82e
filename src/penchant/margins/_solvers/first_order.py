r"""Maximum margins by a primal--dual first-order method, for any norm and size.

The saddle point $\max_{\|W\|\le1}\min_{q\in\Delta}\langle q,AW\rangle$ by the
primal--dual hybrid gradient method (`chambolle2011pdhg`), reflected and anchored at the
point of the last restart (`lu2024restarted`), restarted whenever the duality gap has
fallen enough (`applegate2021pdlp`). Per step two products with the data and two
projections, on whatever device JAX runs on; memory is a few arrays of the size of the
margins, `(c, n)`, and the rows are never formed.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from penchant._types import Examples, Scalar, Tree, Weights
from penchant.norms import AbstractNorm, AbstractSchatten, p_norm, p_project
from penchant.problems import LinearClassification

Margins = Float[Array, "c n"]

Start = tuple[Weights, Float[Array, "n c"]]
"""Weights, and dual weights that are 0 where no row exists."""

STEPS_A_CALL = 64

ENOUGH = 0.2  # restart when the gap has fallen to this share of the last restart's,
SOME = 0.8  # or to this one and has begun to rise,
LONGEST = 0.36  # or when this share of all steps was made since

TINY = 1e-8
"""Singular values below this share of the largest are rounding in a Gram matrix."""


class Pairs(eqx.Module):
    """The margins as a linear map, classes first: reductions over them are fast."""

    X: Examples  # for two classes the signs are absorbed
    own: Bool[Array, "c n"]  # where no row exists
    mask: Margins  # the same as numbers

    def apply(self, W: Weights) -> Margins:
        """`A W`; 0 where no row exists."""
        if W.ndim == 1:
            return (self.X @ W)[None, :]
        Z = W @ self.X.T
        return jnp.sum(self.mask * Z, axis=0, keepdims=True) - Z

    def adjoint(self, q: Margins) -> Weights:
        r"""$A^\top q$ for `q` that is 0 where no row exists."""
        if self.own.shape[0] == 1:
            return q[0] @ self.X
        return (self.mask * jnp.sum(q, axis=0, keepdims=True) - q) @ self.X

    def least(self, W: Weights) -> Scalar:
        """The least margin."""
        return jnp.min(jnp.where(self.own, jnp.inf, self.apply(W)))


class Saddle(eqx.Module):
    """The iterate, its anchor, its last image under a step, and the best bounds."""

    W: Weights
    q: Margins
    W_image: Weights
    q_image: Margins
    W_anchor: Weights
    q_anchor: Margins
    level: Scalar  # of the last projection on the simplex: the next one starts there
    count: Scalar  # steps since the restart
    total: Scalar
    gap: Scalar  # of the last call
    gap_anchor: Scalar
    omega: Scalar  # primal weight
    best_W: Weights
    best_q: Margins
    lower: Scalar
    upper: Scalar


def first_order(
    problem: LinearClassification,
    norm: AbstractNorm,
    *,
    steps: int,
    tol: float,
    floor: float,
    start: Start | None = None,
    rescue: Callable[[], Start | None] = lambda: None,
) -> tuple[Weights, Float[Array, "n c"], float, float]:
    """Best weights and dual weights met, and the margin bounds they prove.

    Args:
        problem: Its data.
        norm: The norm.
        steps: At most so many steps.
        tol: Relative gap to stop at.
        floor: Stop once the upper bound is below it.
        start: Weights and dual weights to start from.
        rescue: Asked for such after a quarter of the steps, if none has separated.
    """
    pairs = _pairs(problem)
    state, length = _start(pairs, norm, jnp.zeros(problem.weight_shape))
    if start is not None:
        state = _started(pairs, norm, state, start)
    calls = -(-steps // STEPS_A_CALL)
    for i in range(calls):
        lower, upper = float(state.lower), float(state.upper)
        if upper <= floor or 1.0 - lower / upper <= tol:
            break
        if i == calls // 4 and lower <= 0:
            found = rescue()
            if found is not None:
                state = _started(pairs, norm, state, found)
        state = _advance(pairs, norm, state, length)
    return state.best_W, state.best_q.T, float(state.lower), float(state.upper)


def _pairs(problem: LinearClassification) -> Pairs:
    X, y = problem.X, problem.y
    if problem.binary:
        own = jnp.zeros((1, problem.samples), bool)
        return Pairs(X * y[:, None].astype(X.dtype), own, own.astype(X.dtype))
    own = jnp.arange(problem.classes, dtype=y.dtype)[:, None] == y[None, :]
    return Pairs(X, own, own.astype(X.dtype))


@eqx.filter_jit
def _start(pairs: Pairs, norm: AbstractNorm, zero: Weights) -> tuple[Saddle, Scalar]:
    q = jnp.where(pairs.own, 0.0, 1.0)
    q = q / jnp.sum(q)
    G = pairs.adjoint(q)

    def power(_: Tree, W: Weights) -> Weights:
        W = pairs.adjoint(pairs.apply(W))
        return W / jnp.sqrt(jnp.sum(W**2))

    noise = jax.random.normal(jax.random.key(0), zero.shape)
    W = jax.lax.fori_loop(0, 30, power, noise)
    length = 1.05 * jnp.sqrt(jnp.sum(pairs.apply(W) ** 2))
    infinity = jnp.asarray(jnp.inf)
    none = jnp.zeros(())
    state = Saddle(
        zero, q, zero, q, zero, q, jnp.asarray(-1e300), none, none, infinity, infinity,
        jnp.ones(()), norm.steepest(G), q, -infinity, norm.dual(G),
    )  # fmt: skip
    return state, length


@eqx.filter_jit
def _started(pairs: Pairs, norm: AbstractNorm, state: Saddle, start: Start) -> Saddle:
    """The state at other weights and dual weights, with the better bounds of both."""
    W, q = start[0] / norm(start[0]), start[1].T
    lower, upper = _bounds(pairs, norm, W, q)
    infinity = jnp.asarray(jnp.inf)
    below, above = lower > state.lower, upper < state.upper
    return dataclasses.replace(
        state,
        W=W,
        q=q,
        W_image=W,
        q_image=q,
        W_anchor=W,
        q_anchor=q,
        count=jnp.zeros(()),
        gap=infinity,
        gap_anchor=infinity,
        omega=jnp.sqrt(jnp.sum(W**2) / jnp.sum(q**2)),
        best_W=jnp.where(below, W, state.best_W),
        best_q=jnp.where(above, q, state.best_q),
        lower=jnp.maximum(lower, state.lower),
        upper=jnp.minimum(upper, state.upper),
    )


@eqx.filter_jit
def _advance(pairs: Pairs, norm: AbstractNorm, state: Saddle, length: Scalar) -> Saddle:
    tau, sigma = state.omega / length, 1.0 / (state.omega * length)

    def step(_: Tree, carry: Tree) -> Any:
        W, q, _, _, level, count = carry
        W_image = _project(norm, W + tau * pairs.adjoint(q))
        moved = q - sigma * pairs.apply(2.0 * W_image - W)
        moved = jnp.where(pairs.own, -jnp.inf, moved)
        q_image, level = _project_simplex(moved, level)
        # as far beyond the image as it is away, and back towards the anchor
        share = (count + 1.0) / (count + 2.0)
        W = share * (2.0 * W_image - W) + (1.0 - share) * state.W_anchor
        q = share * (2.0 * q_image - q) + (1.0 - share) * state.q_anchor
        return W, q, W_image, q_image, level, count + 1.0

    carry = (state.W, state.q, state.W, state.q, state.level, state.count)
    W, q, W_image, q_image, level, count = jax.lax.fori_loop(
        0, STEPS_A_CALL, step, carry
    )
    total = state.total + STEPS_A_CALL
    lower, upper = _bounds(pairs, norm, W_image, q_image)
    gap = upper - lower
    first = jnp.isinf(state.gap_anchor)
    restart = (
        (gap <= ENOUGH * state.gap_anchor)
        | ((gap <= SOME * state.gap_anchor) & (gap > state.gap))
        | (count >= LONGEST * total) & (~first | (count >= 2 * STEPS_A_CALL))
    )
    moved_W = jnp.sqrt(jnp.sum((W_image - state.W_anchor) ** 2))
    moved_q = jnp.sqrt(jnp.sum((q_image - state.q_anchor) ** 2))
    sensible = (moved_W > 1e-14) & (moved_q > 1e-14)
    ratio = jnp.where(sensible, moved_W / jnp.where(sensible, moved_q, 1.0), 1.0)
    omega = jnp.where(sensible, jnp.sqrt(state.omega * ratio), state.omega)

    better_W, better_q = lower > state.lower, upper < state.upper
    at = lambda a, b: jnp.where(restart, a, b)
    return Saddle(
        W=at(W_image, W),
        q=at(q_image, q),
        W_image=W_image,
        q_image=q_image,
        W_anchor=at(W_image, state.W_anchor),
        q_anchor=at(q_image, state.q_anchor),
        level=level,
        count=at(0.0, count),
        total=total,
        gap=at(jnp.inf, gap),
        gap_anchor=at(gap, state.gap_anchor),
        omega=at(omega, state.omega),
        best_W=jnp.where(better_W, W_image, state.best_W),
        best_q=jnp.where(better_q, q_image, state.best_q),
        lower=jnp.maximum(lower, state.lower),
        upper=jnp.minimum(upper, state.upper),
    )


def _bounds(
    pairs: Pairs, norm: AbstractNorm, W: Weights, q: Margins
) -> tuple[Scalar, Scalar]:
    length = _length(norm, W)
    safe = jnp.where(length > 0, length, 1.0)
    lower = jnp.where(length > 0, pairs.least(W) / safe, -jnp.inf)
    return lower, _length(norm.conjugate, pairs.adjoint(q))


def _by_gram(norm: AbstractNorm, W: Weights) -> bool:
    """Whether singular values are taken from a Gram matrix.

    It has them to 1e-8 of the largest only, which is enough on the way: the final
    bounds are computed afresh. An SVD is what a step would spend its time on.
    """
    return isinstance(norm, AbstractSchatten) and W.ndim == 2 and norm.p != 2.0


def _length(norm: AbstractNorm, W: Weights) -> Scalar:
    if not _by_gram(norm, W):
        return norm(W)
    wide = W if W.shape[0] <= W.shape[1] else W.T
    values = jnp.linalg.eigvalsh(wide @ wide.T)
    p = getattr(norm, "p", math.inf)
    return p_norm(jnp.sqrt(jnp.maximum(values, 0.0)), p)


def _project(norm: AbstractNorm, W: Weights) -> Weights:
    if not _by_gram(norm, W):
        return norm.project(W)
    wide = W if W.shape[0] <= W.shape[1] else W.T
    values, U = jnp.linalg.eigh(wide @ wide.T)
    s = jnp.sqrt(jnp.maximum(values, 0.0))
    seen = s > TINY * s[-1]
    ratio = p_project(s, getattr(norm, "p", math.inf), 1.0) / jnp.where(seen, s, 1.0)
    # what is too small to be resolved is left as it is where the ball is round there
    rest = 1.0 if getattr(norm, "p", math.inf) > 2.0 else 0.0
    projected = (U * jnp.where(seen, ratio, rest)[None, :]) @ (U.T @ wide)
    return projected if W.shape[0] <= W.shape[1] else projected.T


def _project_simplex(x: Margins, level: Scalar) -> tuple[Margins, Scalar]:
    r"""The nearest point of the simplex, and the level that is taken off.

    Newton's method for $\sum\max(x-\tau,0)=1$ from the level of the step before: after
    one step it is left of the root, and rises. Exact once no entry changes sides.
    """

    def following(tau: Scalar) -> Scalar:
        above = x > tau
        count = jnp.sum(above, dtype=x.dtype)
        kept = jnp.sum(jnp.where(above, x, 0.0))
        # too high a start has nothing above it: begin with all of them
        lowest = jnp.min(jnp.where(jnp.isneginf(x), jnp.inf, x)) - 1.0
        return jnp.where(count > 0, (kept - 1.0) / jnp.maximum(count, 1.0), lowest)

    def moves(state: Tree) -> Any:
        before, tau, count = state
        return (tau != before) & (count < 100)

    def step(state: Tree) -> Any:
        _, tau, count = state
        return tau, following(tau), count + 1

    start = (jnp.full_like(level, jnp.inf), level, jnp.zeros((), int))
    _, tau, _ = jax.lax.while_loop(moves, step, start)
    return jnp.maximum(x - tau, 0.0), tau
