"""Which rows of a source are kept: in one pass, with memory for those alone."""

import abc
from collections.abc import Iterable
from typing import Any

import numpy as np

from penchant.datasets._dataset import Dataset
from penchant.datasets._errors import DataError, counted, listing
from penchant.datasets._findings import findings
from penchant.datasets._labels import MISSING, UNWANTED, LabelBook
from penchant.datasets._request import Request

LIMIT = 200_000
"""Rows that are read without being asked for."""


class AbstractChunk(abc.ABC):
    """Some consecutive rows of a source."""

    @abc.abstractmethod
    def labels(self) -> tuple[list[Any], np.ndarray]:
        """The distinct labels, and for each row which one it has, -1 for none."""

    @abc.abstractmethod
    def features(self, rows: np.ndarray) -> np.ndarray:
        """Features of some rows, float64, NaN where missing."""


def collect(
    chunks: Iterable[AbstractChunk],
    request: Request,
    features: tuple[str, ...],
    *,
    where: str,
    total: int | None = None,
    notes: Iterable[str] = (),
) -> Dataset:
    """The data set that a request makes of a source.

    Args:
        chunks: All rows, in order.
        request: Which of them, and what to do where values are missing.
        features: Names of the columns.
        where: What messages call the labels' place.
        total: The number of rows, where it is known beforehand.
        notes: Findings of the reader.
    """
    if total is not None and request.classes is None:
        _check_size(request, total)
    pool = _Pool(request, LabelBook(request.name, where, request.classes))
    for chunk in chunks:
        pool.add(chunk)
    return pool.dataset(features, [*notes], where)


def _check_size(request: Request, rows: int) -> None:
    if request.rows is None and not request.everything and rows > LIMIT:
        what = "rows" if request.classes is None else "rows of the chosen classes"
        raise DataError(
            f"{request.name} has {rows} {what}, more than the {LIMIT} that are read "
            "unasked. Give rows=20000 (--rows 20000) for a random sample, or "
            "rows='all'."
        )


class _Pool:
    """Rows kept so far.

    A sample without replacement of `k` rows are those with the `k` smallest of one
    random key a row. The keys don't depend on how rows come in chunks, so neither does
    the sample; rows above the k-th smallest key so far are never converted.
    """

    def __init__(self, request: Request, book: LabelBook):
        self.request, self.book = request, book
        self.rng = np.random.default_rng(request.seed)
        self.bar = np.inf
        self.seen = self.eligible = self.dropped = 0
        self.parts: list[tuple[np.ndarray, ...]] = []
        self.pooled = 0

    def add(self, chunk: AbstractChunk) -> None:
        codes = self.book.encode(*chunk.labels())
        first, self.seen = self.seen, self.seen + len(codes)
        rows = np.flatnonzero(codes != UNWANTED)
        self.eligible += len(rows)
        k = self.request.rows
        if k is None and not self.request.everything and self.eligible > LIMIT:
            self.parts.clear()  # only the count is still of use
            return
        X = None
        if self.request.drop_missing:
            X = chunk.features(rows)
            whole = (codes[rows] != MISSING) & ~np.isnan(X).any(axis=1)
            self.dropped += len(rows) - int(whole.sum())
            rows, X = rows[whole], X[whole]
        keys = np.zeros(len(rows))
        if k is not None:
            keys = self.rng.random(len(rows))
            low = keys < self.bar
            if low.sum() > k:
                low[:] = False
                low[np.argpartition(keys, k - 1)[:k]] = True
            rows, keys = rows[low], keys[low]
            X = None if X is None else X[low]
        if X is None:
            X = chunk.features(rows)
        self.parts.append((X, codes[rows], first + rows, keys))
        self.pooled += len(rows)
        if k is not None and self.pooled > 2 * k:
            self._compact(k)

    def _compact(self, k: int) -> None:
        joined = tuple(np.concatenate(part) for part in zip(*self.parts, strict=True))
        if self.pooled > k:
            low = np.sort(np.argpartition(joined[-1], k - 1)[:k])
            joined = tuple(part[low] for part in joined)
            self.bar = joined[-1].max()
        self.parts, self.pooled = [joined], len(joined[-1])

    def dataset(
        self, features: tuple[str, ...], notes: list[str], where: str
    ) -> Dataset:
        name = self.request.name
        if not self.seen:
            raise DataError(f"{name} has no rows of data.")
        _check_size(self.request, self.eligible)
        self.book.check(self.eligible)
        if not any(len(part[-1]) for part in self.parts):
            raise DataError(
                f"{name}: no row is complete; each of {self.eligible} has a missing "
                "value. Leave out with skip what is missing throughout."
            )
        k = self.request.rows
        self._compact(self.pooled if k is None else k)
        X, codes, places, _ = self.parts[0]
        _check_missing(name, X, codes, features, where)
        _check_infinite(name, X, places, features)
        y, classes, more = self.book.finish(codes)
        if self.dropped:
            verb = "was" if self.dropped == 1 else "were"
            notes.append(
                f"{counted(self.dropped, 'row')} with missing values {verb} dropped."
            )
        left = self.eligible - self.dropped
        if k is not None and k < left:
            notes.append(
                f"{k} of {left} rows were drawn at random (seed {self.request.seed})."
            )
        notes = [*notes, *more, *findings(X, y, features)]
        return Dataset(X, y, features, classes, name, tuple(notes))


def _check_missing(
    name: str,
    X: np.ndarray,
    codes: np.ndarray,
    features: tuple[str, ...],
    where: str,
) -> None:
    missing = np.isnan(X)
    bad = missing.any(axis=1) | (codes == MISSING)
    if not bad.any():
        return
    columns = [
        f"{features[j]!r} ({counted(int(missing[:, j].sum()), 'row')})"
        for j in np.flatnonzero(missing.any(axis=0))
    ]
    unlabelled = int((codes == MISSING).sum())
    if unlabelled:
        columns.insert(0, f"{where} ({counted(unlabelled, 'row')})")
    verb = "has" if bad.sum() == 1 else "have"
    raise DataError(
        f"{name}: {bad.sum()} of {len(X)} rows {verb} missing values, in "
        f"{listing(columns, write=str)}. drop_missing=True (--drop-missing) "
        "drops the rows, skip (--skip) leaves out columns."
    )


def _check_infinite(
    name: str, X: np.ndarray, places: np.ndarray, features: tuple[str, ...]
) -> None:
    infinite = np.isinf(X)
    if infinite.any():
        i, j = np.argwhere(infinite)[0]
        raise DataError(
            f"{name}: features must be finite; got "
            f"{counted(int(infinite.sum()), 'infinite value')}, the first in row "
            f"{places[i] + 1} of the data, column {features[j]!r}: {X[i, j]}."
        )
