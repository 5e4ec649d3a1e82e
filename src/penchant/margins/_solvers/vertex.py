"""Maximum margins in the sum and the max norm, as a linear program over few rows."""

import numpy as np
from numpy.typing import NDArray

from penchant.margins._solvers.interior_point import Bounds
from penchant.margins._solvers.rows import PairRows

Array = NDArray[np.float64]

MOST_ROUNDS = 12


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
    for _ in range(MOST_ROUNDS):
        found = _program(rows, chosen, sum_norm)
        if found is None:
            return
        W, q = found
        margins = rows.apply(W)
        span = length(W)
        if span == 0:
            return
        best.offer(W, margins[real].min() / span, q, dual(rows.adjoint(q)))
        if best.gap <= tol:
            return
        violated = real & ~chosen & (margins < best.upper * (1.0 - 0.1 * tol))
        if not violated.any():
            return
        order = np.argsort(np.where(violated, margins, np.inf), axis=None)
        most = min(int(violated.sum()), max(100, int(chosen.sum()) // 2))
        chosen = chosen.copy()
        chosen[np.unravel_index(order[:most], chosen.shape)] = True


def _program(
    rows: PairRows, chosen: NDArray[np.bool_], sum_norm: bool
) -> tuple[Array, Array] | None:
    """The best weights of the unit ball for the chosen rows, and their duals."""
    from scipy.optimize import linprog

    samples = np.flatnonzero(chosen.any(axis=1))
    part = rows.take(samples)
    A = part.dense()[chosen[samples][part.real]]
    m, size = A.shape
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
    q = np.zeros(chosen.shape)
    inner = np.zeros(part.shape)
    kept = chosen[samples] & part.real
    inner[kept] = weight / weight.sum()
    q[samples] = inner
    return w.reshape(rows.weight_shape), q
