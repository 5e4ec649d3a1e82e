"""What tables share: named columns, and record batches of rows."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from penchant._visible import visible
from penchant.datasets._dataset import Dataset
from penchant.datasets._errors import DataError, counted, joined, listing
from penchant.datasets._request import Request
from penchant.datasets._rows import LIMIT, AbstractChunk, collect
from penchant.datasets._sizes import check_width
from penchant.datasets._text import Cells, is_odd

if TYPE_CHECKING:
    import pyarrow

TARGETS = ("target", "label", "y", "class", "species", "outcome")
"""Names of a last column that is taken for the labels unasked."""

_FEW_VALUES = 20
"""A column of so many different values may be one of labels."""


@dataclass(frozen=True)
class Columns:
    """The columns of a table that are read; no target where none is known."""

    target: str | None
    features: tuple[str, ...]

    @property
    def where(self) -> str:
        """The label column, for messages."""
        return f"column {self.target!r}"

    @property
    def read(self) -> list[str]:
        """All of them."""
        return [*self.features, *([] if self.target is None else [self.target])]


def choose(columns: Sequence[str], request: Request, last: bool = False) -> Columns:
    """Which column holds the labels, and which the features.

    Args:
        columns: Their names.
        request: What was asked for.
        last: The last column holds the labels, whatever it is called.

    Raises:
        DataError: If the request and the columns don't fit.
    """
    name = request.name
    check_width(name, len(columns))
    twice = [column for column, times in Counter(columns).items() if times > 1]
    if twice:
        raise DataError(
            f"{name}: columns must have different names; more than one is called "
            f"{listing(twice)}."
        )
    target = request.target
    if target is None and (last or columns[-1].casefold() in TARGETS):
        target = columns[-1]
    if target is not None and target not in columns:
        raise DataError(
            f"{name}: target is {target!r}, which is no column; "
            f"columns: {listing(columns, 20)}."
        )
    if target is not None and target in request.skip:
        raise DataError(f"{name}: skip holds the target, {target!r}.")
    features = [column for column in columns if column != target]
    kept = request.kept(features)
    return Columns(target, tuple(features[j] for j in kept))


Batches = Callable[[Columns], Iterable["pyarrow.RecordBatch"]]
"""All rows of some columns of a table, from its start."""


def read_table(
    batches: Batches,
    columns: Columns,
    request: Request,
    what: str,
    *,
    stored: int | None,
    total: int | None = None,
    notes: Iterable[str] = (),
) -> Dataset:
    """The data set that a request makes of a table.

    Raises:
        DataError: With all that was found in the way, and what mends it.
    """
    one_hot = request.one_hot
    if one_hot is None:
        one_hot = _text_columns(batches, columns, request, what)
    cells = Cells(request, one_hot)
    chunks = (
        TableChunk(batch, columns, cells, what)
        for batch in _read(batches, columns, request.name, what)
    )
    if columns.target is None:
        raise joined(request.name, _survey(chunks, columns, cells))
    return collect(
        chunks,
        request,
        columns.features,
        where=columns.where,
        total=total,
        notes=notes,
        cells=cells,
        stored=stored,
    )


def _read(
    batches: Batches, columns: Columns, name: str, what: str
) -> Iterator["pyarrow.RecordBatch"]:
    with reading(name, what):
        rows = iter(batches(columns))
    while True:
        with reading(name, what):
            batch = next(rows, None)
        if batch is None:
            return
        yield batch


def _text_columns(
    batches: Batches, columns: Columns, request: Request, what: str
) -> list[str]:
    """Which features hold cells that are no numbers, in any row."""
    cells = Cells(request)
    for batch in _read(batches, columns, request.name, what):
        chunk = TableChunk(batch, columns, cells, what)
        chunk.features(np.arange(batch.num_rows))
    return list(cells.odd)


def _survey(
    chunks: Iterable["TableChunk"], columns: Columns, cells: Cells
) -> list[str]:
    """What stands in the way of reading a table whose labels are not known."""
    names = columns.features
    values: dict[str, set[Any]] = {name: set() for name in names}
    missing = np.zeros(len(names), dtype=np.int64)
    holes = rows = 0
    for chunk in chunks:
        chunk.first = rows
        some = chunk.features(np.arange(chunk.batch.num_rows))
        gone = np.isnan(some) & ~is_odd(some)
        missing += gone.sum(axis=0)
        holes += int(gone.any(axis=1).sum())
        rows += len(some)
        for name in [n for n, seen in values.items() if len(seen) <= _FEW_VALUES]:
            values[name] |= chunk.values(name, _FEW_VALUES)
        if rows >= LIMIT:
            break
    few = [n for n, s in values.items() if 2 <= len(s) <= _FEW_VALUES and len(s) < rows]
    told = (
        f"target must name the label column, as the last is none of "
        f"{', '.join(TARGETS)}; columns: {listing(names, 20)}."
    )
    if few:
        likely = listing(
            (f"{n!r} ({len(values[n])} values)" for n in few[::-1]), 3, write=str
        )
        told += (
            f" Few values, as labels have, are in {likely}: target={few[-1]!r} "
            f"(--target '{few[-1]}')."
        )
    guess = few[-1] if few else None
    gaps = [
        f"{n!r} ({counted(int(count), 'row')})"
        for n, count in zip(names, missing, strict=True)
        if count and n != guess
    ]
    told_all = [told, *cells.findings(leave=guess)]
    if gaps:
        told_all.append(
            f"{holes} of {rows} rows have missing values, in "
            f"{listing(gaps, write=str)}. drop_missing=True (--drop-missing) drops the "
            "rows, skip (--skip) leaves out columns."
        )
    return told_all


@contextmanager
def reading(name: str, what: str) -> Iterator[None]:
    """Turn what pyarrow says of a damaged file into a `DataError`.

    Raises:
        DataError: If pyarrow raises.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, OverflowError, UnicodeError) as error:
        said = " ".join(str(error).split())
        raise DataError(f"{name} can't be read as {what}: {said}") from error


class TableChunk(AbstractChunk):
    """Some rows of a table."""

    def __init__(
        self,
        batch: "pyarrow.RecordBatch",
        columns: Columns,
        cells: Cells,
        what: str,
    ):
        self.batch, self.columns, self.cells, self.what = batch, columns, cells, what

    def labels(self) -> tuple[list[Any], np.ndarray]:
        import pyarrow as pa

        assert self.columns.target is not None
        name = self.cells.name
        with reading(name, self.what):
            column = self._column(self.columns.target)
            try:
                encoded = column.dictionary_encode()
            except (pa.ArrowNotImplementedError, AttributeError):
                raise DataError(
                    f"{name}: labels must be numbers or text; "
                    f"{self.columns.where} holds {column.type}."
                ) from None
            codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            return encoded.dictionary.to_pylist(), codes

    def features(self, rows: np.ndarray) -> np.ndarray:
        with reading(self.cells.name, self.what):
            return self._features(rows)

    def _features(self, rows: np.ndarray) -> np.ndarray:
        import pyarrow as pa

        names = self.columns.features
        columns = {name: self._column(name) for name in names}
        if len(rows) < self.batch.num_rows:
            taken = pa.array(rows)
            columns = {name: column.take(taken) for name, column in columns.items()}
        coded = self.cells.categories
        text = {n: c for n, c in columns.items() if n not in coded and _is_text(c)}
        places = self.first + rows
        read = self.cells.numbers(text, places)
        X = np.empty((len(rows), len(names)))
        for j, (name, column) in enumerate(columns.items()):
            if name in coded:
                X[:, j] = self.cells.codes(name, column)
            elif name in read:
                X[:, j] = read[name]
            else:
                X[:, j] = self._numbers(name, column, places)
        return X

    def _column(self, name: str) -> "pyarrow.Array":
        """A column of a type that all kernels take."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self.batch.column(self.batch.schema.get_field_index(name))
        while isinstance(column, pa.ExtensionArray):
            column = column.storage
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_run_end_encoded(column.type):
            column = pc.call_function("run_end_decode", [column])
        if pa.types.is_string_view(column.type):
            column = column.cast(pa.large_string())
        return column

    def values(self, name: str, most: int) -> set[Any]:
        """Up to `most + 1` different values of a column, without missing ones."""
        import pyarrow as pa

        try:
            distinct = self._column(name).unique().slice(0, most + 2).to_pylist()
        except (pa.ArrowNotImplementedError, AttributeError):  # lists and their like
            return set()
        plain = [v for v in distinct if _may_be_label(v)]
        if len(plain) < len([v for v in distinct if v is not None]):
            return set(range(most + 1))  # measurements, dates: no labels
        words = {visible(v.strip()) if isinstance(v, str) else v for v in plain}
        return words - self.cells.nulls

    def _numbers(
        self, name: str, column: "pyarrow.Array", places: np.ndarray
    ) -> np.ndarray:
        """A column that holds no text as floats, NaN where missing."""
        import pyarrow as pa

        kind = column.type
        if pa.types.is_null(kind):
            return np.full(len(column), np.nan)
        if (
            pa.types.is_integer(kind)
            or pa.types.is_floating(kind)
            or pa.types.is_boolean(kind)
            or pa.types.is_decimal(kind)
        ):
            floats = column.cast(pa.float64(), safe=False)
            return floats.to_numpy(zero_copy_only=False)
        filled = column.is_valid().to_numpy(zero_copy_only=False)
        values = column.drop_null()
        words = [str(v.as_py())[:40] for v in values[:2]] or [str(kind)]
        row = int(places[np.argmax(filled)]) if len(places) else 0
        self.cells.add(name, [visible(word) for word in words], row)
        return self.cells.marked(filled)


def _may_be_label(value: object) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, (str, int))


def _is_text(column: "pyarrow.Array") -> bool:
    import pyarrow as pa

    kind = column.type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
