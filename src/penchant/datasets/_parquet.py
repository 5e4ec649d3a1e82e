import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penchant._types import Tree
from penchant.datasets._dataset import Dataset
from penchant.datasets._errors import DataError, listing
from penchant.datasets._request import Request
from penchant.datasets._rows import collect
from penchant.datasets._tables import Columns, TableChunk, choose, reading


def read_parquet(path: Path, request: Request) -> Dataset:
    """The columns of a Parquet file, a batch of rows at a time."""
    import pyarrow.parquet as pq

    with reading(request.name, "Parquet"):
        # buffered, or the column chunks of a row group would be held whole
        file = pq.ParquetFile(path, buffer_size=2**20)
    with file:
        names = file.schema_arrow.names
        index = [n for n in names if re.fullmatch(r"__index_level_\d+__", n)]
        index = [n for n in index if n not in (request.target, *request.skip)]
        columns = choose([n for n in names if n not in index], request)
        widths = _widths(file, columns, request.name)
        notes = [
            f"{name!r} holds lists of {width} numbers, a feature each."
            for name, width in widths.items()
        ]
        if index:
            notes.append(
                f"The pandas index ({listing(index, write=str)}) was left out."
            )
        return collect(
            _chunks(file, columns, widths, request.name),
            request,
            _spread_names(columns, widths),
            where=columns.where,
            total=file.metadata.num_rows,
            notes=notes,
        )


def _widths(file: Any, columns: Columns, name: str) -> dict[str, int]:
    """For each column that holds a list in every row, how long the first one is."""
    import pyarrow as pa

    kinds = {field.name: field.type for field in file.schema_arrow}
    lists = [
        column
        for column in columns.features
        if (
            pa.types.is_list(kinds[column])
            or pa.types.is_large_list(kinds[column])
            or pa.types.is_fixed_size_list(kinds[column])
        )
        and _is_number(kinds[column].value_type)
    ]
    if not lists:
        return {}
    with reading(name, "Parquet"):
        first = next(file.iter_batches(batch_size=256, columns=lists), None)
    seen = {} if first is None else first.to_pydict()
    lengths = {
        column: next((len(v) for v in seen.get(column, []) if v is not None), 0)
        for column in lists
    }
    return {column: length for column, length in lengths.items() if length}


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _spread_names(columns: Columns, widths: dict[str, int]) -> tuple[str, ...]:
    names = []
    for column in columns.features:
        width = widths.get(column)
        names += [column] if width is None else [f"{column}[{i}]" for i in range(width)]
    return tuple(names)


def _spread(batch: Tree, widths: dict[str, int], name: str) -> Any:
    """The rows with a column for each entry of their lists."""
    import pyarrow as pa

    columns = {}
    for column, values in zip(batch.schema.names, batch.columns, strict=True):
        width = widths.get(column)
        if width is None:
            columns[column] = values
            continue
        rows = values.to_pylist()
        odd = next((len(v) for v in rows if v is not None and len(v) != width), None)
        if odd is not None:
            raise DataError(
                f"{name}: the lists in {column!r} must be of one length; the first "
                f"holds {width} numbers, another {odd}."
            )
        missing = [None] * width
        filled = [missing if v is None else v for v in rows]
        for i in range(width):
            entries = [row[i] for row in filled]
            columns[f"{column}[{i}]"] = pa.array(entries, pa.float64())
    return pa.RecordBatch.from_pydict(columns)


def _chunks(
    file: Any, columns: Columns, widths: dict[str, int], name: str
) -> Iterator[TableChunk]:
    read = [*columns.features, columns.target]
    spread = Columns(columns.target, _spread_names(columns, widths))
    size = max(256, min(65_536, 2**22 // (1 + len(spread.features))))
    with reading(name, "Parquet"):
        batches = file.iter_batches(batch_size=size, columns=read)
    while True:
        with reading(name, "Parquet"):
            batch = next(batches, None)
            if batch is None:
                return
            batch.validate(full=True)  # damaged text would fail anywhere later on
        if widths:
            batch = _spread(batch, widths, name)
        yield TableChunk(batch, spread, name)
