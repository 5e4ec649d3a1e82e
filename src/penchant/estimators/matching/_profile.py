"""The shape of a penalty by variable projection, and the interval of its profile."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from penchant.estimators.matching._least_squares import factor_of, solve
from penchant.estimators.matching._match import Shape
from penchant.estimators.penalties import Free

GRID = 33
"""Shapes tried before the best is refined."""

CHI_SQUARE = 3.841458820694124
"""95 % of a chi-square of one degree."""

Columns = Callable[[float], tuple[np.ndarray, np.ndarray, Any]]
"""Columns and target at a shape."""


def profile(free: Free, columns: Columns, place: int) -> Shape:
    """The shape whose best coefficients leave least, with its interval."""
    forward, back = (math.log, math.exp) if free.log else (float, float)
    known: dict[float, float] = {}

    def left(x: float) -> float:
        """The share of the square left at a shape."""
        if x not in known:
            terms, target, _ = columns(back(x))
            solution = solve(factor_of(terms, target))
            known[x] = solution.ratio**2 if solution.size > 0 else math.nan
        return known[x]

    low, high = forward(free.low), forward(free.high)
    grid = np.linspace(low, high, GRID)
    values = np.array([left(float(x)) for x in grid])
    if not np.isfinite(values).any():
        nothing = np.full(GRID, math.nan)
        at = np.array([back(float(x)) for x in grid])
        return Shape(math.nan, (free.low, free.high), False, at, nothing)
    i = int(np.nanargmin(values))
    a, b = float(grid[max(i - 1, 0)]), float(grid[min(i + 1, GRID - 1)])
    best = _golden(left, a, b)
    least = left(best)
    terms, target, _ = columns(back(best))
    equations = int(np.count_nonzero(np.any(terms != 0, axis=1) | (target != 0)))
    free_degrees = max(equations - terms.shape[1] - 1, 1)
    # below the rounding of the squares, shapes can't be told apart
    level = least * (1.0 + CHI_SQUARE / free_degrees) + 1e-15
    ends = [_crossing(left, level, best, end, grid) for end in (low, high)]
    inside = all(left(float(end)) > level for end in (low, high))
    order = np.argsort(list(known))
    shapes = np.array([back(x) for x in np.array(list(known))[order]])
    return Shape(
        value=back(best),
        interval=(back(ends[0]), back(ends[1])),
        inside=inside,
        grid=shapes,
        profile=np.array(list(known.values()))[order],
    )


def _golden(f: Callable[[float], float], a: float, b: float) -> float:
    """The minimum between two ends, by golden section and a last parabola."""
    ratio = 0.5 * (math.sqrt(5.0) - 1.0)
    x, y = b - ratio * (b - a), a + ratio * (b - a)
    for _ in range(36):
        if f(x) <= f(y):
            b, y = y, x
            x = b - ratio * (b - a)
        else:
            a, x = x, y
            y = a + ratio * (b - a)
    tried = [a, x, y, b]
    return min(tried, key=f)


def _crossing(
    f: Callable[[float], float],
    level: float,
    inner: float,
    end: float,
    grid: np.ndarray,
) -> float:
    """Where the profile first reaches a level on the way from its minimum to an end."""
    way = np.sort(grid[(grid - inner) * (end - inner) > 0])
    way = way if end > inner else way[::-1]
    outer = next((float(x) for x in way if f(float(x)) > level), None)
    if outer is None:
        return end
    for _ in range(44):
        middle = 0.5 * (inner + outer)
        if f(middle) > level:
            outer = middle
        else:
            inner = middle
    return 0.5 * (inner + outer)
