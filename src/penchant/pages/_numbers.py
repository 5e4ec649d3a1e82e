"""Numbers as readers want them."""

import math


def percent(ratio: float) -> str:
    """A ratio in per cent, with as many digits as tell it from 100."""
    if not math.isfinite(ratio):
        return "–"
    gap = abs(1.0 - ratio)
    if gap < 5e-6:
        return "100 %"
    digits = 0 if gap >= 0.095 else 1 if gap >= 0.0095 else 2 if gap >= 95e-5 else 3
    return f"{100 * ratio:.{digits}f} %"


def number(value: float | int | None) -> str:
    """Six digits, thousands apart, a dash for none.

    >>> from penchant.pages import number
    >>> number(12345), number(0.123456789), number(None)
    ('12,345', '0.123457', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.6g}"
