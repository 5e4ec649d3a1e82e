import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from penchant.datasets._dataset import Dataset
from penchant.datasets._errors import DataError
from penchant.datasets._labels import NULLS, label_number
from penchant.datasets._request import Request
from penchant.datasets._rows import collect
from penchant.datasets._tables import Columns, TableChunk, choose, reading

_SEPARATORS = ",;\t|"
_PEEK = 200


@dataclass(frozen=True)
class _Layout:
    separator: str
    columns: tuple[str, ...]
    header: int  # lines before the first row
    block: int  # bytes read at a time
    notes: tuple[str, ...]


def read_csv(path: Path, request: Request) -> Dataset:
    """The columns of a CSV or TSV file, a block of rows at a time."""
    layout = _layout(path, request)
    columns = choose(layout.columns, request)
    return collect(
        _chunks(path, layout, columns, request.name),
        request,
        columns.features,
        where=columns.where,
        notes=layout.notes,
    )


def _chunks(
    path: Path, layout: _Layout, columns: Columns, name: str
) -> Iterator[TableChunk]:
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    read = [*columns.features, columns.target]
    # as text: a type guessed from the first block would fail on a later one, and only
    # rows that are kept need be converted
    with (
        reading(name, "CSV"),
        arrow_csv.open_csv(
            path,
            read_options=arrow_csv.ReadOptions(
                block_size=layout.block,
                column_names=list(layout.columns),
                skip_rows=layout.header,
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=layout.separator, newlines_in_values=True
            ),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=read, column_types=dict.fromkeys(read, pa.string())
            ),
        ) as batches,
    ):
        for batch in batches:
            yield TableChunk(batch, columns, name)


def _layout(path: Path, request: Request) -> _Layout:
    """The separator, the columns' names, and where the rows start."""
    name = request.name
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            while first and not first.strip():
                first = file.readline()
            if not first:
                raise DataError(f"{name} is empty.")
            file.seek(0)
            separator = _separator(path, first)
            rows = csv.reader(file, delimiter=separator)
            head = next(row for row in rows if any(cell.strip() for cell in row))
            header = rows.line_num
            peeked = [row for row, _ in zip(rows, range(_PEEK), strict=False) if row]
            size = sum(len(cell) + 3 for row in [head, *peeked] for cell in row)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is not text in UTF-8 ({error.reason} at byte {error.start}). "
            "Save it as CSV UTF-8."
        ) from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{name} can't be read as CSV: {error}") from error
    head = [cell.strip() for cell in head]
    block = max(2**22, 64 * size // (len(peeked) + 1))  # a row must fit into one
    asked = {request.target, *request.skip}
    if not asked & set(head) and _is_data(head, peeked):
        names = tuple(f"c{j}" for j in range(len(head)))
        note = (
            "The first row looks like data, so the file is taken to have no header: "
            f"columns are c0 to c{len(head) - 1}."
        )
        return _Layout(separator, names, 0, block, (note,))
    if not peeked:
        raise DataError(f"{name} has no rows of data, only a header.")
    names = tuple(cell or f"column {j + 1}" for j, cell in enumerate(head))
    notes = tuple(
        f"Column {j + 1} has no name in the header and is called 'column {j + 1}'."
        for j, cell in enumerate(head)
        if not cell
    )
    return _Layout(separator, names, header, block, notes)


def _separator(path: Path, line: str) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    outside = "".join(line.split('"')[::2])  # quoted text may hold any of them
    return max(_SEPARATORS, key=outside.count)


def _is_data(head: list[str], rows: list[list[str]]) -> bool:
    """Whether the first row is no header.

    It is none if all its cells are numbers, or if each that isn't (a label, say) comes
    again below in its column. The names 0, 1, … are those that pandas gives.
    """
    named = [cell for cell in head if cell]
    if named == [str(j) for j in range(len(named))]:
        return False
    if all(label_number(cell) is None for cell in head):
        return False
    return all(
        label_number(cell) is not None
        or cell in NULLS
        or any(len(row) > j and row[j].strip() == cell for row in rows)
        for j, cell in enumerate(head)
    )
