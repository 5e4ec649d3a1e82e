"""The slope of a power law from records of one run, with an error that can be meant."""

import math

import numpy as np

FEWEST = 8
"""Records below which no slope is fitted."""


def log_slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Least squares of `log y` on `log x`, and its standard error.

    Records close in time err alike: independent ones are counted by the residuals'
    first autocorrelation. (0, inf) where there are fewer than 8.
    """
    if len(x) < FEWEST:
        return 0.0, math.inf
    u, v = np.log(x.astype(float)), np.log(y)
    u = u - u.mean()
    if not u.any():
        return 0.0, math.inf
    slope = float(u @ v / (u @ u))
    residual = v - v.mean() - slope * u
    square = float(residual @ residual)
    error = math.sqrt(square / (len(u) - 2) / float(u @ u))
    if square > 0:
        rho = float(residual[1:] @ residual[:-1]) / square
        rho = min(max(rho, 0.0), 0.98)
        error *= math.sqrt((1.0 + rho) / (1.0 - rho))
    return slope, error
