"""How much a file may unpack to, unasked."""

from penchant.datasets._errors import DataError, counted

SMALL = 2**28
"""Bytes that are always read."""

FACTOR = 100
"""Beyond those, a file may unpack to so many times its own size."""

MOST = 2**32
"""And to no more than these, unless all rows are asked for."""

MOST_FEATURES = 2**22
"""Each gets a name, and its weight."""


def allowance(stored: int | None, everything: bool) -> int:
    """Bytes that may be made of `stored` ones; None: of what is in memory already."""
    if everything:
        return 2**62
    return MOST if stored is None else min(MOST, max(SMALL, FACTOR * stored))


def check_bytes(
    name: str, needed: int, stored: int | None, everything: bool, advice: str = ""
) -> None:
    """Refuse what would take more memory than it may.

    Raises:
        DataError: With what it would take, and the ways out.
    """
    most = allowance(stored, everything)
    if needed > most:
        raise too_large(name, f"{size(needed)} of memory", most, advice)


def too_large(name: str, what: str, most: int, advice: str = "") -> DataError:
    """That a file takes more than is read unasked."""
    ways = advice or (
        "rows=20000 (--rows 20000) takes a random sample, skip leaves out columns, "
        "rows='all' (--rows all) lifts the limit."
    )
    return DataError(
        f"{name} takes {what}, more than the {size(most)} that are read unasked "
        f"({FACTOR} times the file, at least {size(SMALL)}, at most {size(MOST)}). "
        f"{ways}"
    )


def check_width(name: str, d: int) -> None:
    """Refuse more features than can be named.

    Raises:
        DataError: If there are none, or more than `MOST_FEATURES`.
    """
    if d < 1:
        raise DataError(f"{name}: no feature is left beside the labels.")
    if d > MOST_FEATURES:
        raise DataError(
            f"{name} has {counted(d, 'feature')}; at most {MOST_FEATURES} are read."
        )


def size(count: int) -> str:
    """Bytes in words."""
    for unit, step in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
        if count >= step:
            return f"{count / step:.3g} {unit}"
    return f"{max(1, count // 2**10)} KiB"
