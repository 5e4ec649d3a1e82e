r"""Separability in whole numbers: doubles are fractions, so a small problem is decided.

The point of the hull of the rows that is nearest to 0 (`wolfe1976nearest`) answers
either way: if it is 0, its weights are a certificate that nothing separates the rows;
if not, it separates them. Rows and features may be scaled at will, which changes the
point but not the answer, so every row is made a vector of whole numbers. Systems are
solved without fractions (`bareiss1968sylvester`).
"""

import dataclasses
import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LARGEST_SYSTEM = 64
"""Rows whose system is solved in whole numbers."""


class TooLargeError(RuntimeError):
    """Whole numbers would take longer than a few seconds."""


@dataclasses.dataclass
class Whole:
    """Rows `A` with `a_ij = A_ij 2^(features_j + rows_i)`, all whole numbers."""

    A: NDArray[Any]  # (m, D) of Python's integers
    rows: list[int]
    features: list[int]

    @classmethod
    def of(cls, A: Array) -> "Whole":
        """Rows of doubles as they are, each over powers of two."""
        # a feature's scale is its largest entry's: entries are then alike in size
        features = np.frexp(np.abs(A).max(axis=0, initial=0.0))[1].tolist()
        whole, rows = np.empty(A.shape, dtype=object), []
        for i, row in enumerate(A):
            parts = []  # an odd number times a power of two each, or None
            for j, a in enumerate(row.tolist()):
                if a == 0.0:
                    parts.append(None)
                    continue
                top, bottom = a.as_integer_ratio()
                twos = (top & -top).bit_length() - 1
                shift = twos - (bottom.bit_length() - 1) - features[j]
                parts.append((top >> twos, shift))
            least = min((p[1] for p in parts if p), default=0)
            rows.append(least)
            for j, p in enumerate(parts):
                whole[i, j] = 0 if p is None else p[0] << (p[1] - least)
        return cls(whole, rows, features)

    def weights(self, x: NDArray[Any]) -> Array:
        """Doubles near weights that are whole numbers in the scaled features."""
        if not any(x):
            return np.zeros(len(x))
        # w_j = x_j 2^-features_j, over a common power of two: none overflows
        e = max(
            int(v).bit_length() - f for v, f in zip(x, self.features, strict=True) if v
        )
        return np.array([
            _double(int(v), -f - e) for v, f in zip(x, self.features, strict=True)
        ])

    def simplex(self, q: dict[int, Fraction], m: int) -> Array:
        """Doubles near weights of the rows as they were given."""
        # rows were multiplied by 2^-rows_i, so their weights are too
        top = max(-self.rows[i] for i in q)
        scaled = {i: v / (1 << (top + self.rows[i])) for i, v in q.items()}
        total = sum(scaled.values())
        out = np.zeros(m)
        for i, v in scaled.items():
            out[i] = float(v / total)
        return out


def _double(v: int, e: int) -> float:
    """`v 2^e`, rounded once; 0 or infinite where a double is."""
    sign, v = (-1.0, -v) if v < 0 else (1.0, v)
    extra = max(v.bit_length() - 64, 0)  # 64 bits and what they lost: rounded right
    rest = v & ((1 << extra) - 1)
    v = (v >> extra) | (1 if rest else 0)
    return sign * float(np.ldexp(np.float64(v), e + extra))


def separates(A: Array, w: Array) -> bool:
    """Whether all products of rows with weights are positive, exactly."""
    if not np.isfinite(w).all():
        return False
    weights = [Fraction(v) for v in w.tolist()]
    used = [j for j, v in enumerate(weights) if v]
    return all(
        sum((Fraction(row[j]) * weights[j] for j in used), Fraction(0)) > 0
        for row in A.tolist()
    )


def cancels(A: Array) -> Array | None:
    """Simplex weights with which some rows cancel exactly, if only one ray does so.

    None where no weights, or more than a ray of them, cancel; rounded to doubles.
    """
    if not 0 < len(A) <= LARGEST_SYSTEM:
        return None
    whole = Whole.of(A)
    q = _null(whole.A @ whole.A.T)  # G q = 0 and A'q = 0 are the same: q'Gq = |A'q|^2
    if q is None:
        return None
    if min(q) < 0:
        q = [-v for v in q]
    if min(q) < 0 or not any(q):
        return None
    weights = {i: Fraction(v) for i, v in enumerate(q) if v}
    return whole.simplex(weights, len(A))


def nearest(
    A: Array, *, work: float, start: NDArray[np.integer[Any]] | None = None
) -> tuple[Array | None, Array | None]:
    """Weights that separate all rows, or simplex weights with which they cancel.

    Both None where the rows are separable, though by no doubles that were found.

    Args:
        A: Rows, none too many.
        work: Word operations that may be spent, nearly.
        start: Rows to look at first.

    Raises:
        TooLargeError: If it takes more.
    """
    whole = Whole.of(A)
    rows = whole.A
    m = len(rows)
    bits = max((int(v).bit_length() for v in rows.ravel()), default=1)
    first = 0 if start is None or not len(start) else int(start[0])
    corral = {first: Fraction(1)}
    last: tuple[list[int], Any] | None = None
    while True:
        x, scale = _point(rows, corral)
        if not any(x):
            return None, whole.simplex(corral, m)
        work -= m * len(x) * (1 + bits / 30)
        if work < 0:
            raise TooLargeError
        along = rows @ x
        if min(along) > 0:
            w = whole.weights(x)
            if separates(A, w):
                return w, None
        # x = X / scale: a.x >= |x|^2 is scale (a.X) >= X.X
        square = int(x @ x)
        j = int(np.argmin(along))
        if scale * int(along[j]) >= square:
            return None, None
        corral[j] = Fraction(0)
        while True:
            members = sorted(corral)
            size = len(members)
            work -= size**3 * (1 + size * bits / 30) / 3 + 1000
            if work < 0:
                raise TooLargeError
            if last is not None and last[0] == members:
                affine = last[1]
            else:
                affine = _affine(rows[members])
                last = (members, affine)
            if min(affine) > 0:
                corral = dict(zip(members, affine, strict=True))
                break
            # towards the affine minimum, until the first weight is 0
            share = min(
                corral[i] / (corral[i] - v)
                for i, v in zip(members, affine, strict=True)
                if v <= 0
            )
            corral = {
                i: corral[i] + share * (v - corral[i])
                for i, v in zip(members, affine, strict=True)
            }
            corral = {i: v for i, v in corral.items() if v > 0}


def _point(rows: NDArray[Any], corral: dict[int, Fraction]) -> tuple[Any, int]:
    """The mixture `x` of some rows as whole numbers over a common `scale`."""
    scale = math.lcm(*(v.denominator for v in corral.values()))
    q = np.array([int(v * scale) for v in corral.values()], dtype=object)
    return q @ rows[list(corral)], scale


def _affine(rows: NDArray[Any]) -> list[Fraction]:
    """Weights of sum 1 of affinely independent rows with the shortest mixture.

    `(G + 11') u = 1` up to scale: the matrix is definite.
    """
    u, d = _solve(rows @ rows.T + 1, [1] * len(rows))
    total = sum(u)
    assert d != 0
    return [Fraction(v, total) for v in u]


def _eliminate(M: list[list[int]], columns: int) -> list[int]:
    """Whole-number elimination in place; the pivot's row of each column, or -1."""
    pivots, row, before = [], 0, 1
    for c in range(columns):
        found = next((r for r in range(row, len(M)) if M[r][c]), None)
        if found is None:
            pivots.append(-1)
            continue
        M[row], M[found] = M[found], M[row]
        top = M[row]
        pivot = top[c]
        for r in range(len(M)):
            if r == row:
                continue
            here = M[r]
            factor = here[c]
            # exact: all are minors of the matrix
            M[r] = [
                (pivot * a - factor * b) // before
                for a, b in zip(here, top, strict=True)
            ]
        pivots.append(row)
        before = pivot
        row += 1
    return pivots


def _solve(G: NDArray[Any], b: list[int]) -> tuple[list[int], int]:
    """`u` and `d` with `G u = d b` for a regular matrix."""
    n = len(G)
    M = [[*map(int, row), right] for row, right in zip(G, b, strict=True)]
    pivots = _eliminate(M, n)
    assert min(pivots) >= 0
    u = [M[pivots[c]][n] for c in range(n)]
    return u, M[pivots[-1]][n - 1]


def _null(G: NDArray[Any]) -> list[int] | None:
    """The vector with `G q = 0`, if all others are its multiples."""
    n = len(G)
    M = [[int(v) for v in row] for row in G]
    pivots = _eliminate(M, n)
    free = [c for c, row in enumerate(pivots) if row < 0]
    if len(free) != 1:
        return None
    c = free[0]
    others = [r for r in pivots if r >= 0]
    if not others:
        return [1]
    column = next(k for k, r in enumerate(pivots) if r == others[-1])
    d = M[others[-1]][column]
    # after Jordan's elimination every pivot is the same number d
    return [d if k == c else -M[r][c] for k, r in enumerate(pivots)]
