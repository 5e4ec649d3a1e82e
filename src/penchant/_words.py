"""Words that stand for things, and for numbers: one way to look up, one to tell."""

import math
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def percent(ratio: float) -> str:
    """A ratio in per cent, with as many digits as tell it from 100.

    >>> from penchant.pages import percent
    >>> percent(0.5), percent(0.99997), percent(-0.001)
    ('50 %', '99.997 %', '0 %')
    """
    if not math.isfinite(ratio):
        return "–"
    gap = abs(1.0 - ratio)
    if gap < 5e-6:
        return "100 %"
    digits = 0 if gap >= 0.095 else 1 if gap >= 0.0095 else 2 if gap >= 95e-5 else 3
    return f"{100 * ratio:z.{digits}f} %"


def count(steps: float) -> str:
    """Two digits of a number of steps, without an exponent to be read as code.

    >>> from penchant._words import count
    >>> count(31_277), count(4.1e10), count(float("inf"))
    ('31,000', '4.1·10¹⁰', 'never')
    """
    if math.isinf(steps):
        return "never"
    if steps < 1e9:
        return f"{float(f'{steps:.2g}'):,.0f}"
    digits, power = f"{steps:.1e}".split("e+")
    return f"{digits}·10{raised(int(power))}"


def raised(number: int) -> str:
    """A whole number in superscript.

    >>> from penchant._words import raised
    >>> "10" + raised(-12)
    '10⁻¹²'
    """
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


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
