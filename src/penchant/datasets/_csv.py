import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from penchant._visible import visible
from penchant.datasets._dataset import Dataset
from penchant.datasets._errors import DataError
from penchant.datasets._labels import NULLS, label_number
from penchant.datasets._packed import Source
from penchant.datasets._sizes import check_width, size
from penchant.datasets._tables import Columns, choose, read_table

_SEPARATORS = ",;\t|"
_PEEK = 200
_PEEK_SIZE = 2**24
MOST_LINE = 2**26
"""Characters of a line."""


@dataclass(frozen=True)
class _Layout:
    separator: str
    columns: tuple[str, ...]
    header: int  # lines before the first row
    block: int  # bytes read at a time
    notes: tuple[str, ...]


def read_csv(source: Source) -> Dataset:
    """The columns of a CSV or TSV file, a block of rows at a time."""
    request = source.request
    layout = _layout(source)
    return read_table(
        lambda columns: _batches(source, layout, columns),
        choose(layout.columns, request),
        request,
        "CSV",
        stored=source.stored,
        notes=layout.notes,
    )


def _batches(source: Source, layout: _Layout, columns: Columns) -> Iterator:
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    read = columns.read
    # as text: a type guessed from the first block would fail on a later one, and only
    # rows that are kept need be converted
    with (
        source.open() as stream,
        arrow_csv.open_csv(
            stream if source.packing else source.path,
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
        yield from batches


def _layout(source: Source) -> _Layout:
    """The separator, the columns' names, and where the rows start."""
    name, request = source.request.name, source.request
    try:
        with source.open() as stream:
            file = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
            lines = _Lines(file, name)
            first = next((line for line in lines if line.strip()), "")
            if not first:
                raise DataError(f"{name} is empty.")
            named = re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE)
            if named:
                separator = named[1]
                first = next((line for line in lines if line.strip()), "")
            else:
                separator = _separator(source.suffix, first)
            check_width(name, 1 + first.count(separator))
            skipped = lines.read - 1
            rows = csv.reader(lines.again(first), delimiter=separator)
            head = next((row for row in rows if any(c.strip() for c in row)), None)
            if head is None:
                raise DataError(f"{name} has no rows of data, only separators.")
            header = skipped + rows.line_num
            peeked = []
            for row in rows:
                if row:
                    peeked.append(row)
                if len(peeked) >= _PEEK or lines.size > _PEEK_SIZE:
                    break
            length = sum(len(cell) + 3 for row in [head, *peeked] for cell in row)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is not text in UTF-8 ({error.reason} at byte {error.start}). "
            "Save it as CSV UTF-8."
        ) from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{name} can't be read as CSV: {error}") from error
    head = [visible(cell.strip()) for cell in head]
    block = max(2**22, 64 * length // (len(peeked) + 1))  # a row must fit into one
    asked = {request.target, *request.skip, *(request.one_hot or ())}
    if not asked & set(head) and _is_data(head, peeked):
        names = tuple(f"c{j}" for j in range(len(head)))
        note = (
            "The first row looks like data, so the file is taken to have no header: "
            f"columns are c0 to c{len(head) - 1}."
        )
        return _Layout(separator, names, skipped, block, (note,))
    if not peeked:
        raise DataError(f"{name} has no rows of data, only a header.")
    names = tuple(cell or f"column {j + 1}" for j, cell in enumerate(head))
    notes = tuple(
        f"Column {j + 1} has no name in the header and is called 'column {j + 1}'."
        for j, cell in enumerate(head)
        if not cell
    )
    return _Layout(separator, names, header, block, notes)


class _Lines:
    """Lines of a text file, none longer than may be held."""

    def __init__(self, file: io.TextIOWrapper, name: str):
        self.file, self.name, self.read, self.size = file, name, 0, 0
        self.before: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.before:
            return self.before.pop()
        line = self.file.readline(MOST_LINE + 1)
        if not line:
            raise StopIteration
        self.read += 1
        self.size += len(line)
        if len(line) > MOST_LINE:
            raise DataError(
                f"{self.name} can't be read as CSV: line {self.read} is longer than "
                f"{size(MOST_LINE)}."
            )
        return line

    def again(self, line: str) -> "_Lines":
        """The lines from the one that was read last."""
        self.before = [line]
        return self


def _separator(suffix: str, line: str) -> str:
    if suffix == ".tsv":
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
