r"""Euclidean maximum margins of two classes: a quadratic program on a working set.

The dual of $\min\frac12\|w\|^2$ such that $Aw\ge1$ is
$\min_{p\ge0}\frac12p^\top Kp-\mathbf1^\top p$, $K=AA^\top$ the Gram matrix of the few
rows that matter. It is solved exactly, by block principal pivoting (`judice1994block`);
rows that the solution violates join, until none is left.
"""

import numpy as np
import scipy
from numpy.typing import NDArray

from penchant.margins._solvers.conjugates import factorise
from penchant.margins._solvers.interior_point import Bounds
from penchant.margins._solvers.rows import PairRows

Array = NDArray[np.float64]

FIRST_ROWS = 64
MOST_ROWS = 3000
MOST_ROUNDS = 100
MOST_PIVOTS = 200


def min_norm(rows: PairRows, *, tol: float, floor: float) -> Bounds | None:
    """Bounds with a gap of at most `tol`; None where pivoting fails.

    It fails where the active rows are dependent, or no separator exists.
    """
    A, first_of = _distinct(rows.X)
    mean = A.mean(axis=0)
    uniform = np.zeros(rows.shape)
    uniform[first_of] = 1.0 / len(A)  # one copy of each row, as in the mean
    best = Bounds(mean, uniform)
    best.offer(mean, -np.inf, uniform, float(np.linalg.norm(mean)))
    if best.upper <= floor:
        return best
    score = A @ mean
    chosen = np.argsort(score)[: min(FIRST_ROWS, len(A))]
    B = A[chosen]
    K = B @ B.T
    passive = np.ones(len(chosen), dtype=bool)
    for _ in range(MOST_ROUNDS):
        p = pivot(K, passive, np.ones(len(K)))
        if p is None:
            return None
        w = p @ B
        margins, length, total = A @ w, float(np.linalg.norm(w)), p.sum()
        q = np.zeros(rows.shape)
        q[first_of[chosen], 0] = p / total
        best.offer(w, margins.min() / length, q, length / total)
        if best.gap <= tol or best.upper <= floor:
            return best
        violated = np.flatnonzero(margins < 1.0 - 0.1 * tol)
        violated = np.setdiff1d(violated, chosen, assume_unique=False)
        if violated.size == 0 or len(chosen) >= MOST_ROWS:
            return None  # rounding keeps the gap open: leave it to another method
        worst = violated[np.argsort(margins[violated])]
        worst = worst[: max(FIRST_ROWS, int((p > 0).sum()))]
        chosen = np.concatenate([chosen, worst])
        C = A[worst]
        cross = C @ B.T
        K = np.block([[K, cross.T], [cross, C @ C.T]])
        B = np.concatenate([B, C])
        passive = np.concatenate([p > 0, np.ones(len(worst), dtype=bool)])
    return None


def _distinct(A: Array) -> tuple[Array, NDArray[np.intp]]:
    """The rows without repetitions, and where each stands first.

    Rows count as equal if their products with a random vector do: chance makes that
    happen to different rows once in 10^15 pairs, and then only drops a constraint that
    the certificate still checks.
    """
    mark = A @ np.random.default_rng(0).normal(size=A.shape[1])
    _, first = np.unique(mark, return_index=True)
    if len(first) == len(A):
        return A, np.arange(len(A))
    return A[first], first


def pivot(K: Array, passive: NDArray[np.bool_], r: Array) -> Array | None:
    """Solve `min p'Kp/2 - r'p` over `p >= 0`, from a guess of its support.

    `r` is of order 1. None where active rows are dependent, or pivoting does not end.
    """
    n = len(K)
    patience, fewest = 3, n + 1
    small = 1e-12
    for _ in range(MOST_PIVOTS):
        F = np.flatnonzero(passive)
        try:
            factor = factorise(K[np.ix_(F, F)])
        except scipy.linalg.LinAlgError:
            return None
        x = scipy.linalg.cho_solve(factor, r[F], check_finite=False)
        slack = K[:, F] @ x - r
        wrong = np.zeros(n, dtype=bool)
        wrong[F] = x < -small * np.abs(x).max(initial=0.0)
        wrong |= ~passive & (slack < -1e-11)
        count = int(wrong.sum())
        if count == 0:
            p = np.zeros(n)
            p[F] = np.maximum(x, 0.0)
            return p if p.sum() > 0 else None
        if count < fewest:
            patience, fewest = 3, count
        elif patience > 0:
            patience -= 1
        else:  # one at a time, the last: finite by Murty's rule
            last = np.flatnonzero(wrong)[-1]
            wrong[:] = False
            wrong[last] = True
        passive = passive ^ wrong
    return None
