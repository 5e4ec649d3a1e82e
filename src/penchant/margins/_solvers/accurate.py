r"""Margins and mixtures of rows as if computed in twice the working precision.

A margin of weights that are far from equal in scale, or of rows that nearly oppose
each other, is the small difference of large products; a mixture of rows that nearly
cancel likewise. Where plain sums cannot tell, products and sums are therefore taken
with their rounding errors (`ogita2005accurate`), and every result comes with a bound
on what is left of them.
"""

import numpy as np
from numpy.typing import NDArray

from penchant.margins._solvers.rows import PairRows, scaled

Array = NDArray[np.float64]

EPS = float(np.finfo(float).eps)

SMALLEST = 1e-290
"""Products below this have no rounding error that a double could hold."""

FINE = 1e-10
"""A relative rounding error that is not worth a second look."""

MOST = 3e7
"""Products that are taken with their rounding errors, at most."""

AT_ONCE = 1_000_000

SPLITTER = 134217729.0  # 2^27 + 1


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """`a + b`, and its rounding error."""
    s = a + b
    z = s - a
    return s, (a - (s - z)) + (b - z)


def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """`a b`, and its rounding error; for factors below 1e290."""
    p = a * b
    t = SPLITTER * a
    a_high = t - (t - a)
    t = SPLITTER * b
    b_high = t - (t - b)
    a_low, b_low = a - a_high, b - b_high
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


def product(A: Array, B: Array) -> tuple[Array, Array]:
    """`A B` as an unevaluated sum of two arrays, of twice the working precision.

    `|AB - high - low|` is at most `(2 n EPS)^2 |A||B|` for an inner size of `n`.
    """
    (m, inner), columns = A.shape, B.shape[1]
    high, low = np.zeros((m, columns)), np.zeros((m, columns))
    wide = max(1, min(columns, AT_ONCE // max(inner, 1)))
    tall = max(1, AT_ONCE // max(inner * wide, 1))
    for i in range(0, m, tall):
        for j in range(0, columns, wide):
            at = np.s_[i : i + tall, j : j + wide]
            # inner index first: halves of it are added until one is left
            left = np.ascontiguousarray(A[i : i + tall].T)[:, :, None]
            p, e = two_product(left, B[:, None, j : j + wide])
            lost = e.sum(axis=0)
            while len(p) > 1:
                half = len(p) // 2
                s, t = two_sum(p[:half], p[half : 2 * half])
                lost += t.sum(axis=0)
                p = np.concatenate([s, p[2 * half :]])
            if len(p):
                high[at] = p[0]
            low[at] = lost
    return high, low


def unit_scale(a: Array) -> tuple[Array, int]:
    """An array over the power of two that brings its largest entry to [1/2, 1)."""
    largest = float(np.abs(a).max(initial=0.0))
    e = int(np.frexp(largest)[1]) if largest > 0 else 0
    return scaled(a, -e), e


def margins(rows: PairRows, W: Array, every: bool = False) -> tuple[Array, Array, int]:
    r"""`AW` as `m` times $2^e$ `(n, c)`, a bound on the error of `m`, and `e`.

    Where the bound is not small it is so far from the least margin that it cannot
    matter, unless `every` margin is asked for. Numbers that differ by more than 1e290
    are lost; the bound says so. 0 where no row exists.
    """
    X, a = unit_scale(rows.X)
    V, b = unit_scale(W)
    V = V[:, None] if rows.y is None else V.T
    size = np.abs(X) @ np.abs(V)
    count = X.shape[1] + 3
    if rows.y is None:
        plain, reach = X @ V, size
    else:
        Z = X @ V
        at = rows.y[:, None]
        plain = np.take_along_axis(Z, at, axis=1) - Z
        reach = size + np.take_along_axis(size, at, axis=1)
    error = count * EPS * reach + count * SMALLEST
    close = rows.real & (error > FINE * np.abs(plain))
    if not every:
        most = np.where(rows.real, plain + error, np.inf).min()
        close &= plain - error <= most
    which = np.flatnonzero(close.any(axis=1))
    if 0 < len(which) * V.size <= MOST:
        high, low = product(X[which], V)
        if rows.y is not None:
            at = rows.y[which, None]
            own = np.take_along_axis(high, at, axis=1)
            high, e = two_sum(own, -high)
            low = e + (np.take_along_axis(low, at, axis=1) - low)
        plain[which] = high + low
        error[which] = (
            2.0 * EPS * np.abs(plain[which])
            + 4.0 * (count * EPS) ** 2 * reach[which]
            + count * SMALLEST
        )
    return np.where(rows.real, plain, 0.0), np.where(rows.real, error, 0.0), a + b


def least(rows: PairRows, W: Array) -> tuple[float, float, int]:
    r"""The least margin as `m` times $2^e$, a bound on the error of `m`, and `e`."""
    m, error, e = margins(rows, W)
    flat, bound = m[rows.real], error[rows.real]
    i = int(flat.argmin())
    # the true least lies between the least of m - error and that of m + error
    return float(flat[i]), float(flat[i] - (flat - bound).min()), e


def mixture(rows: PairRows, q: Array, fine: float = FINE) -> tuple[Array, Array, Array]:
    r"""$A^\top q$, a bound on its error, and $|A|^\top q$, to hold it against.

    In the units of the features; `q` is 0 where no row exists. Plain sums do where
    their errors are below the share `fine` of the largest entry.
    """
    weighty = np.flatnonzero(q.any(axis=1))
    if 2 * len(weighty) > len(q):
        X, e = rows.by_feature
    else:
        rows, q = rows.take(weighty), q[weighty]
        X, e = rows.by_feature
    if rows.y is None:
        R, rest = q.T, None
    else:
        total = np.zeros(len(q))
        lost = np.zeros(len(q))
        for column in q.T:
            total, t = two_sum(total, column)
            lost += t
        R = -q.T.copy()
        R[rows.y, np.arange(len(q))] = total
        rest = np.zeros_like(R)
        rest[rows.y, np.arange(len(q))] = lost
    size = np.abs(R) @ np.abs(X)
    count = len(X) + rows.shape[1] + 3
    G = R @ X
    error = count * EPS * size + count * SMALLEST * float(R.max(initial=0.0))
    back = lambda a: scaled(a, e).reshape(rows.weight_shape)
    largest = float(np.abs(back(G)).max(initial=0.0))
    if float(back(error).sum()) > fine * largest and R.size * X.shape[1] <= MOST:
        high, low = product(R, X)
        if rest is not None:
            low += rest @ X
        G = high + low
        error = (
            2.0 * EPS * np.abs(G)
            + 4.0 * (count * EPS) ** 2 * size
            + count * SMALLEST * float(R.max(initial=0.0))
        )
    return back(G), back(error), back(size)
