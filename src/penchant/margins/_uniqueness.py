import math

import numpy as np

from penchant._checks import check_instance
from penchant.margins._max_margin import MaxMargin
from penchant.margins._solvers.rows import PairRows
from penchant.norms import AbstractLp, AbstractSchatten
from penchant.problems import LinearClassification

ALIKE = 1e-5
"""Unit weights that differ by less in every entry are the same."""

NEAR = 1.1
"""Rows with up to this multiple of the margin take part from the start."""

SECONDS = 10.0
ROUNDS = 10
LARGEST = 4_000_000
"""Entries of the linear program that is solved to tell."""


def is_unique(problem: LinearClassification, best: MaxMargin) -> bool | None:
    r"""Whether no other weights of unit norm have the largest margin.

    Strictly convex norms have one optimum. In the sum and max norms optima may be a
    face: two linear programs look for its ends along a random direction, on the
    samples near the margin and those found to be violated. None where this does not
    tell, and in the spectral and nuclear norms of matrices, where it is not attempted.
    """
    check_instance("problem", problem, LinearClassification, "a LinearClassification")
    check_instance("best", best, MaxMargin, "the MaxMargin that max_margin returns")
    norm = best.norm
    if isinstance(norm, AbstractSchatten):
        return True if problem.binary or norm.p not in (1.0, math.inf) else None
    if not isinstance(norm, AbstractLp) or norm.p not in (1.0, math.inf):
        return True
    rows = PairRows.of(problem)
    W = np.asarray(best.weights)
    margin = float(best.margin)
    chosen = rows.real & (rows.apply(W) <= NEAR * margin)
    for _ in range(ROUNDS):
        if chosen.sum() * W.size > LARGEST:
            return None
        ends = _ends(_dense(rows, chosen), margin, norm.p)
        if ends is None:
            return None
        if np.abs(ends[0] - ends[1]).max() < ALIKE * np.abs(W).max():
            return True
        missed = [
            rows.real & (rows.apply(end.reshape(W.shape)) < margin * (1.0 - 1e-6))
            for end in ends
        ]
        if not (missed[0] | missed[1]).any():
            return False  # both ends separate every sample: two optima
        chosen |= missed[0] | missed[1]
    return None


def _dense(rows: PairRows, chosen: np.ndarray) -> np.ndarray:
    samples = np.flatnonzero(chosen.any(axis=1))
    part = rows.take(samples)
    return part.dense()[chosen[samples][part.real]]


def _ends(
    A: np.ndarray, margin: float, p: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """The two ends of the optimal face along a random direction."""
    from scipy.optimize import linprog

    count, size = A.shape
    c = np.random.default_rng(0).normal(size=size)
    slack = margin * (1.0 - 1e-9)
    ends = []
    for sign in (1.0, -1.0):
        if p == math.inf:
            found = linprog(
                sign * c,
                A_ub=-A,
                b_ub=np.full(count, -slack),
                bounds=(-1.0, 1.0),
                method="highs",
                options={"time_limit": SECONDS},
            )
            end = found.x
        else:  # w = u - v with u, v >= 0 of sum at most 1
            found = linprog(
                sign * np.concatenate([c, -c]),
                A_ub=np.vstack([np.hstack([-A, A]), np.ones((1, 2 * size))]),
                b_ub=np.append(np.full(count, -slack), 1.0),
                bounds=(0.0, None),
                method="highs",
                options={"time_limit": SECONDS},
            )
            end = None if found.x is None else found.x[:size] - found.x[size:]
        if found.status != 0 or end is None:
            return None
        ends.append(end)
    return ends[0], ends[1]
