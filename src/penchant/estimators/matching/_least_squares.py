"""Linear least squares of few unknowns, from a factor that any route may give."""

import math
from typing import NamedTuple

import numpy as np

COLLINEAR = 1e8
"""Variance inflation from which two penalties count as one: half the digits gone."""

SINGULAR = 1e-13
"""Singular values of unit columns below this are rounding."""


class Solution(NamedTuple):
    r"""The minimiser of $\|r-B\lambda\|$ and what tells how far to trust it.

    `cosines` are those between columns, `vif` `(k,)` the diagonal of their inverse,
    `inverse` $(B^\top B)^{-1}$ (infinite where singular), `left` the norm of what is
    left and `size` that of $r$.
    """

    coefficients: np.ndarray
    cosines: np.ndarray
    vif: np.ndarray
    inverse: np.ndarray
    lengths: np.ndarray
    left: float
    size: float

    @property
    def ratio(self) -> float:
        """What is left as a part of the whole; NaN of nothing."""
        return self.left / self.size if self.size > 0 else math.nan

    @property
    def r2(self) -> float:
        """The share of the square that is explained, about 0 and not about the mean."""
        return 1.0 - self.ratio**2

    @property
    def bounds(self) -> np.ndarray:
        r"""$\sqrt{[(B^\top B)^{-1}]_{kk}}$: what one unit of error in $r$ can do."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sqrt(self.vif) / self.lengths


def factor_of(columns: np.ndarray, target: np.ndarray) -> np.ndarray:
    """A small matrix with the Gram matrix of the columns and the target, by QR.

    Args:
        columns: `(m, k)`.
        target: `(m,)`.
    """
    together = np.concatenate([columns, target[:, None]], axis=1)
    if len(together) < together.shape[1]:
        return together
    # columns of any scale: QR of unit ones loses no digits to the largest
    lengths = np.linalg.norm(together, axis=0)
    lengths = np.where(lengths > 0, lengths, 1.0)
    return np.asarray(np.linalg.qr(together / lengths, mode="r")) * lengths


def factor_of_gram(gram: np.ndarray) -> np.ndarray:
    """The same from the Gram matrix itself, whose condition is the square."""
    lengths = np.sqrt(np.diagonal(gram))
    lengths = np.where(lengths > 0, lengths, 1.0)
    values, vectors = np.linalg.eigh(gram / np.outer(lengths, lengths))
    return np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T * lengths


def solve(factor: np.ndarray, *, nonnegative: bool = False) -> Solution:
    """Least squares from a factor of `k + 1` columns, the last one the target's.

    Of collinear columns the solution of least length, in units of the columns.
    """
    lengths = np.linalg.norm(factor[:, :-1], axis=0)
    unit = np.where(lengths > 0, lengths, 1.0)
    F, r = factor[:, :-1] / unit, factor[:, -1]
    U, s, V = np.linalg.svd(F, full_matrices=False)
    kept = s > SINGULAR * max(1.0, float(s[0]) if len(s) else 1.0)
    inverse = np.where(kept, 1.0 / np.where(kept, s, 1.0), 0.0)
    # directions that no data fix leave the variance of what is in them infinite
    blind = 1.0 - np.sum((V[kept]) ** 2, axis=0)
    vif = np.sum((inverse[:, None] * V) ** 2, axis=0)
    vif = np.where((blind > 1e-9) | (lengths == 0), np.inf, vif)
    if nonnegative:
        from scipy.optimize import nnls

        x = nnls(F, r)[0]
    else:
        x = V.T @ (inverse * (U.T @ r))
    size = float(np.linalg.norm(r))
    left = float(np.linalg.norm(r - F @ x))
    with np.errstate(divide="ignore"):
        full = (V.T * inverse**2) @ V / np.outer(unit, unit)
    return Solution(
        coefficients=np.where(lengths > 0, x / unit, 0.0),
        cosines=F.T @ F,
        vif=vif,
        inverse=full,
        lengths=lengths,
        left=left,
        size=size,
    )


def collinear_pair(solution: Solution) -> tuple[int, int] | None:
    """The two columns nearest to one direction, where some are collinear."""
    if len(solution.vif) < 2 or not (solution.vif > COLLINEAR).any():
        return None
    worst = np.abs(solution.cosines - np.diag(np.diagonal(solution.cosines)))
    involved = solution.vif > COLLINEAR
    worst = np.where(np.outer(involved, involved), worst, -1.0)
    i, j = np.unravel_index(int(np.argmax(worst)), worst.shape)
    return (int(min(i, j)), int(max(i, j))) if i != j else None
