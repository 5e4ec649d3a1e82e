r"""Whether rows are separable, whatever the units of features and lengths of rows.

Features and rows are scaled by powers of two, and features are then mixed such that
their columns are orthonormal; none of this changes the answer. In these coordinates
floating-point arithmetic proposes weights, or a certificate. What is proposed is held
against the rows as they were given:

- weights by margins in twice the working precision, or in whole numbers;
- a certificate by a bound on rounding: if $|A^\top q|$ is so small that weights no
  larger than `q` could undo it, some $q+\delta>0$ cancels exactly;
- what neither settles by the nearest point in whole numbers, if the problem is small.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from penchant.margins._solvers import accurate, exact
from penchant.margins._solvers.conjugates import Quadratic
from penchant.margins._solvers.interior_point import Bounds, interior_point
from penchant.margins._solvers.rows import PairRows

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Indices = NDArray[np.integer[Any]]

ENTRIES = 6_000_000
"""Entries of the rows that are looked at together."""

OPERATIONS = 2e10
"""Of the factorisation that mixes features."""

ROUNDS = 8
"""Times that rows which weights violate join the others."""

WORK = 1e7
"""Word operations of whole-number arithmetic, a few seconds."""

DIGITS = 4e5
"""Products of fractions with which single margins are checked."""

DEPENDENT = 1e-13
"""Features with less than this share of what is their own are combinations."""

SHARES = (1e-3, 1e-6, 1e-9)
"""Rows of less of the largest weight are left out of a certificate, one by one."""


@dataclasses.dataclass
class Answer:
    """Weights that separate, or simplex weights that cancel, or neither: undecided.

    What is given is proved, `how` says by what.
    """

    W: Array | None = None
    q: Array | None = None  # (n, c)
    how: str = ""


BY_BOUNDS = "by a bound on all rounding"
IN_WHOLE_NUMBERS = "in whole numbers"


def separates(rows: PairRows, W: Array) -> bool:
    """Whether all margins are positive, for certain."""
    if not (np.isfinite(W).all() and W.any()):
        return False
    m, error, _ = accurate.least(rows, W)
    if m - error > 0 or m + error <= 0:
        return m - error > 0
    m, error, _ = accurate.margins(rows, W, every=True)
    if (rows.real & (m + error <= 0)).any():
        return False
    open_ = rows.real & (m - error <= 0)
    if open_.sum() * W.size > DIGITS:
        return False
    return all(
        exact.separates(part.dense()[open_[i][part.real[0]]], W.ravel())
        for i in np.flatnonzero(open_.any(axis=1))
        for part in (rows.take(np.array([i])),)
    )


def separability(rows: PairRows, W: Array, q: Array) -> Answer:
    """The answer, from weights and dual weights `(n, c)` that another method ended at.

    Undecided where the problem is too large, or too close for doubles and too large
    for whole numbers.
    """
    empty = rows.real & (np.abs(rows.X).max(axis=1) == 0)[:, None]
    if empty.any():  # a row of zeros cancels by itself
        certificate = np.zeros(rows.shape)
        certificate[np.unravel_index(empty.argmax(), empty.shape)] = 1.0
        return Answer(q=certificate, how=IN_WHOLE_NUMBERS)
    if separates(rows, W):
        return Answer(W, how=BY_BOUNDS)
    chosen = _first(rows, W, q)
    if chosen is None:
        return Answer()
    for _ in range(ROUNDS):
        answer = _Part(rows, chosen).answer(q)
        if answer.q is not None or answer.W is None or chosen.all():
            return answer
        m, error, _ = accurate.margins(rows, answer.W)
        missed = rows.real & ~chosen & (m - error <= 0)
        if not missed.any():
            return answer
        # the worst join, as many as there is room for
        order = np.argsort(np.where(missed, m, np.inf), axis=None)
        most = min(int(missed.sum()), max(100, int(chosen.sum()) // 2))
        if (chosen.sum() + most) * _features(rows) > 2 * ENTRIES:
            break
        chosen = chosen.copy()
        chosen[np.unravel_index(order[:most], chosen.shape)] = True
    return Answer()


def _features(rows: PairRows) -> int:
    """Weights, less those that a shift of all classes leaves free."""
    d = rows.X.shape[1]
    return d if rows.y is None else (rows.classes - 1) * d


def _first(rows: PairRows, W: Array, q: Array) -> Mask | None:
    """All rows, or those of weight and of little margin; None if still too many."""
    size = _features(rows)
    most = min(ENTRIES // size, int(OPERATIONS / size**2))
    if rows.count <= most:
        return rows.real
    weighty = rows.real & (q > 1e-9 * q.max())
    if most < 100 or weighty.sum() > most:
        return None
    margins = np.where(rows.real & ~weighty, rows.apply(W), np.inf)
    order = np.argsort(margins, axis=None)[: min(most - weighty.sum(), most // 2)]
    chosen = weighty.copy()
    chosen[np.unravel_index(order, chosen.shape)] = True
    return chosen & rows.real


class _Part:
    """Some rows as a matrix, over powers of two, without features that are 0."""

    def __init__(self, rows: PairRows, chosen: Mask):
        self.rows, self.chosen = rows, chosen
        samples = np.flatnonzero(chosen.any(axis=1))
        part = rows.take(samples)
        A = part.dense()[chosen[samples][part.real]]
        if rows.y is not None:  # the last class has weights 0: a shift makes it so
            A = A[:, : -rows.X.shape[1]]
        self.used = np.flatnonzero(np.abs(A).max(axis=0) > 0)
        self.given = A[:, self.used]
        self.columns = _exponents(self.given, 0)
        A = accurate.scaled(self.given, -self.columns[None])
        self.lengths = _exponents(A, 1)
        self.A = accurate.scaled(A, -self.lengths[:, None])

    def answer(self, q: Array) -> Answer:
        """Weights for all of the rows, or a certificate, or neither."""
        mixed = _orthonormal(self.A)
        if mixed is None:
            return Answer()
        Q, back = mixed
        Q = Q / np.linalg.norm(Q, axis=1, keepdims=True).clip(1e-300)
        euclid = lambda x: float(np.linalg.norm(x))
        # weights grow without end where none separate; what is proposed is checked
        with np.errstate(over="ignore", invalid="ignore"):
            best = interior_point(
                PairRows(Q, None, 1),
                Quadratic(None),
                euclid,
                euclid,
                of_weights=True,
                tol=0.5,
                floor=1e-15,
            )
        if best.lower > 0:
            W = self._weights(back(best.W))
            if self._separates(W):
                return Answer(W, how=BY_BOUNDS)
        proved = self._certificate(Q, best)
        return proved if proved is not None else self._in_whole_numbers(best)

    def _separates(self, W: Array) -> bool:
        if self.chosen.sum() == self.rows.count:
            return separates(self.rows, W)
        samples = np.flatnonzero(self.chosen.any(axis=1))
        m, error, _ = accurate.margins(self.rows.take(samples), W, every=True)
        return not (self.chosen[samples] & (m - error <= 0)).any()

    def _weights(self, v: Array) -> Array:
        """Weights in the problem's units, over a power of two."""
        whole = np.zeros(_features(self.rows))
        # 2^-columns alone may overflow
        e = np.frexp(v)[1] - self.columns
        shift = e[v != 0].max(initial=0)
        whole[self.used] = accurate.scaled(v, -self.columns - shift)
        shape = self.rows.weight_shape
        return np.append(whole, np.zeros(np.prod(shape) - len(whole))).reshape(shape)

    def _simplex(self, S: Indices, weights: Array) -> Array:
        """Weights of the rows as given, from those of scaled ones."""
        shift = (np.frexp(weights)[1] - self.lengths[S])[weights > 0].max()
        inner = np.zeros(len(self.A))
        inner[S] = accurate.scaled(weights, -self.lengths[S] - shift)
        q = np.zeros(self.rows.shape)
        q[self.chosen] = inner / inner.sum()
        return q

    def _certificate(self, Q: Array, best: Bounds) -> Answer | None:
        """A certificate that is proved, on as few rows as may be."""
        lengths = np.linalg.norm(Q, axis=1)
        weights = best.q[:, 0] / lengths.clip(1e-300)
        few = _few(Q, weights)
        tries = [] if few is None else [few]
        tries += [np.flatnonzero(weights > s * weights.max()) for s in SHARES]
        for S in tries:
            u = _cancelling(self.A[S])
            if u is not None:
                return Answer(q=self._simplex(S, u), how=BY_BOUNDS)
            if len(S) <= exact.LARGEST_SYSTEM:
                u = exact.cancels(self.given[S])
                if u is not None:
                    q = np.zeros(self.rows.shape)
                    inner = np.zeros(len(self.A))
                    inner[S] = u
                    q[self.chosen] = inner
                    return Answer(q=q, how=IN_WHOLE_NUMBERS)
        return None

    def _in_whole_numbers(self, best: Bounds) -> Answer:
        start = np.argsort(-best.q[:, 0])
        try:
            w, u = exact.nearest(self.given, work=WORK, start=start)
        except exact.TooLargeError:
            return Answer()
        if u is not None:
            q = np.zeros(self.rows.shape)
            q[self.chosen] = u
            return Answer(q=q, how=IN_WHOLE_NUMBERS)
        if w is None:
            return Answer()
        whole = np.zeros(_features(self.rows))
        whole[self.used] = w
        shape = self.rows.weight_shape
        W = np.append(whole, np.zeros(np.prod(shape) - len(whole))).reshape(shape)
        return Answer(W, how=IN_WHOLE_NUMBERS)


def _exponents(A: Array, axis: int) -> Indices:
    largest = np.abs(A).max(axis=axis, initial=0.0)
    return np.frexp(largest)[1].astype(np.intp)


def _orthonormal(A: Array) -> tuple[Array, Callable[[Array], Array]] | None:
    """Rows in mixed features with orthonormal columns, and the way back for weights."""
    n, size = A.shape
    first = None
    if size > n:  # no more features than rows are needed
        first, R = np.linalg.qr(A.T)
        A = R.T
    Q, R, order = _pivoted(A)
    own = np.abs(np.diagonal(R))
    rank = int((own > DEPENDENT * own[0]).sum()) if len(own) else 0
    if rank == 0:
        return None
    R = R[:rank, :rank]

    def back(v: Array) -> Array:
        w = np.zeros(A.shape[1])
        w[order[:rank]] = scipy.linalg.solve_triangular(R, v, check_finite=False)
        return w if first is None else first @ w

    return Q[:, :rank], back


def _pivoted(A: Array) -> tuple[Array, Array, Indices]:
    """`QR` of the columns in an order of falling rest."""
    found: Any = scipy.linalg.qr(A, mode="economic", pivoting=True, check_finite=False)
    return found


def _few(Q: Array, weights: Array) -> Indices | None:
    """Rows, at most one more than features, that cancel nearly (Carathéodory)."""
    S = np.flatnonzero(weights > 1e-9 * weights.max())
    if len(S) * (Q.shape[1] + 1) > 4_000_000:
        return None
    system = np.vstack([Q[S].T, np.ones((1, len(S)))])
    try:
        u, _ = scipy.optimize.nnls(
            system, np.append(np.zeros(Q.shape[1]), 1.0), maxiter=20 * len(S)
        )
    except RuntimeError:
        return None
    return S[u > 1e-12 * u.max()] if u.max(initial=0.0) > 0 else None


def _cancelling(B: Array) -> Array | None:
    r"""Positive weights near which some cancel exactly, $B^\top(u+\delta)=0$; or None.

    With $T$ such that $Y=BT$ has nearly orthonormal columns,
    $\delta=-Y(Y^\top Y)^{-1}T^\top B^\top u$ is a solution, and each
    $|\delta_i|\le|Y_i||T^\top B^\top u|/(1-\epsilon)$ with
    $\epsilon\ge\|Y^\top Y-I\|$. It is enough that this is below $u_i$. Every rounding
    error on the way is bounded.
    """
    B = B[:, _independent(B)]
    count, size = B.shape
    if count <= size or size == 0:
        return None
    R = np.linalg.qr(B, mode="r")
    if np.abs(np.diagonal(R)).min() == 0:
        return None
    T = scipy.linalg.solve_triangular(R, np.eye(size), check_finite=False)
    eps = accurate.EPS
    Y = B @ T
    F = 2.0 * count * eps * (np.abs(B) @ np.abs(T))  # |BT - Y|
    spread = np.linalg.norm(Y.T @ Y - np.eye(size))
    spread += 4.0 * count * eps * np.linalg.norm(Y) ** 2
    spread += 2.0 * np.linalg.norm(F) * np.linalg.norm(Y) + np.linalg.norm(F) ** 2
    if not spread < 0.5:
        return None
    reach = (np.linalg.norm(Y, axis=1) + np.linalg.norm(F, axis=1)) * (1.0 + 1e-9)
    rows = PairRows(B, None, 1)
    # nearest to equal weights among those that cancel; positive if any are, nearly
    start = np.linalg.lstsq(
        np.vstack([Y.T, np.ones((1, count))]), np.append(np.zeros(size), 1.0)
    )[0]
    for u in _positive(Y, np.asarray(start, dtype=float)):
        proved, least = None, np.inf
        for _ in range(4):
            G, error, _ = accurate.mixture(rows, u[:, None], fine=0.0)
            along = T.T @ G
            rest = np.abs(T).T @ (error + 2.0 * size * eps * np.abs(G))
            miss = float(np.linalg.norm(np.abs(along) + rest)) / (1.0 - spread)
            if miss < least and (u > 1.01 * reach * miss).all() and u.min() > 0:
                proved, least = u, miss
            u = u - Y @ along
            if not u.min() > 0:
                break
        if proved is not None:
            return proved / proved.sum()
    return None


def _positive(Y: Array, start: Array) -> Iterator[Array]:
    """Positive weights that cancel nearly."""
    if start.min() > 0:
        yield start
        return
    # max t with u >= t, Y'u = 0, sum u = 1
    count, size = Y.shape
    if count * (size + 1) > 1_000_000:
        return
    equal = np.zeros((size + 1, count + 1))
    equal[:size, :count] = Y.T
    equal[size, :count] = 1.0
    equal[:size, count] = Y.sum(axis=0)
    equal[size, count] = count
    found = scipy.optimize.linprog(
        np.append(np.zeros(count), -1.0),
        A_eq=equal,
        b_eq=np.append(np.zeros(size), 1.0),
        bounds=(0.0, None),
        method="highs",
        options={"time_limit": 5.0},
    )
    if found.status == 0 and found.x[count] > 0:
        yield found.x[:count] + found.x[count]


def _independent(B: Array) -> Indices:
    """Columns of which all others are combinations, exactly.

    Looked for are sums and differences, as dummies, biases and repeated features have
    them. Features that depend on each other otherwise stay, and prove nothing.
    """
    size = B.shape[1]
    if not size:
        return np.arange(0)
    _, R, order = _pivoted(B)
    own = np.abs(np.diagonal(R))
    rank = int((own > DEPENDENT * max(own[0], 1e-300)).sum())
    if rank == size:
        return np.arange(size)
    kept, others = order[:rank], order[rank:]
    C = scipy.linalg.solve_triangular(
        R[:rank, :rank], R[:rank, rank:], check_finite=False
    )
    # columns were scaled by powers of two, and so were what they are multiplied with
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.exp2(np.round(np.log2(np.abs(C))))
        whole = np.where(np.abs(C) > 1e-8, np.sign(C) * power, 0.0)
    if not np.isfinite(whole).all() or np.abs(whole - C).max() > 1e-6:
        return np.arange(size)
    total = -B[:, others]
    for column, row in zip(B[:, kept].T, whole, strict=True):
        # products with powers of two are exact, so sums are if nothing is lost
        total, lost = accurate.two_sum(total, column[:, None] * row[None])
        if lost.any():
            return np.arange(size)
    return np.arange(size) if total.any() else np.sort(kept)
