from collections.abc import Callable, Iterable


class DataError(ValueError):
    """Data that can't be read, or from which no classification problem can be made."""


def listing(
    names: Iterable[object], most: int = 8, write: Callable[[object], str] = repr
) -> str:
    """The first few names, and how many more there are."""
    shown = list(names)
    text = ", ".join(write(name) for name in shown[:most])
    more = len(shown) - most
    return f"{text} and {more} more" if more > 0 else text


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """`1 row`, `2 rows`."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
