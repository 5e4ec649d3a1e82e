"""Solve on a part of the samples, let in those that the solution violates, repeat."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from penchant.margins._solvers.interior_point import Bounds, Length
from penchant.margins._solvers.rows import PairRows

Array = NDArray[np.float64]

MOST_ROUNDS = 30


def working_set(
    rows: PairRows,
    solve: Callable[[PairRows], Bounds],
    norm: Length,
    *,
    first: int,
    tol: float,
    floor: float,
) -> Bounds:
    """Bounds for all samples from solutions for few.

    A solution for some samples bounds the margin of all from above; its margin over all
    samples bounds it from below.

    Args:
        rows: The margins of all samples.
        solve: A method for fewer samples.
        norm: The norm.
        first: Samples to start with, and to add at a time.
        tol: Relative gap to stop at.
        floor: Stop once the upper bound is below it.
    """
    n = len(rows.X)
    if first >= n:
        return solve(rows)
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(n, size=first, replace=False))
    uniform = np.where(rows.real, 1.0 / rows.count, 0.0)
    best = Bounds(rows.adjoint(uniform), uniform)
    for _ in range(MOST_ROUNDS):
        part = solve(rows.take(chosen))
        q = np.zeros(rows.shape)
        q[chosen] = part.q
        length = norm(part.W)
        margins = rows.least(part.W)
        lower = margins.min() / length if length > 0 else -np.inf
        best.offer(part.W, lower, q, part.upper)
        if best.gap <= tol or best.upper <= floor or len(chosen) == n:
            break
        violated = np.setdiff1d(
            np.flatnonzero(margins < part.upper * length), chosen, assume_unique=False
        )
        if violated.size == 0:
            break  # as good as `solve` is
        worst = violated[np.argsort(margins[violated])][:first]
        chosen = np.union1d(chosen, worst)
    return best
