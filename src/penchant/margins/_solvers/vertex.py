"""Maximum margins in the sum and the max norm, as a linear program over few rows."""

import numpy as np
from numpy.typing import NDArray

from penchant.margins._solvers.interior_point import Bounds
from penchant.margins._solvers.rows import PairRows

Array = NDArray[np.float64]

MOST_ROUNDS = 12

MOST_ENTRIES = 100_000_000
"""Entries of a program's matrix above which none is built: gigabytes, and hours."""


def vertex(rows: PairRows, best: Bounds, *, sum_norm: bool, tol: float) -> None:
    """Better bounds that are close by an exact solution over the rows that matter.

    Args:
        rows: The margins.
        best: Bounds from another method; replaced where the vertex is better.
        sum_norm: The ball is that of the sum norm, else that of the max norm.
        tol: Relative gap to stop at.
    """
    real = rows.real
    length = (
        (lambda W: np.abs(W).sum()) if sum_norm else (lambda W: float(np.abs(W).max()))
    )
    dual = (
        (lambda G: float(np.abs(G).max())) if sum_norm else (lambda G: np.abs(G).sum())
    )
    margins = rows.apply(best.W) / length(best.W)
    width = max(best.upper - best.lower, 1e-4 * abs(best.upper))
    chosen = real & ((margins <= best.lower + 10.0 * width) | (best.q > 1e-9))
    kept = np.ones(best.W.size, dtype=bool)
    if sum_norm:  # weights are 0 but where the dual combination is largest
        kept = _large(rows.adjoint(best.q), 1.0 - 10.0 * width / abs(best.upper))
    for _ in range(MOST_ROUNDS):
        found = _program(rows, chosen, kept, sum_norm)
        if found is None:
            return
        W, q = found
        margins = rows.apply(W)
        span = length(W)
        if span == 0:
            return
        G = rows.adjoint(q)
        best.offer(W, margins[real].min() / span, q, dual(G))
        if best.gap <= tol:
            return
        violated = real & ~chosen & (margins < best.upper * (1.0 - 0.1 * tol))
        larger = ~kept & (np.abs(G).ravel() > best.lower * (1.0 + 0.1 * tol))
        if not (violated.any() or larger.any()):
            return
        chosen = chosen | _foremost(violated, margins, max(100, int(chosen.sum()) // 2))
        kept = kept | _foremost(larger, -np.abs(G).ravel(), max(100, int(kept.sum())))


def _large(G: Array, share: float) -> NDArray[np.bool_]:
    """Entries of at least this share of the largest."""
    size = np.abs(G).ravel()
    return size >= max(share, 0.5) * size.max()


def _foremost(which: NDArray[np.bool_], value: Array, most: int) -> NDArray[np.bool_]:
    """Of the entries marked those of least value, at most so many."""
    order = np.argsort(np.where(which, value, np.inf), axis=None)
    out = np.zeros(which.shape, dtype=bool)
    out.ravel()[order[: min(most, int(which.sum()))]] = True
    return out


def _program(
    rows: PairRows,
    chosen: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    sum_norm: bool,
) -> tuple[Array, Array] | None:
    """The best weights of the unit ball for the chosen rows, and their duals.

    All weights but the `kept` ones are 0.
    """
    from scipy.optimize import linprog

    m, size = int(chosen.sum()), int(kept.sum())
    if m * size * (2 if sum_norm else 1) > MOST_ENTRIES:
        return None
    A = rows.part(chosen, kept)
    one = np.ones((m, 1))
    if sum_norm:  # W = u - v, u and v >= 0 and of sum at most 1
        solution = linprog(
            np.append(np.zeros(2 * size), -1.0),
            A_ub=np.vstack([
                np.hstack([-A, A, one]),
                np.append(np.ones(2 * size), 0.0)[None],
            ]),
            b_ub=np.append(np.zeros(m), 1.0),
            bounds=[(0, None)] * (2 * size) + [(None, None)],
            method="highs-ipm",
        )
    else:
        solution = linprog(
            np.append(np.zeros(size), -1.0),
            A_ub=np.hstack([-A, one]),
            b_ub=np.zeros(m),
            bounds=[(-1.0, 1.0)] * size + [(None, None)],
            method="highs-ipm",
        )
    if solution.x is None or solution.status != 0:
        return None
    w = (
        solution.x[:size] - solution.x[size : 2 * size]
        if sum_norm
        else solution.x[:size]
    )
    weight = np.maximum(-solution.ineqlin.marginals[:m], 0.0)
    if weight.sum() <= 0:
        return None
    q, W = np.zeros(chosen.shape), np.zeros(kept.shape)
    q[chosen] = weight / weight.sum()
    W[kept] = w
    return W.reshape(rows.weight_shape), q
