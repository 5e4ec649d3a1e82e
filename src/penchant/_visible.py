"""Names from files and folders, in which a terminal may find orders."""

import unicodedata

_ORDERS = {"Cc", "Cs", "Zl", "Zp"}
_TURNS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def visible(text: str) -> str:
    r"""Text whose control characters are shown as they are written in Python.

    Escape codes would colour, clear or retitle the terminal, marks of direction would
    turn a name around. Line ends and tabs are kept.

    >>> print(visible("\x1b[31mred"))
    \x1b[31mred
    """
    if text.isprintable() and not _TURNS.intersection(text):
        return text
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character in "\n\t":
        return character
    if unicodedata.category(character) in _ORDERS or character in _TURNS:
        return character.encode("unicode_escape").decode("ascii")
    return character
