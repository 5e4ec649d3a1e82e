"""Numbers as readers want them."""

import math

from penchant._words import percent as percent


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
