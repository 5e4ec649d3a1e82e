r"""The power that a map has: of entries, within rows, or of singular values."""

import dataclasses
import math

import numpy as np
import scipy

from penchant.estimators.identification._box import AbstractBox
from penchant.estimators.identification._gradients import spread, with_values

TRIES = 10
"""Gradients of a fit."""

ROUNDING = 1e-6
"""Logarithms that a power law leaves over by rounding alone."""


@dataclasses.dataclass(frozen=True)
class Power:
    r"""$|u|\propto|g|^\alpha$ on entries or singular values, one constant a group.

    `alpha` is fitted in logarithms, with `interval` the values that 95 % of its profile
    hold; `residual` is the root mean square of what it leaves over, in logarithms: the
    map is a power where that is rounding, else the interval says between which powers
    it lies. `x` and `y` are the pairs, sizes of the largest being 1. `off` is the share
    of steps outside the pattern: for singular values, off the gradient's own
    directions.
    """

    alpha: float
    interval: tuple[float, float]
    residual: float
    off: float
    x: np.ndarray
    y: np.ndarray

    @property
    def exact(self) -> bool:
        """Whether the map is a power, to rounding."""
        return self.residual < ROUNDING and self.off < ROUNDING

    @property
    def p(self) -> float:
        r"""The exponent of the norm in which the map is steepest, $1+1/\alpha$."""
        return exponent(self.alpha)

    @property
    def between(self) -> tuple[float, float]:
        """The interval, as exponents of norms, the smaller first."""
        return exponent(self.interval[1]), exponent(self.interval[0])


def exponent(alpha: float) -> float:
    r"""$p=1+1/\alpha$, to nine digits; $\infty$ from $\alpha=10^{-5}$ downwards."""
    return math.inf if alpha <= 1e-5 else float(f"{1.0 + 1.0 / alpha:.9g}")


def of_entries(
    box: AbstractBox, scale: float, seed: int, *, within: str = "all"
) -> Power:
    """The power of entries; `within` "rows" or "columns" has one constant for each."""
    xs, ys, groups, off = [], [], [], 0.0
    for i in range(TRIES):
        g = spread(box.shape, seed + i)
        u = -box.first(scale * g)
        label = np.zeros(g.shape, int)
        if within == "rows":
            label = np.broadcast_to(np.arange(g.shape[0])[:, None], g.shape)
        elif within == "columns":
            label = np.broadcast_to(np.arange(g.shape[1])[None, :], g.shape)
        some = u != 0
        wrong = np.sum(u[some & (np.sign(u) != np.sign(g))] ** 2)
        off = max(off, float(np.sqrt(wrong / max(np.sum(u**2), 1e-300))))
        xs.append(np.abs(g[some]))
        ys.append(np.abs(u[some]))
        groups.append(label[some] + 1000 * i)
    return fit(xs, ys, groups, off)


def of_singular_values(box: AbstractBox, scale: float, seed: int) -> Power:
    """The map of singular values, at spectra over two decades."""
    k = min(box.shape)
    xs, ys, groups, off = [], [], [], 0.0
    for i in range(TRIES):
        rng = np.random.default_rng(seed + 97 * i)
        values = np.sort(10.0 ** rng.uniform(-2.0, 0.0, k))[::-1]
        values[0] = 1.0
        g = with_values(box.shape, values, seed + i)
        U, s, Vt = np.linalg.svd(g, full_matrices=False)
        u = -box.first(scale * g)
        inner = U.T @ u @ Vt.T
        f = np.diagonal(inner)
        rest = np.linalg.norm(u - (U * f) @ Vt)
        off = max(off, float(rest / max(np.linalg.norm(u), 1e-300)))
        some = f > 1e-9 * np.max(np.abs(f))
        xs.append(s[some])
        ys.append(f[some])
        groups.append(np.full(some.sum(), i))
    return fit(xs, ys, groups, off)


def fit(
    xs: list[np.ndarray], ys: list[np.ndarray], groups: list[np.ndarray], off: float
) -> Power:
    """Least squares in logarithms, one intercept a group.

    What a map leaves over is no noise but its own bend, the same in every gradient that
    has the same sizes: errors are those of slopes over whole groups, left out in turn.
    """
    x, y, group = (np.concatenate(parts) for parts in (xs, ys, groups))
    _, label = np.unique(group, return_inverse=True)
    label = np.ravel(label)
    count = np.bincount(label)
    lx, ly = np.log(x), np.log(y)
    dx = lx - (np.bincount(label, lx) / count)[label]
    dy = ly - (np.bincount(label, ly) / count)[label]
    total = float(dx @ dx)
    freedom = len(count) - 1
    if total == 0 or freedom < 1:
        nan = math.nan
        return Power(nan, (nan, nan), nan, off, x, y)
    alpha = float(dx @ dy) / total
    left = dy - alpha * dx
    residual = float(np.sqrt(np.mean(left**2)))
    share = np.bincount(label, dx * dx) / total
    shift = np.bincount(label, dx * left) / total / np.maximum(1.0 - share, 1e-12)
    error = math.sqrt(freedom / len(count) * float(shift @ shift))
    half = float(scipy.stats.t.ppf(0.975, freedom)) * error
    largest = np.zeros(len(count))
    np.maximum.at(largest, label, x)
    top = np.zeros(len(count))
    np.maximum.at(top, label, y)
    return Power(
        alpha,
        (alpha - half, alpha + half),
        residual,
        off,
        x / largest[label],
        y / top[label],
    )
