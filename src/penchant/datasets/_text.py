"""Cells of tables as numbers or categories, and what is said of those that are none."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from penchant._visible import visible
from penchant.datasets._errors import DataError, counted, listing
from penchant.datasets._labels import (
    MISSING,
    NULLS,
    ordered,
)
from penchant.datasets._request import Request

if TYPE_CHECKING:
    import pyarrow

MOST_CATEGORIES = 1000

_FEW = 5
"""As many different words in a column of numbers may each stand for "missing"."""

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$|^[+-]?(inf|infinity)$|^[+-]?nan$"
_WHOLE_OR_COMMA = (
    r"^[+-]?(\d{1,3}(\.\d{3})+|\d+|\d*,\d+|\d{1,3}(\.\d{3})+,\d+)(e[+-]?\d+)?$"
)
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}")

_ODD = np.array([0x7FF8_0000_0000_0D0D], dtype=np.uint64)
"""Bits of a NaN of our own: a cell that is no number, where NaN is a missing one."""


def is_odd(X: np.ndarray) -> np.ndarray:
    """Which entries stand for cells that are no numbers."""
    return np.ascontiguousarray(X).view(np.uint64) == _ODD


class Cells:
    """How cells are read, and which of them were no numbers, as rows come by.

    Args:
        request: What stands for a missing value, and how decimals are written.
        one_hot: Columns whose values are categories.
    """

    def __init__(self, request: Request, one_hot: Sequence[str] = ()):
        self.name, self.decimal = request.name, request.decimal
        self.nulls = NULLS | set(request.missing)
        self.categories: dict[str, dict[str, int]] = {c: {} for c in one_hot}
        self.odd: dict[str, _OddColumn] = {}
        self._counts: list[tuple[tuple[str, ...], np.ndarray]] = []

    def codes(self, column: str, cells: "pyarrow.Array") -> np.ndarray:
        """Categories as numbers in the order of their coming, NaN where missing.

        Raises:
            DataError: If there are more than `MOST_CATEGORIES`.
        """
        import pyarrow as pa

        known = self.categories[column]
        encoded = cells.cast(pa.large_string()).dictionary_encode()
        codes = []
        for value in encoded.dictionary.to_pylist():
            text = visible(value.strip())
            codes.append(
                MISSING if text in self.nulls else known.setdefault(text, len(known))
            )
        if len(known) > MOST_CATEGORIES:
            raise DataError(
                f"{self.name}: a column of one_hot may hold {MOST_CATEGORIES} "
                f"different values; {column!r} holds more ({listing(known, 3)})."
            )
        at = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        numbers = np.array([*codes, MISSING], dtype=np.float64)
        numbers[numbers == MISSING] = np.nan
        return numbers[at]

    def numbers(
        self, columns: dict[str, "pyarrow.Array"], places: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Text columns as floats; NaN where missing, our own where no number.

        `true` and `false`, however capitalised, are 1 and 0.
        """
        import pyarrow as pa

        if not columns:
            return {}
        text = pa.large_string()
        # in one go if all are numbers, as a file can have very many columns
        whole = pa.concat_arrays([column.cast(text) for column in columns.values()])
        numbers = None if self.decimal != "." else _cast(self._trimmed(whole))
        if numbers is not None:
            rows = numbers.reshape(len(columns), -1)
            self._counts.append((tuple(columns), (~np.isnan(rows)).sum(axis=1)))
            return dict(zip(columns, rows, strict=True))
        read = {
            name: self._some_numbers(name, column.cast(text), places)
            for name, column in columns.items()
        }
        counts = np.array([(~np.isnan(values)).sum() for values in read.values()])
        self._counts.append((tuple(columns), counts))
        return read

    @staticmethod
    def marked(odd: np.ndarray) -> np.ndarray:
        """A column of NaN, our own where `odd`."""
        numbers = np.full(len(odd), np.nan)
        numbers.view(np.uint64)[odd] = _ODD
        return numbers

    def add(self, column: str, words: Sequence[str], row: int) -> None:
        """Note cells that are no numbers, the first of them in `row` of the data."""
        seen = self.odd.setdefault(column, _OddColumn(words[0], row))
        seen.count += len(words)
        if len(seen.words) <= _FEW:
            seen.words.update(words)

    def findings(self, leave: str | None = None) -> list[str]:
        """A sentence for each kind of cells that are no numbers, and what mends it.

        Args:
            leave: A column of which nothing is said.
        """
        odd = {name: seen for name, seen in self.odd.items() if name != leave}
        commas = [n for n, seen in odd.items() if seen.has_commas]
        points = [n for n, s in odd.items() if self.decimal == "," and s.has_points]
        rest = [n for n in odd if n not in commas and n not in points]
        single = [n for n in rest if odd[n].is_few(self._numbers_in(n))]
        text = [n for n in rest if n not in single]
        told = []
        if commas:
            told.append(
                f"{_hold(commas, odd)}. Write decimals with a point, or say that they "
                "are written with a comma (decimal=','; --decimal ,); commas that part "
                "thousands must go."
            )
        if points:
            told.append(
                f"{_hold(points, odd)}. With decimal=',' a point may only part "
                "thousands, as in 1.234,5."
            )
        told += [_single(name, odd[name]) for name in single[:3]]
        if len(single) > 3:
            told.append(
                f"{len(single) - 3} more columns of numbers hold cells that are none: "
                f"{listing(single[3:])}."
            )
        if text:
            told.append(_text(text, odd))
        return told

    def _numbers_in(self, column: str) -> int:
        counts = [c[n.index(column)] for n, c in self._counts if column in n]
        return int(sum(counts))

    def _trimmed(self, cells: "pyarrow.Array") -> "pyarrow.Array":
        import pyarrow as pa
        import pyarrow.compute as pc

        text = pa.large_string()
        cells = pc.call_function("utf8_trim_whitespace", [cells])
        nulls = pc.SetLookupOptions(
            pa.array(sorted(self.nulls), text), skip_nulls=False
        )
        missing = pc.call_function("is_in", [cells], nulls)
        return pc.call_function("if_else", [missing, pa.scalar(None, text), cells])

    def _some_numbers(
        self, name: str, column: "pyarrow.Array", places: np.ndarray
    ) -> np.ndarray:
        import pyarrow as pa
        import pyarrow.compute as pc

        text = pa.large_string()
        shown = cells = self._trimmed(column)
        if self.decimal == ",":
            cells = _with_points(cells)
        lowered = pc.call_function("utf8_lower", [cells])
        for word, digit in (("true", "1"), ("false", "0")):
            said = pc.call_function("equal", [lowered, pa.scalar(word, text)])
            cells = pc.call_function("if_else", [said, pa.scalar(digit, text), cells])
        numbers = _cast(cells)
        if numbers is not None:
            return numbers
        good = _matches(cells, _NUMBER).fill_null(fill_value=True)
        kept = pc.call_function("if_else", [good, cells, pa.scalar(None, text)])
        numbers = kept.cast(pa.float64()).to_numpy(zero_copy_only=False).copy()
        odd = ~good.to_numpy(zero_copy_only=False)
        numbers.view(np.uint64)[odd] = _ODD
        words = [visible(w)[:40] for w in shown.filter(pa.array(odd)).to_pylist()]
        self.add(name, words, int(places[np.argmax(odd)]))
        return numbers


class _OddColumn:
    def __init__(self, first: str, row: int):
        self.first, self.row = first, row
        self.count = 0
        self.words: Counter[str] = Counter()

    @property
    def has_commas(self) -> bool:
        return any(_is_decimal_comma(word) for word in self.words)

    @property
    def has_points(self) -> bool:
        return any(re.match(_NUMBER, w, re.IGNORECASE) for w in self.words)

    def is_few(self, numbers: int) -> bool:
        return self.count < numbers and len(self.words) <= _FEW


def _is_decimal_comma(word: str) -> bool:
    return "," in word and bool(re.match(_WHOLE_OR_COMMA, word, re.IGNORECASE))


def _hold(names: list[str], odd: dict[str, _OddColumn]) -> str:
    columns = listing(
        (f"{name!r} (e.g. {_example(odd[name])!r})" for name in names), write=str
    )
    verb = "holds" if len(names) == 1 else "hold"
    return (
        f"features must be numbers; {counted(len(names), 'column')} {verb} something "
        f"else: {columns}"
    )


def _example(seen: _OddColumn) -> str:
    return next((w for w in seen.words if _is_decimal_comma(w)), seen.first)


def _single(name: str, seen: _OddColumn) -> str:
    words = tuple(seen.words)
    one = seen.count == 1
    option = ",".join(words)
    return (
        f"features must be numbers; {counted(seen.count, 'cell')} of column {name!r} "
        f"(e.g. {seen.first!r}) {'is' if one else 'are'} none, "
        f"{'' if one else 'the first '}in row {seen.row + 1} of the data. "
        f"If {'it stands' if one else 'they stand'} for a missing value, say so "
        f"(missing={words!r}; --missing '{option}') and leave out the "
        f"{'row' if one else 'rows'} (drop_missing=True; --drop-missing), or leave out "
        f"the column (skip=({name!r},); --skip '{visible(name)}')."
    )


def _text(names: list[str], odd: dict[str, _OddColumn]) -> str:
    shown = tuple(names[:3])
    option = ",".join(shown)
    one = len(names) == 1
    told = (
        f"{_hold(names, odd)}. Leave {'it' if one else 'such columns'} out "
        f"(skip={shown!r}; --skip '{visible(option)}'), or make a 0/1 column of each "
        f"of {'its' if one else 'their'} values (one_hot={shown!r}; --one-hot "
        f"'{visible(option)}')."
    )
    dates = [name for name in names if _DATE.match(odd[name].first)]
    if dates:
        verb = "holds" if len(dates) == 1 else "hold"
        told += (
            f" {listing(dates)} {verb} dates: write them as numbers, such as days "
            "since the first."
        )
    return told


def _with_points(cells: "pyarrow.Array") -> "pyarrow.Array":
    """Numbers with decimal commas in the spelling of those with points."""
    import pyarrow as pa
    import pyarrow.compute as pc

    good = _matches(cells, _WHOLE_OR_COMMA)
    bare = _replaced(_replaced(cells, ".", ""), ",", ".")
    # what is a number only with a point is none here; a mark keeps it from being cast
    marked = pc.call_function(
        "binary_join_element_wise",
        [pa.scalar("\0", pa.large_string()), cells, pa.scalar("", pa.large_string())],
    )
    plain = _matches(cells, r"^[a-z+-]*$")  # true, false, inf
    kept = pc.call_function("if_else", [plain, cells, marked])
    return pc.call_function("if_else", [good, bare, kept])


def _replaced(cells: "pyarrow.Array", old: str, new: str) -> "pyarrow.Array":
    import pyarrow.compute as pc

    options = pc.ReplaceSubstringOptions(old, new)
    return pc.call_function("replace_substring", [cells], options)


def _matches(cells: "pyarrow.Array", pattern: str) -> "pyarrow.Array":
    import pyarrow.compute as pc

    options = pc.MatchSubstringOptions(pattern, ignore_case=True)
    return pc.call_function("match_substring_regex", [cells], options)


def _cast(cells: "pyarrow.Array") -> np.ndarray | None:
    import pyarrow as pa

    try:
        numbers = cells.cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    return numbers.to_numpy(zero_copy_only=False)


def expand(
    X: np.ndarray, features: tuple[str, ...], categories: dict[str, dict[str, int]]
) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """Columns of codes as a 0/1 column for each value that comes in them."""
    parts, names, notes = [], [], []
    for j, feature in enumerate(features):
        known = categories.get(feature)
        if known is None:
            parts.append(X[:, j : j + 1])
            names.append(feature)
            continue
        present = np.unique(X[:, j]).astype(np.int64)
        by_code = {code: text for text, code in known.items()}
        values = ordered([by_code[code] for code in present.tolist()])
        wanted = np.array([known[value] for value in values], dtype=np.float64)
        parts.append((X[:, j : j + 1] == wanted[None, :]).astype(np.float64))
        names += [f"{feature}={value}" for value in values]
        notes.append(
            f"Column {feature!r} became {counted(len(values), 'column')} of 0 and 1, "
            f"one a value: {listing(values, 5, str)}. In each row they add up to 1, so "
            "together they act as a bias term."
        )
    return np.hstack(parts), tuple(names), notes
