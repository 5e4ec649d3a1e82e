import json
import re
from collections.abc import Iterator
from typing import Any

from penchant._types import Tree
from penchant._visible import visible
from penchant.datasets._dataset import Dataset
from penchant.datasets._errors import DataError, listing
from penchant.datasets._packed import Source
from penchant.datasets._tables import Columns, choose, read_table, reading


def read_parquet(source: Source) -> Dataset:
    """The columns of a Parquet file, a batch of rows at a time."""
    import pyarrow.parquet as pq

    source.refuse_packed("Parquet")
    request = source.request
    with reading(request.name, "Parquet"):
        # buffered, or the column chunks of a row group would be held whole
        file = pq.ParquetFile(source.path, buffer_size=2**20)
    with file:
        with reading(request.name, "Parquet"):
            schema = file.schema_arrow
        named = {visible(name): name for name in schema.names}
        if len(named) < len(schema.names):
            choose([visible(name) for name in schema.names], request)
        index = [
            n for n in index_columns(schema) if n not in (request.target, *request.skip)
        ]
        columns = choose([n for n in named if n not in index], request)
        widths = _widths(file, columns, named, request.name)
        notes = [
            f"{name!r} holds lists of {width} numbers, a feature each."
            for name, width in widths.items()
        ]
        if index:
            notes.append(
                f"The pandas index ({listing(index, write=str)}) was left out."
            )
        wide = Columns(columns.target, _spread_names(columns, widths))
        return read_table(
            lambda read: _batches(file, columns, read, widths, named, request.name),
            wide,
            request,
            "Parquet",
            stored=source.stored,
            total=file.metadata.num_rows,
            notes=notes,
        )


def index_columns(schema: Tree) -> list[str]:
    """The columns that were an index in pandas."""
    index = [n for n in schema.names if re.fullmatch(r"__index_level_\d+__", n)]
    about = (schema.metadata or {}).get(b"pandas", b"{}")
    try:
        named = json.loads(about)["index_columns"]
    except (ValueError, KeyError, TypeError, RecursionError):  # another's metadata
        named = []
    named = named if isinstance(named, list) else []
    known = set(schema.names)
    index += [n for n in named if isinstance(n, str) and n in known and n not in index]
    return [visible(name) for name in index]


def _widths(
    file: Tree, columns: Columns, named: dict[str, str], name: str
) -> dict[str, int]:
    """For each column that holds a list in every row, how long the first one is."""
    import pyarrow as pa

    kinds = {visible(field.name): field.type for field in file.schema_arrow}
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
        asked = [named[column] for column in lists]
        first = next(file.iter_batches(batch_size=256, columns=asked), None)
        seen = {} if first is None else first.to_pydict()
    lengths = {
        column: next((len(v) for v in seen.get(named[column], []) if v is not None), 0)
        for column in lists
    }
    return {column: length for column, length in lengths.items() if length}


def _is_number(kind: Tree) -> bool:
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


def _batches(
    file: Tree,
    columns: Columns,
    read: Columns,
    widths: dict[str, int],
    named: dict[str, str],
    name: str,
) -> Iterator[Any]:
    import pyarrow as pa

    asked = [named[column] for column in columns.read]
    size = max(256, min(65_536, 2**22 // (1 + len(read.features))))
    for batch in file.iter_batches(batch_size=size, columns=asked):
        batch.validate(full=True)  # damaged text would fail anywhere later on
        # by place: names as they are shown need not be those in the file
        pairs = zip(batch.schema.names, batch.columns, strict=True)
        got = {visible(name): column for name, column in pairs}
        plain = pa.RecordBatch.from_arrays(list(got.values()), names=list(got))
        yield _spread(plain, widths, name) if widths else plain
