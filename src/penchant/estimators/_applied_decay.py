"""The decay that a step applied, from the step itself."""

import math

import numpy as np

from penchant._arrays import inner, numbers
from penchant._types import Numbers
from penchant.measures import Estimate


def applied_decay(residual: Numbers, weights: Numbers) -> Estimate:
    r"""$\hat\lambda=\langle r,w\rangle/\|w\|^2$: what a step has left, on the weights.

    For decoupled decay $r=-\Delta w/\eta-F$ with the rule's own step $F$; for decay in
    the gradient $r$ is what entered the memory less the gradient, $(m-\beta m_-)/
    (1-\beta)-g$. The error is that of the regression: rounding, and a penalty of
    another shape. It needs no run and no optimum: one step.

    >>> import penchant as pn
    >>> pn.estimators.applied_decay([0.02, -0.04], [1.0, -2.0])
    0.02 ± 0 (one step, 2 coordinates)

    Args:
        residual: r, of any shape; entries that are not finite are left out.
        weights: The weights before the step, of the same shape.

    Raises:
        TypeError: If something in them is no number.
        ValueError: If their shapes differ.
    """
    r, w = numbers("residual", residual), numbers("weights", weights)
    if r.shape != w.shape:
        raise ValueError(
            f"residual must have the shape of weights, {w.shape}; got {r.shape}."
        )
    r, w = np.ravel(r), np.ravel(w)
    fine = np.isfinite(r) & np.isfinite(w)
    if not fine.all():
        r, w = r[fine], w[fine]
    n, square = r.size, inner(w, w)
    if n < 2 or square == 0.0:
        return Estimate(math.nan, math.nan, valid=False, why="no weights but 0")
    slope = inner(r, w) / square
    rest = r - slope * w
    error = math.sqrt(inner(rest, rest) / (n - 1) / square)
    return Estimate(slope, error, how=f"one step, {n} coordinates")
