"""From labels as users write them to -1 and +1, or 0..k-1."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from penchant._visible import visible
from penchant.datasets._errors import DataError, listing

MISSING, UNWANTED = -1, -2
"""Codes of rows without a label, and of rows whose class was not asked for."""

MOST_CLASSES = 1000

NULLS = frozenset({
    *("", "?", "NA", "<NA>", "#NA", "N/A", "n/a", "#N/A", "#N/A N/A"),
    *("NaN", "nan", "-NaN", "-nan", "NULL", "Null", "null"),
})
"""What stands for a missing value in text, once blanks are trimmed."""


def label_name(value: object, nulls: frozenset[str] = NULLS) -> str | None:
    """A label as text, whole numbers without a point; None where it is missing.

    Args:
        value: The label.
        nulls: What stands for a missing one in text.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if isinstance(value, str):
        text = visible(value.strip())
        return None if text in nulls else text
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else repr(value)
    return None if value is None else visible(str(value))


def label_number(text: str) -> float | None:
    """The finite number that a label is, if it is one."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


class LabelBook:
    """Numbers the labels of a file as its rows come by.

    Args:
        name: The source, for messages.
        where: The column, for messages.
        wanted: The classes to keep, in order; None for all.
        missing: What stands for a missing label, beside the usual words.
    """

    def __init__(
        self,
        name: str,
        where: str,
        wanted: tuple[str, ...] | None,
        missing: Sequence[str] = (),
    ):
        self.name, self.where, self.wanted = name, where, wanted
        # a word that was asked for as a class is one
        self.nulls = (NULLS | set(missing)) - set(wanted or ())
        self.missing: Counter[str] = Counter()
        self.codes: dict[str, int] = {}
        self._by_number: dict[float, int] = {}
        for code, text in enumerate(wanted or ()):
            number = label_number(text)
            if number is not None:
                self._by_number[number] = code
        self._found: set[int] = set()
        self._rows = 0

    def encode(self, labels: Sequence[object], indices: np.ndarray) -> np.ndarray:
        """Codes of rows whose labels are `labels[indices]`, -1 for none."""
        codes = [self._code(label_name(label, self.nulls)) for label in labels]
        if MISSING in codes:
            counts = np.bincount(indices[indices >= 0], minlength=len(codes))
            for label, code, count in zip(labels, codes, counts, strict=True):
                if code == MISSING and isinstance(label, (str, bytes)) and count:
                    word = label_name(label, frozenset())
                    self.missing[word or ""] += int(count)
        if self.wanted is None and len(self.codes) > MOST_CLASSES:
            self._refuse_too_many(self._rows + len(indices))
        self._rows += len(indices)
        nameless = MISSING if self.wanted is None else UNWANTED
        return np.array([*codes, nameless], dtype=np.int64)[indices]

    def _code(self, name: str | None) -> int:
        if name is None:
            return MISSING if self.wanted is None else UNWANTED
        if self.wanted is None:
            return self.codes.setdefault(name, len(self.codes))
        code = self.codes.get(name)
        if code is None:
            code = self._match(name)
            if len(self.codes) <= MOST_CLASSES:
                self.codes[name] = code
        if code != UNWANTED:
            self._found.add(code)
        return code

    def _match(self, name: str) -> int:
        assert self.wanted is not None
        if name in self.wanted:
            return self.wanted.index(name)
        number = label_number(name)
        return UNWANTED if number is None else self._by_number.get(number, UNWANTED)

    def check(self, rows: int) -> None:
        """Refuse labels that are no classes, and classes that are not there.

        Raises:
            DataError: With what was seen.
        """
        if self.wanted is not None:
            absent = [c for i, c in enumerate(self.wanted) if i not in self._found]
            if absent:
                present = ordered(self.codes)
                count = str(len(present))
                if len(present) > MOST_CLASSES:  # no more were kept
                    count = f"more than {MOST_CLASSES}"
                raise DataError(
                    f"{self.name}: no row of {self.where} has the class "
                    f"{listing(absent)}; it holds {count} classes: "
                    f"{listing(present[:MOST_CLASSES], 10)}."
                )
            return
        numbers = [label_number(name) for name in self.codes]
        broken = sum(v is not None and not v.is_integer() for v in numbers)
        if None not in numbers and (broken > 20 or broken > max(2, rows / 2)):
            self._refuse_regression(len(set(numbers)), rows)
        names = ordered(self.codes)
        if len(names) == rows > 2:
            raise DataError(
                f"{self.name}: {self.where} has another label in each of its {rows} "
                f"rows ({listing(names, 3)}), so it names rows, not classes."
            )

    def _refuse_too_many(self, rows: int) -> None:
        numbers = [label_number(name) for name in self.codes]
        if any(v is not None and not v.is_integer() for v in numbers) and (
            None not in numbers
        ):
            self._refuse_regression(len(set(numbers)), rows)
        raise DataError(
            f"{self.name}: {self.where} must have at most {MOST_CLASSES} classes; its "
            f"first {rows} rows have {len(self.codes)} labels ({listing(self.codes, 3)}"
            "). classes=(...) keeps some of them."
        )

    def _refuse_regression(self, distinct: int, rows: int) -> None:
        raise DataError(
            f"{self.name}: {self.where} holds {distinct} distinct numbers in {rows} "
            f"rows ({listing(self.codes, 3, str)}): that is a regression target, and "
            "classification needs classes. Bin it, or name another target."
        )

    def finish(
        self, codes: np.ndarray
    ) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
        """Labels in penchant's form, the classes' names, and notes.

        Raises:
            DataError: If fewer than two classes are left in `codes`.
        """
        if self.wanted is None:
            names, place = _sorted(self.codes)
            codes = np.array(place)[codes]
        else:
            names = list(self.wanted)
        sizes = np.bincount(codes, minlength=len(names))
        present = np.flatnonzero(sizes)
        gone = [names[c] for c in np.flatnonzero(sizes == 0)]
        if len(present) < 2:
            self._refuse_one_class(names[present[0]], gone, len(codes))
        notes = []
        if gone:
            one = len(gone) == 1
            notes.append(
                f"{len(gone)} of {len(names)} classes ({listing(gone, write=str)}) "
                f"{'has' if one else 'have'} no row among those kept, and "
                f"{'is' if one else 'are'} left out."
            )
        y = np.searchsorted(present, codes)
        if len(present) == 2:
            y = 2 * y - 1
        return y.astype(np.int64), tuple(names[c] for c in present), notes

    def _refuse_one_class(self, only: str, gone: list[str], rows: int) -> None:
        seen = f"all {rows} rows have" if rows > 1 else "the only row has"
        if gone:
            raise DataError(
                f"{self.name}: classification needs rows of two classes; {seen} the "
                f"label {only!r}, none has {listing(gone)}. Keep more rows."
            )
        raise DataError(
            f"{self.name}: classification needs two classes; {seen} the label "
            f"{only!r} in {self.where}. Where labels are absorbed in the features, "
            "give X and labels +1 to penchant.LinearClassification."
        )


def ordered(names: Iterable[str]) -> list[str]:
    """Labels in order: by value if all are numbers, else of the alphabet."""
    return _sorted(dict.fromkeys(names, 0))[0]


def _sorted(codes: dict[str, int]) -> tuple[list[str], list[int]]:
    """Names in order, and the place of each code; numbers by value, as one class."""
    numbers = [v for v in map(label_number, codes) if v is not None]
    if len(numbers) < len(codes):
        names = sorted(codes)
        return names, [names.index(name) for name in codes]
    values = sorted(set(numbers))
    return [label_name(v) or "" for v in values], [values.index(v) for v in numbers]
