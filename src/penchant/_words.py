"""Words that stand for things: one way to look them up, and one kind of error."""

import math
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def look_up(
    what: str, name: str, table: Mapping[str, T], also: tuple[str, ...] = ()
) -> T:
    """What a name stands for, in any case.

    Raises:
        TypeError: If it is no text.
        ValueError: If it is not in the table; the message lists what is, and `also`.
    """
    if not isinstance(name, str):
        raise TypeError(f"{what} must be a name; got {name!r:.100}.")
    key = name.strip().lower()
    if key not in table:
        raise ValueError(f"no {what} {name!r}; have: {', '.join([*table, *also])}.")
    return table[key]


def read_number(what: str, text: str) -> float:
    """A finite number from text.

    Raises:
        ValueError: If it is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return number
    raise ValueError(
        f"{what} must be a number; got {text!r}."
        + (" Step sizes read 0.01 or 0.1*t^-0.5." if "step size" in what else "")
    )


def read_whole(what: str, text: str) -> int:
    """A whole number from text.

    Raises:
        ValueError: If it is none.
    """
    number = read_number(what, text)
    if number != int(number):
        raise ValueError(f"{what} must be a whole number; got {text!r}.")
    return int(number)
