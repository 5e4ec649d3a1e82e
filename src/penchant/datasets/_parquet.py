import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penchant.datasets._dataset import Dataset
from penchant.datasets._errors import listing
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
        notes = []
        if index:
            notes.append(
                f"The pandas index ({listing(index, write=str)}) was left out."
            )
        return collect(
            _chunks(file, columns, request.name),
            request,
            columns.features,
            where=columns.where,
            total=file.metadata.num_rows,
            notes=notes,
        )


def _chunks(file: Any, columns: Columns, name: str) -> Iterator[TableChunk]:
    read = [*columns.features, columns.target]
    size = max(256, min(65_536, 2**22 // len(read)))
    with reading(name, "Parquet"):
        batches = file.iter_batches(batch_size=size, columns=read)
    while True:
        with reading(name, "Parquet"):
            batch = next(batches, None)
            if batch is None:
                return
            batch.validate(full=True)  # damaged text would fail anywhere later on
        yield TableChunk(batch, columns, name)
