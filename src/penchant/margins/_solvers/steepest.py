"""Steepest steps on a softmax of the margins: for norms that are no more than that."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from penchant._types import Tree
from penchant.norms import AbstractNorm
from penchant.problems import LinearClassification

CALLS = 8
"""Times that the certificate is looked at, each after twice as many steps."""

STEP = 0.2
"""Margin that a step may move, against the sharpness of the softmax, which is 1."""


def by_steepest_steps(
    problem: LinearClassification, norm: AbstractNorm, *, steps: int, tol: float
) -> tuple[np.ndarray, np.ndarray]:
    r"""Weights, and dual weights `(n, c)`, of the best gap met.

    $W\leftarrow W+\eta d$ with $d$ the steepest ascent of $\sum q_{ic}m_{ic}$,
    $q\propto e^{-m}$: the margin of $W$ over its norm gains on the largest like
    $\log(n)/(\gamma\|W\|)$, and the mean of the $q$ bounds it from above.
    """
    real = jnp.isfinite(problem.pair_margins(jnp.zeros(problem.weight_shape)))
    q0 = jnp.where(real, 1.0, 0.0)
    rows = jnp.max(jnp.linalg.norm(problem.X, axis=1))
    first = norm.steepest(problem.pull(q0 / jnp.sum(q0)))
    reach = jnp.max(jnp.abs(jnp.where(real, problem.pair_margins(first), 0.0)))
    reach = jnp.where(reach > 0, reach, rows)
    state = (jnp.zeros(problem.weight_shape), jnp.zeros_like(q0))
    best = (np.inf, np.asarray(first), np.asarray(q0 / jnp.sum(q0)))
    done = 0
    while done < steps:
        count = min(max(steps // 2**CALLS, done), steps - done)
        state = _advance(problem, norm, state, reach, jnp.asarray(count))
        done += count
        W, total = state
        length = float(norm(W))
        lower = float(jnp.min(problem.margins(W))) / length if length > 0 else -np.inf
        q = total / jnp.sum(total)
        upper = float(norm.dual(problem.pull(q)))
        gap = 1.0 - lower / upper if upper > 0 else np.inf
        if gap < best[0]:
            best = (gap, np.asarray(W), np.asarray(q))
        if gap <= tol:
            break
    return best[1], best[2]


@eqx.filter_jit
def _advance(
    problem: LinearClassification,
    norm: AbstractNorm,
    state: tuple[jax.Array, jax.Array],
    reach: jax.Array,
    count: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    def one(carry: Tree) -> Any:
        i, W, total = carry
        m = problem.pair_margins(W)
        q = jnp.exp(jnp.min(m) - m)
        q = jnp.where(jnp.isfinite(m), q / jnp.sum(q), 0.0)
        d = norm.steepest(problem.pull(q))
        return i + 1, W + STEP / reach * d, total + q

    start = (jnp.zeros((), count.dtype), *state)
    _, W, total = jax.lax.while_loop(lambda c: c[0] < count, one, start)
    return W, total
