"""Is this SVM just least squares, and is overfitting harmless on these data?"""

import math
from typing import Any

import numpy as np
import scipy
from scipy import linalg, special

from penchant._checks import check_count
from penchant._types import Numbers
from penchant.audits import _left_out
from penchant.audits._moments import moments
from penchant.audits._overfitting_result import Measured, Overfitting
from penchant.audits._signed import Signed, read_signed
from penchant.margins import NoMarginError, max_margin
from penchant.measures import Estimate
from penchant.norms import L2
from penchant.problems import LinearClassification
from penchant.problems.losses import Logistic

Array = np.ndarray

FEWEST = 10
"""Rows below which nothing is said."""

MOST = 4000
"""Rows whose Gram matrix is taken apart."""

DEPENDENT = 1e-11
"""Share of its largest eigenvalue below which a Gram matrix is singular."""


def _unknown(why: str) -> Estimate:
    return Estimate(math.nan, math.nan, valid=False, why=why)


def overfitting(
    X: Any,
    y: Numbers,
    *,
    held_out: tuple[Any, Numbers] | None = None,
    folds: int | None = None,
    seed: int = 0,
    name: str = "the data",
) -> Overfitting:
    r"""Is max margin on these data least squares, and does interpolating them cost?

    For two classes and no bias, as `cao2021mixtures` has it: $y_ix_i=\mu+q_i$. Nothing
    is assumed of the moments, which are unbiased, nor of left-out margins, which for
    least squares are exact; that margins of new rows are normal is assumed where a
    *predicted* risk is quoted, and tested.

    >>> import penchant as pn
    >>> mixture = pn.datasets.Mixture.rare_weak(4000, 4, 3.0)
    >>> X, y = mixture.sample(40, seed=0)
    >>> found = pn.audits.overfitting(X, y)
    >>> found.is_least_squares, found.signal.covers(36.0)
    (True, True)

    Args:
        X: `(n, d)` examples, dense or a SciPy sparse matrix; n from 10 to 4000.
        y: `(n,)` labels: ±1, or 0 and 1.
        held_out: Rows and labels that were not trained on, to measure errors on.
        folds: Measure by cross-validation in so many folds instead.
        seed: Of the folds.
        name: What the data are called.

    Raises:
        TypeError: If X or y hold no numbers.
        ValueError: If shapes disagree, an entry is NaN or infinite, labels are of one
            class or more than two, equal rows have opposite labels, rows repeat where
            least squares would interpolate them, or no weights separate the classes.
    """
    data = read_signed(X, y)
    n, d = data.shape
    if not FEWEST <= n <= MOST:
        raise ValueError(
            f"X must have {FEWEST} to {MOST} rows for this audit; got {n}. Of more, "
            "take a sample: what it says is of so many rows."
        )
    if held_out is not None and folds is not None:
        raise ValueError("held_out and folds exclude each other; got both.")
    K = data.gram()
    values = linalg.eigvalsh(K)
    if not values[-1] > 0:
        raise ValueError("X must have a row that is not 0; all of them are.")
    singular = not values[0] > DEPENDENT * values[-1]
    if singular:
        data.refuse_repeated(n <= d)
    beta = _dual(data)
    margins = (K @ beta) / (K @ beta)[beta > 0].mean()
    plain_ = None if singular else linalg.solve(K, np.ones(n), assume_a="pos")
    support = beta > 0
    beta = beta / (K @ beta)[support].mean()
    left = _left_out.of_max_margin(K, beta, margins)
    averaged = _left_out.of_averaging(K)
    ridge, ridged = _left_out.best_ridge(K)
    found = moments(K)
    if left is None:
        why = "support vectors are dependent"
        ours, share = _unknown(why), _unknown(why)
    else:
        ours = _left_out.rho(left, "left-out margins, the support held")
        share = _predicted_share(left)
    interpolating = (
        _unknown("the Gram matrix is singular")
        if plain_ is None
        else _left_out.rho(_left_out.of_interpolation(K), "left-out margins, exact")
    )
    measured = None
    if held_out is not None:
        measured = _on(data, read_signed(*held_out, other=data), beta, plain_, ridge)
    elif folds is not None:
        measured = _by_folds(data, K, check_count("folds", folds, least=2), seed)
    return Overfitting(
        is_least_squares=bool(support.all()) and not singular,
        support=support,
        share=float(support.mean()),
        predicted_share=share,
        cosine=math.nan if plain_ is None else _cosine(K, beta, plain_),
        **found,
        max_margin=ours,
        interpolating=interpolating,
        averaging=_left_out.rho(averaged, "left-out margins, exact"),
        early_stopping=_left_out.rho(ridged, "left-out margins, exact, best ridge"),
        ridge=ridge,
        normality=float(scipy.stats.shapiro(averaged).pvalue),
        measured=measured,
        offset=data.offset(),
        shape=(n, d),
        name=name,
    )


def _dual(data: Signed) -> Array:
    """β of max margin, up to its length, by `max_margin` and its certificate."""
    # rows are rotated into their own span: margins see inner products alone
    problem = LinearClassification(data.compact(), data.y, loss=Logistic())
    try:
        return np.array(max_margin(problem, L2()).dual)
    except NoMarginError:
        raise ValueError(
            "no weights classify every row, so that nothing interpolates and nothing "
            "overfits in the sense of this audit: add features, or look at fewer rows."
        ) from None


def _predicted_share(left: Array) -> Estimate:
    """P(m < 1) of a normal law, and its error from mean and deviation."""
    n, v = len(left), float(left.std(ddof=1))
    t = (1.0 - float(left.mean())) / v
    density = math.exp(-0.5 * t**2) / math.sqrt(2.0 * math.pi)
    error = density * math.sqrt((1.0 + 0.5 * t**2) / n)
    return Estimate(float(special.ndtr(t)), error, how="normal left-out margins", n=n)


def _cosine(K: Array, a: Array, b: Array) -> float:
    return float(a @ K @ b / math.sqrt((a @ K @ a) * (b @ K @ b)))


def _error(margins: Array, how: str) -> Estimate:
    """The share below 0, ties as half; its error as if half a row more were wrong."""
    m = len(margins)
    share = float(np.mean(margins < 0) + 0.5 * np.mean(margins == 0))
    raised = (share * m + 0.5) / (m + 1.0)
    return Estimate(share, math.sqrt(raised * (1.0 - raised) / m), how=how, n=m)


def _on(
    data: Signed, other: Signed, beta: Array, plain_: Array | None, ridge: float
) -> Measured:
    cross, K = other.cross(data), data.gram()
    how = f"{other.shape[0]} held-out rows"
    ones = np.ones(len(K))
    early = linalg.solve(K + ridge * np.eye(len(K)), ones, assume_a="pos")
    return Measured(
        max_margin=_error(cross @ beta, how),
        interpolating=None if plain_ is None else _error(cross @ plain_, how),
        averaging=_error(cross @ ones, how),
        early_stopping=_error(cross @ early, how),
        how=how,
    )


def _by_folds(data: Signed, K: Array, folds: int, seed: int) -> Measured:
    n = len(K)
    if folds > n // 2:
        raise ValueError(f"folds must leave two rows in each, at most {n // 2}.")
    part = np.random.default_rng(seed).permutation(n) % folds
    seen: dict[str, Array] = {
        x: np.zeros(n) for x in ("max_margin", "plain", "averaging", "early")
    }
    regular = True
    for k in range(folds):
        out, rest = np.flatnonzero(part == k), np.flatnonzero(part != k)
        G, cross = K[np.ix_(rest, rest)], K[np.ix_(out, rest)]
        seen["max_margin"][out] = cross @ _dual(data.take(rest))
        seen["averaging"][out] = cross.sum(axis=1)
        ridge, _ = _left_out.best_ridge(G)
        ones = np.ones(len(rest))
        early = linalg.solve(G + ridge * np.eye(len(rest)), ones, assume_a="pos")
        seen["early"][out] = cross @ early
        values = linalg.eigvalsh(G)
        regular &= bool(values[0] > DEPENDENT * values[-1])
        if regular:
            seen["plain"][out] = cross @ linalg.solve(G, ones, assume_a="pos")
    how = f"cross-validation in {folds} folds"
    return Measured(
        max_margin=_error(seen["max_margin"], how),
        interpolating=_error(seen["plain"], how) if regular else None,
        averaging=_error(seen["averaging"], how),
        early_stopping=_error(seen["early"], how),
        how=how,
    )
