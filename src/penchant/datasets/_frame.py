"""Tables in memory: of pandas and pyarrow."""

import sys

from penchant._types import Tree
from penchant._visible import visible
from penchant.datasets._dataset import Dataset
from penchant.datasets._errors import DataError
from penchant.datasets._request import Request
from penchant.datasets._tables import choose, read_table, reading


def is_table(source: object) -> bool:
    """Whether something is a table with named columns."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(source, pandas.DataFrame):
        return True
    arrow = sys.modules.get("pyarrow")
    return arrow is not None and isinstance(source, (arrow.Table, arrow.RecordBatch))


def read_frame(source: Tree, request: Request) -> Dataset:
    """The columns of a table; the index of a DataFrame is no column.

    Raises:
        DataError: If columns can't be told apart, or hold what has no type.
    """
    import pyarrow as pa

    table = source
    if not isinstance(source, (pa.Table, pa.RecordBatch)):
        frame = source.rename(columns=str)
        with reading(request.name, "a table"):
            table = pa.Table.from_pandas(frame, preserve_index=False)
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    names = [visible(str(name)) for name in table.column_names]
    if not names:
        raise DataError(f"{request.name} has no columns.")
    columns = choose(names, request)
    table = table.rename_columns(names).replace_schema_metadata()
    return read_table(
        lambda read: table.select(read.read).to_batches(max_chunksize=65_536),
        columns,
        request,
        "a table",
        stored=None,
        total=table.num_rows,
    )
