r"""Moments of a mixture from signed rows, without bias, by their Gram matrix.

With $z_i=y_ix_i$ of mean μ and covariance Σ, sums over *different* rows of products
of $K_{ij}=\langle z_i,z_j\rangle$ are unbiased whatever the law:
$\mathbb EK_{12}=\|\mu\|^2$,
$\mathbb EK_{12}^2=\|\Sigma\|_F^2+2\mu^\top\Sigma\mu+\|\mu\|^4$,
$\mathbb EK_{12}K_{23}=\mu^\top\Sigma\mu+\|\mu\|^4$ and
$\mathbb EK_{12}K_{34}=\|\mu\|^4$. Errors are the jackknife's: every row is left out
once, at the cost of sums that are there already.
"""

from typing import Any

import numpy as np

from penchant.measures import Estimate

Array = np.ndarray

NAMES = ("signal", "trace", "square", "aligned")
HOW = "over different rows, jackknife"


def moments(K: Array) -> dict[str, Estimate]:
    r"""`signal` ‖μ‖², `trace` tr Σ, `square` ‖Σ‖_F² and `aligned` μ'Σμ.

    With labels flipped at the rate η they are those of the signed rows: of
    $(1-2\eta)\mu$ and of $\Sigma+4\eta(1-\eta)\mu\mu^\top$.

    Args:
        K: `(n, n)` Gram matrix of the signed rows, n of 6 or more.
    """
    n = len(K)
    diagonal = np.diagonal(K)
    O = K - np.diag(diagonal)
    r, s = O.sum(axis=1), (O**2).sum(axis=1)
    whole = _of_sums(n, diagonal.sum(), r.sum(), s.sum(), r @ r)
    without = _of_sums(
        n - 1,
        diagonal.sum() - diagonal,
        r.sum() - 2.0 * r,
        s.sum() - 2.0 * s,
        r @ r - r**2 - 2.0 * (O @ r) + s,
    )
    return {
        name: jackknifed(value, left_out)
        for name, value, left_out in zip(NAMES, whole, without, strict=True)
    }


def jackknifed(value: Any, left_out: Array, how: str = HOW) -> Estimate:
    """A number with the jackknife's standard error, of what it is without each row."""
    n = len(left_out)
    spread = float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))
    return Estimate(float(value), spread, how=how, n=n)


def _of_sums(n: int, k: Any, total: Any, squares: Any, rows: Any) -> tuple[Any, ...]:
    """The four moments from the sums of K_ii, K_ij, K_ij² and (Σ_j K_ij)², i ≠ j."""
    pairs = n * (n - 1.0)
    threes, fours = pairs * (n - 2.0), pairs * (n - 2.0) * (n - 3.0)
    one, two = total / pairs, squares / pairs
    three = (rows - squares) / threes
    four = (total**2 - 4.0 * rows + 2.0 * squares) / fours
    return one, k / n - one, two - 2.0 * three + four, three - four
