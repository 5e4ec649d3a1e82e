r"""Euclidean maximum margins of two classes with fewer samples than features.

Everything happens among the $n$ samples: with $Z=(y_ix_i)$ and $K=ZZ^\top$ the weights
are $Z^\top\beta$, where $\beta\ge0$ minimises $\frac12\beta^\top K\beta-\mathbf
1^\top\beta$. If all of $K^{-1}\mathbf1$ is positive it is that, and the maximum margin
is least squares; else pivoting, which starts from there, finds the support. On Gram
matrices of 50 to 1000 samples it has the complementarity of `scipy.optimize.nnls` on
the Cholesky factor, 1e-18, in a fifth to all of its time.

A feature costs two multiplications a pair of samples and nothing else: there is no
factorisation, copy or scaling of the rows. What is found is held against the rows in
plain sums with a bound on all rounding; where that is not enough the answer is None,
and methods that are slower and more careful take over.
"""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from penchant.margins._solvers.accurate import EPS, FINE
from penchant.margins._solvers.min_norm import pivot

Array = NDArray[np.float64]

MOST_SAMPLES = 2000
"""Samples up to which a factorisation of all of K is cheap."""

CLOSE = 1e-12
"""Share of the upper bound that its rounding may be."""

SQUARES = (1e-120, 1e120)
"""Squared lengths of rows between which no product of two overflows or vanishes."""


@dataclasses.dataclass(frozen=True)
class Found:
    """Unit weights, their margin, the bound on any, and β, 0 off the support."""

    weights: Array
    margin: float
    upper: float
    beta: Array

    @property
    def gap(self) -> float:
        return 1.0 - self.margin / self.upper


def by_gram(X: Array, y: Array, *, tol: float) -> Found | None:
    """The largest Euclidean margin, to a gap of at most `tol`; None if it is not seen.

    That is so where rows are dependent or not separable, or rounding hides the answer.
    """
    n, d = X.shape
    if n >= d or n > MOST_SAMPLES:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        K = X @ X.T
    squares = np.diagonal(K)
    if not (squares.min() > SQUARES[0] and squares.max() < SQUARES[1]):
        return None
    K = K * y * y[:, None]
    scale = float(squares.max())
    p = pivot(K / scale, np.ones(n, dtype=bool), np.ones(n))
    if p is None:
        return None
    w = (p * y) @ X
    length, total = float(np.linalg.norm(w)), float(p.sum())
    if not length > 0:
        return None
    w /= length
    sizes = np.sqrt(squares)
    margins = (X @ w) * y
    rounding = (d + 3) * EPS * float(sizes.max())  # |z||w| bounds any sum of products
    least = float(margins.min())
    if least <= 0 or rounding > FINE * least:
        return None
    q = p / total
    upper = length / total
    # of the mixture's entries; that of its length is left out, as everywhere
    rest = float(squares[p > 0].sum())
    slack = (n + 3) * EPS * math.sqrt(float(q @ q) * rest)
    upper += slack
    if slack > CLOSE * upper or 1.0 - least / upper > tol:
        return None
    return Found(w, least, upper, p)
