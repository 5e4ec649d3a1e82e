"""Text cells as numbers, and what is said of those that are none."""

from typing import TYPE_CHECKING

import numpy as np

from penchant.datasets._errors import DataError, counted, listing
from penchant.datasets._labels import NULLS

if TYPE_CHECKING:
    import pyarrow


def refuse_text(name: str, examples: dict[str, str]) -> None:
    """Say which columns hold no numbers.

    Raises:
        DataError: Always.
    """
    columns = listing(
        (f"{column!r} (e.g. {value!r})" for column, value in examples.items()),
        write=str,
    )
    if any(_has_decimal_comma(value) for value in examples.values()):
        advice = "Write decimals with a point."
    else:
        shown = tuple(list(examples)[:3])
        advice = (
            f"Leave such columns out (skip={shown!r}; --skip {','.join(shown)!r}), or "
            "encode them as numbers, a 0/1 column a category."
        )
    raise DataError(
        f"{name}: features must be numbers; {counted(len(examples), 'column')} "
        f"{'holds' if len(examples) == 1 else 'hold'} something else: {columns}. "
        f"{advice}"
    )


def _has_decimal_comma(value: str) -> bool:
    whole, comma, fraction = value.partition(",")
    return bool(comma) and fraction.isdigit() and whole.lstrip("+-").isdigit()


def cells_to_numbers(cells: "pyarrow.Array") -> np.ndarray | str:
    """Numbers that text stands for, NaN where missing; or a cell that is no number.

    `true` and `false`, however capitalised, are 1 and 0.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pa.large_string()
    cells = pc.call_function("utf8_trim_whitespace", [cells.cast(text)])
    nulls = pc.SetLookupOptions(pa.array(sorted(NULLS), text), skip_nulls=False)
    missing = pc.call_function("is_in", [cells], nulls)
    cells = pc.call_function("if_else", [missing, pa.scalar(None, text), cells])
    numbers = _cast(cells)
    if numbers is not None:
        return numbers
    lowered = pc.call_function("utf8_lower", [cells])
    for word, digit in (("true", "1"), ("false", "0")):
        said = pc.call_function("equal", [lowered, pa.scalar(word, text)])
        cells = pc.call_function("if_else", [said, pa.scalar(digit, text), cells])
    numbers = _cast(cells)
    if numbers is not None:
        return numbers
    while len(cells) > 1:  # bisection: no cast says where it failed
        half = cells.slice(0, len(cells) // 2)
        cells = half if _cast(half) is None else cells.slice(len(half))
    return cells[0].as_py()


def _cast(cells: "pyarrow.Array") -> np.ndarray | None:
    import pyarrow as pa

    try:
        numbers = cells.cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    return numbers.to_numpy(zero_copy_only=False)
