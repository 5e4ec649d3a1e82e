import http.client
import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable

from penchant._visible import visible

UNREADABLE = (
    OSError,
    ArithmeticError,  # sizes beyond 64 bits
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,  # a damaged header can ask for any number of bytes
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    TypeError,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    http.client.HTTPException,
)
"""What readers raise on files that are not what they say they are."""


class DataError(ValueError):
    """Data that can't be read, or from which no classification problem can be made.

    Control characters, which a file can bring into a message, are shown as text.
    """

    def __init__(self, message: str):
        super().__init__(visible(message))


def listing(
    names: Iterable[object], most: int = 8, write: Callable[[object], str] = repr
) -> str:
    """The first few names, and how many more there are."""
    shown = list(names)
    text = ", ".join(visible(write(name)) for name in shown[:most])
    more = len(shown) - most
    return f"{text} and {more} more" if more > 0 else text


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """`1 row`, `2 rows`."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def joined(name: str, findings: list[str]) -> DataError:
    """One error for all that was found in a file."""
    if len(findings) == 1:
        return DataError(f"{name}: {findings[0]}")
    lines = [f"({i}) {finding}" for i, finding in enumerate(findings, 1)]
    return DataError(f"{name}: {len(findings)} findings. {' '.join(lines)}")


def unreadable(name: str, what: str, error: BaseException) -> DataError:
    """That a file can't be read as what its name says, and why."""
    if isinstance(error, DataError):
        return error
    said = str(error)
    if "allow_pickle" in said and "Object arrays" not in said:
        return DataError(
            f"{name} can't be read as {what}: it is damaged, of another format, or a "
            "pickle, which is never loaded, as it can run code."
        )
    if "allow_pickle" in said:
        return DataError(
            f"{name} holds pickled objects, which are never loaded, as they can run "
            "code. Save arrays of numbers, or of text with a fixed width."
        )
    why = " ".join(said.split())[:300] or type(error).__name__
    return DataError(f"{name} can't be read as {what}: {why}")
