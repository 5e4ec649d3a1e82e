"""What CSV and Parquet share: named columns, and record batches of rows."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from penchant.datasets._errors import DataError, listing
from penchant.datasets._request import Request
from penchant.datasets._rows import AbstractChunk
from penchant.datasets._text import cells_to_numbers, refuse_text

if TYPE_CHECKING:
    import pyarrow

TARGETS = ("target", "label", "y", "class", "species", "outcome")
"""Names of a last column that is taken for the labels unasked."""


@dataclass(frozen=True)
class Columns:
    """The columns of a table that are read."""

    target: str
    features: tuple[str, ...]

    @property
    def where(self) -> str:
        """The label column, for messages."""
        return f"column {self.target!r}"


def choose(columns: Sequence[str], request: Request) -> Columns:
    """Which column holds the labels, and which the features.

    Raises:
        DataError: If the request and the columns don't fit.
    """
    name = request.name
    twice = [column for column, times in Counter(columns).items() if times > 1]
    if twice:
        raise DataError(
            f"{name}: columns must have different names; more than one is called "
            f"{listing(twice)}."
        )
    target = request.target
    if target is None:
        if not columns or columns[-1].casefold() not in TARGETS:
            raise DataError(
                f"{name}: target must name the label column, as the last is none of "
                f"{', '.join(TARGETS)}; columns: {listing(columns, 20)}."
            )
        target = columns[-1]
    if target not in columns:
        raise DataError(
            f"{name}: target is {target!r}, which is no column; "
            f"columns: {listing(columns, 20)}."
        )
    if target in request.skip:
        raise DataError(f"{name}: skip holds the target, {target!r}.")
    features = [column for column in columns if column != target]
    kept = request.kept(features)
    return Columns(target, tuple(features[j] for j in kept))


@contextmanager
def reading(name: str, what: str) -> Iterator[None]:
    """Turn what pyarrow says of a damaged file into a `DataError`.

    Raises:
        DataError: If pyarrow raises.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{name} can't be read as {what}: {error}") from error


class TableChunk(AbstractChunk):
    """Some rows of a table."""

    def __init__(self, batch: "pyarrow.RecordBatch", columns: Columns, name: str):
        self.batch, self.columns, self.name = batch, columns, name

    def labels(self) -> tuple[list[Any], np.ndarray]:
        import pyarrow as pa

        column = _plain(_column(self.batch, self.columns.target))
        try:
            encoded = column.dictionary_encode()
        except pa.ArrowNotImplementedError:
            raise DataError(
                f"{self.name}: labels must be numbers or text; "
                f"{self.columns.where} holds {column.type}."
            ) from None
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return encoded.dictionary.to_pylist(), codes

    def features(self, rows: np.ndarray) -> np.ndarray:
        import pyarrow as pa

        batch = self.batch
        if len(rows) < batch.num_rows:
            batch = batch.take(pa.array(rows))
        names = self.columns.features
        columns = [_plain(_column(batch, name)) for name in names]
        cells = [j for j, column in enumerate(columns) if _is_text(column)]
        read = dict(zip(cells, _read_cells([columns[j] for j in cells]), strict=True))
        X = np.empty((len(rows), len(names)))
        text = {}
        for j, column in enumerate(columns):
            numbers = read[j] if j in read else _numbers(column)
            if isinstance(numbers, str):
                text[names[j]] = numbers
            else:
                X[:, j] = numbers
        if text:
            refuse_text(self.name, text)
        return X


def _column(batch: "pyarrow.RecordBatch", name: str) -> "pyarrow.Array":
    return batch.column(batch.schema.get_field_index(name))


def _plain(column: "pyarrow.Array") -> "pyarrow.Array":
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        return column.dictionary_decode()
    return column


def _read_cells(columns: list["pyarrow.Array"]) -> list[np.ndarray | str]:
    import pyarrow as pa

    if not columns:
        return []
    # in one go if all are numbers, as a file can have very many columns
    joined = pa.concat_arrays([column.cast(pa.large_string()) for column in columns])
    numbers = cells_to_numbers(joined)
    if isinstance(numbers, str):
        return [cells_to_numbers(column) for column in columns]
    return list(numbers.reshape(len(columns), -1))


def _numbers(column: "pyarrow.Array") -> np.ndarray | str:
    """A column as floats, NaN where missing; or, if it holds no numbers, a value."""
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
    values = column.drop_null()
    return str(values[0].as_py())[:40] if len(values) else str(kind)


def _is_text(column: "pyarrow.Array") -> bool:
    import pyarrow as pa

    kind = column.type
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    )
