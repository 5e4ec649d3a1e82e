"""How fast a ratio closes in on 1, and how far there is still to go."""

import math
from collections.abc import Callable

import equinox as eqx
import numpy as np

from penchant._arrays import numbers
from penchant._checks import check_number
from penchant.estimators._log_slope import log_slope

SETTLED = 30.0
"""Margins from which on gaps follow their law: before, a fit is of a transient."""


class Convergence(eqx.Module):
    r"""The fit $1-\text{ratio}\propto t^{-a}$ over the last decade of steps.

    `exponent` $a$ with a standard error that allows for neighbouring records being
    alike; `needed` steps to bring the gap to `target`, extrapolated, with a range from
    one standard error, all infinite where no progress is seen. `settled` says whether
    the run was far enough (margins above 30) for gaps to follow a power law at all.
    """

    gap: float = eqx.field(static=True)
    exponent: float = eqx.field(static=True)
    error: float = eqx.field(static=True)
    target: float = eqx.field(static=True)
    needed: float = eqx.field(static=True)
    needed_range: tuple[float, float] = eqx.field(static=True)
    settled: bool = eqx.field(static=True)


def fit_convergence(
    steps: np.ndarray, ratio: np.ndarray, margin: float, target: float = 0.01
) -> Convergence:
    r"""The gap's decay along a run, and the steps until it is `target`.

    Least squares of $\log(1-\text{ratio})$ on $\log t$ over the last decade of steps.
    An extrapolation, no bound: it says when the law that the records show will have
    brought the gap there, if it goes on.

    >>> import numpy as np, penchant as pn
    >>> t = np.geomspace(10, 1000, 50)
    >>> fit = pn.estimators.fit_convergence(t, 1.0 - 2.0 / t, margin=40.0, target=1e-3)
    >>> round(fit.exponent, 6), round(fit.needed)
    (1.0, 2000)

    Args:
        steps: `(r,)`, increasing.
        ratio: `(r,)`, the share of the largest margin at each.
        margin: The least margin at the end; below 30 a fit is of a transient.
        target: The gap to extrapolate to.

    Raises:
        TypeError: If an argument is no number.
        ValueError: If shapes differ, or there is no record.
    """
    steps, ratio = numbers("steps", steps), numbers("ratio", ratio)
    if steps.ndim != 1 or not steps.size or ratio.shape != steps.shape:
        raise ValueError(
            f"steps and ratio must have one shape (r,), r >= 1; got {steps.shape} and "
            f"{ratio.shape}."
        )
    check_number("margin", margin)
    check_number("target", target, above=0.0)
    last = float(steps[-1])
    gap = 1.0 - ratio
    now = float(gap[-1])
    late = (steps >= last / 10.0) & (gap > 0)
    settled = margin >= SETTLED
    if now <= target:
        slope, error = log_slope(steps[late], gap[late])
        return Convergence(now, -slope, error, target, last, (last, last), settled)
    slope, error = log_slope(steps[late], gap[late])
    reach = lambda a: last * (now / target) ** (1.0 / a) if a > 1e-3 else math.inf
    a = -slope
    span = (_finite_or_inf(reach, a + error), _finite_or_inf(reach, a - error))
    return Convergence(now, a, error, target, _finite_or_inf(reach, a), span, settled)


def _finite_or_inf(reach: Callable[[float], float], a: float) -> float:
    try:
        return reach(a)
    except OverflowError:
        return math.inf
