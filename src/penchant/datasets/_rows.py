"""Which rows of a source are kept: in one pass, with memory for those alone."""

import abc
from collections.abc import Iterable
from typing import Any

import numpy as np

from penchant._images import Image, of_names, read_image, written
from penchant.datasets._dataset import Dataset
from penchant.datasets._errors import DataError, counted, joined, listing
from penchant.datasets._findings import findings
from penchant.datasets._labels import MISSING, UNWANTED, LabelBook
from penchant.datasets._request import Request
from penchant.datasets._sizes import check_bytes, check_width
from penchant.datasets._text import Cells, expand, is_odd

LIMIT = 200_000
"""Rows that are read without being asked for."""


class AbstractChunk(abc.ABC):
    """Some consecutive rows of a source."""

    first: int = 0
    """The place of its first row in the source."""

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
    cells: Cells | None = None,
    stored: int | None = None,
    image: Image | None = None,
) -> Dataset:
    """The data set that a request makes of a source.

    Args:
        chunks: All rows, in order.
        request: Which of them, and what to do where values are missing.
        features: Names of the columns.
        where: What messages call the labels' place.
        total: The number of rows, where it is known beforehand.
        notes: Findings of the reader.
        cells: What the reader made of cells of text.
        stored: Bytes of the source on disk; None if it is in memory.
        image: The shape of the images that samples are, if the source says it.
    """
    check_width(request.name, len(features))
    if total == 0:
        raise DataError(f"{request.name} has no rows of data.")
    if total is not None and request.classes is None:
        _check_size(request, total)
        kept = total if request.rows is None else 0
        needed = 8 * kept * len(features)
        check_bytes(request.name, needed, stored, request.streamed)
    pool = _Pool(request, where, len(features), cells or Cells(request), stored)
    for chunk in chunks:
        pool.add(chunk)
    return pool.dataset(features, [*notes], image)


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

    def __init__(
        self, request: Request, where: str, d: int, cells: Cells, stored: int | None
    ):
        self.request, self.where, self.d, self.stored = request, where, d, stored
        self.cells = cells
        self.book = LabelBook(request.name, where, request.classes, request.missing)
        self.rng = np.random.default_rng(request.seed)
        self.bar = np.inf
        self.seen = self.eligible = self.dropped = 0
        self.parts: list[tuple[np.ndarray, ...]] = []
        self.pooled = 0

    def add(self, chunk: AbstractChunk) -> None:
        codes = self.book.encode(*chunk.labels())
        first, self.seen = self.seen, self.seen + len(codes)
        chunk.first = first
        rows = np.flatnonzero(codes != UNWANTED)
        self.eligible += len(rows)
        k = self.request.rows
        if k is None and not self.request.everything and self.eligible > LIMIT:
            self.parts.clear()  # only the count is still of use
            return
        X = None
        if self.request.drop_missing:
            X = chunk.features(rows)
            # rows with cells that are no numbers stay: they are an error
            whole = (codes[rows] != MISSING) & ~self._missing(X).any(axis=1)
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
        needed = 8 * self.d * (self.pooled + len(rows))
        check_bytes(self.request.name, needed, self.stored, self.request.streamed)
        if X is None:
            X = chunk.features(rows)
        self.parts.append((X, codes[rows], first + rows, keys))
        self.pooled += len(rows)
        if k is not None and self.pooled > 2 * k:
            self._compact(k)

    def _missing(self, X: np.ndarray) -> np.ndarray:
        missing = np.isnan(X)
        return missing & ~is_odd(X) if self.cells.odd else missing

    def _compact(self, k: int) -> None:
        joined = tuple(np.concatenate(part) for part in zip(*self.parts, strict=True))
        if self.pooled > k:
            low = np.sort(np.argpartition(joined[-1], k - 1)[:k])
            joined = tuple(part[low] for part in joined)
            self.bar = joined[-1].max()
        self.parts, self.pooled = [joined], len(joined[-1])

    def dataset(
        self, features: tuple[str, ...], notes: list[str], image: Image | None
    ) -> Dataset:
        name = self.request.name
        if not self.seen:
            raise DataError(f"{name} has no rows of data.")
        _check_size(self.request, self.eligible)
        told = []
        try:
            self.book.check(self.eligible)
        except DataError as error:
            told.append(str(error).removeprefix(f"{name}: "))
        told += self.cells.findings()
        if any(len(part[-1]) for part in self.parts):
            k = self.request.rows
            self._compact(self.pooled if k is None else k)
            X, codes, places, _ = self.parts[0]
            told += self._gaps(X, codes, features)
            told += _infinities(X, places, features)
            if not told:
                return self._finish(X, codes, features, notes, image)
        elif not told:
            told.append(
                f"no row is complete; each of {self.eligible} has a missing value. "
                "Leave out with skip what is missing throughout."
            )
        raise joined(name, told)

    def _finish(
        self,
        X: np.ndarray,
        codes: np.ndarray,
        features: tuple[str, ...],
        notes: list[str],
        image: Image | None,
    ) -> Dataset:
        y, classes, more = self.book.finish(codes)
        if self.dropped:
            verb = "was" if self.dropped == 1 else "were"
            notes.append(
                f"{counted(self.dropped, 'row')} with missing values {verb} dropped."
            )
        left = self.eligible - self.dropped
        k = self.request.rows
        if k is not None and k < left:
            notes.append(
                f"{k} of {left} rows were drawn at random (seed {self.request.seed})."
            )
        if self.cells.categories:
            X, features, told = expand(X, features, self.cells.categories)
            notes += told
        if self.request.scale is not None:
            X = X / self.request.scale
            notes.append(_scaled(self.request.scale))
        image, told = self._image(features, image)
        notes = [*notes, *told, *more, *findings(X, y, features)]
        name = self.request.name
        return Dataset(X, y, features, classes, name, tuple(notes), image)

    def _image(
        self, features: tuple[str, ...], image: Image | None
    ) -> tuple[Image | None, list[str]]:
        """The shape of images, as asked, as the source or its names say."""
        asked = self.request.image
        if asked is not None:
            try:
                return read_image(asked, len(features)), []
            except ValueError as error:
                raise DataError(f"{self.request.name}: {error}") from None
        if image is not None:
            return image, []
        image = of_names(features)
        if image is None:
            return None, []
        said = (
            f"Features are called {features[0]!r} to {features[-1]!r}: pictures show "
            f"them as images of {written(image)} pixels, row by row. image=... "
            "(--image) names another shape, or none."
        )
        return image, [said]

    def _gaps(
        self, X: np.ndarray, codes: np.ndarray, features: tuple[str, ...]
    ) -> list[str]:
        missing = self._missing(X)
        bad = missing.any(axis=1) | (codes == MISSING)
        if not bad.any():
            return []
        columns = [
            f"{features[j]!r} ({counted(int(missing[:, j].sum()), 'row')})"
            for j in np.flatnonzero(missing.any(axis=0))
        ]
        unlabelled = int((codes == MISSING).sum())
        if unlabelled:
            columns.insert(0, f"{self.where} ({counted(unlabelled, 'row')})")
        verb = "has" if bad.sum() == 1 else "have"
        told = (
            f"{bad.sum()} of {len(X)} rows {verb} missing values, in "
            f"{listing(columns, write=str)}. drop_missing=True (--drop-missing) "
            "drops the rows, skip (--skip) leaves out columns."
        )
        words = [word for word in self.book.missing if word]
        if words:
            verb = "was" if len(words) == 1 else "were"
            told += (
                f" In {self.where} {listing(words)} {verb} taken for a missing label; "
                "where it is a class, classes=(...) (--classes) that names it keeps it."
            )
        return [told]


def _scaled(scale: float) -> str:
    return (
        f"Features were divided by {scale:g}. All margins, and gradients at zero "
        f"weights, are divided by it too, so step sizes and ε act otherwise; without "
        "a bias, which weights have the largest margin stays the same in every norm."
    )


def _infinities(
    X: np.ndarray, places: np.ndarray, features: tuple[str, ...]
) -> list[str]:
    infinite = np.isinf(X)
    if not infinite.any():
        return []
    i, j = np.argwhere(infinite)[0]
    return [
        "features must be finite; got "
        f"{counted(int(infinite.sum()), 'infinite value')}, the first in row "
        f"{places[i] + 1} of the data, column {features[j]!r}: {X[i, j]}. "
        f"skip=({features[j]!r},) (--skip) leaves the column out."
    ]
