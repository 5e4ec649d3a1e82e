r"""Margins of left-out rows, for all that lies between averaging and max margin.

What leaving row i out does is known without doing it: with $\beta=(K+t)^{-1}\mathbf1$
its margin on the weights of the others is $1-\beta_i/(K+t)^{-1}_{ii}$, exactly.
"""

import numpy as np
from scipy import linalg, special

from penchant.measures import Estimate

Array = np.ndarray

RIDGES = 40
"""Ridges between the interpolator and averaging that are looked at."""


def of_averaging(K: Array) -> Array:
    """Margins on the mean of the other rows."""
    return (K.sum(axis=1) - np.diagonal(K)) / (len(K) - 1.0)


def of_interpolation(K: Array) -> Array:
    """Margins on the interpolator of least norm of the other rows; K is regular."""
    inverse = linalg.inv(K)
    return 1.0 - inverse.sum(axis=1) / np.diagonal(inverse)


def of_max_margin(K: Array, beta: Array, margins: Array) -> Array | None:
    """Margins on the max margin of the other rows, nearly; None if that is not seen.

    A row off the support changes nothing when it goes, and keeps its margin. Of the
    others it is exact if no row joins or leaves the support when one goes.

    Args:
        K: The Gram matrix.
        beta: The dual, 0 off the support.
        margins: Of all rows, 1 on the support.
    """
    S = np.flatnonzero(beta > 0)
    try:
        factor = linalg.cho_factor(K[np.ix_(S, S)])
    except linalg.LinAlgError:
        return None
    inverse = linalg.cho_solve(factor, np.eye(len(S)))
    out = margins.copy()
    out[S] = 1.0 - beta[S] / np.diagonal(inverse)
    return out if np.isfinite(out).all() else None


def best_ridge(K: Array) -> tuple[float, Array]:
    """The ridge whose left-out margins are farthest from 0, and those margins."""
    n = len(K)
    values, vectors = linalg.eigh(K)
    values = np.maximum(values, 0.0)
    ones = vectors.sum(axis=0)
    best, found = -np.inf, (np.inf, of_averaging(K))
    for t in values[-1] * np.geomspace(1e-6, 1e3, RIDGES):
        beta = vectors @ (ones / (values + t))
        diagonal = (vectors**2) @ (1.0 / (values + t))
        margins = 1.0 - beta / diagonal
        score = margins.mean() / margins.std(ddof=1) if n > 1 else np.inf
        if score > best:
            best, found = score, (float(t), margins)
    return found


def rho(margins: Array, how: str) -> Estimate:
    r"""ρ of the weights: mean over deviation of left-out margins.

    Were they independent its error would be $\sqrt{(1+\rho^2/2)/n}$ for a normal law.
    But row i's margin on weights that have row j is row j's on those that have row i:
    where noise makes the margins' scatter each of it is counted twice, so that the mean
    has twice the variance. That 2 stands in place of the 1; it is too wide where the
    scatter is the signal's, $\mu^\top\Sigma\mu$.
    """
    n = len(margins)
    deviation = float(margins.std(ddof=1))
    # a deviation of few rows is too small on average (Hedges' correction)
    value = float(margins.mean()) / deviation * (1.0 - 3.0 / (4.0 * n - 5.0))
    return Estimate(value, float(np.sqrt((2.0 + 0.5 * value**2) / n)), how=how, n=n)


def share_below(x: float) -> float:
    """Φ(x)."""
    return float(special.ndtr(x))


def risk(of: Estimate) -> Estimate:
    r"""$\Phi(-\rho)$ and the error that ρ's makes."""
    if not of.valid:
        return of
    density = np.exp(-0.5 * of.value**2) / np.sqrt(2.0 * np.pi)
    value = float(special.ndtr(-of.value))
    return Estimate(value, float(density * of.error), how=of.how, n=of.n)
