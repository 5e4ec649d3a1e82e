"""A study's papers, as the bibliography has them."""

import dataclasses
import re

import penchant as pn


@dataclasses.dataclass(frozen=True)
class Paper:
    """One entry of the bibliography: what a reader needs to find it.

    >>> Paper.of("baek2026persample").link
    'https://arxiv.org/abs/2510.26303'
    """

    key: str
    title: str
    authors: tuple[str, ...]
    year: int
    link: str | None

    @classmethod
    def of(cls, key: str) -> "Paper":
        """The paper of a key, read from `references.bib`.

        Raises:
            KeyError: If the bibliography has no such key.
        """
        entry = pn.cite(key)
        people = re.split(r"\s+and\s+", _field(entry, "author"))
        eprint, doi = _field(entry, "eprint"), _field(entry, "doi")
        link = _field(entry, "url") or None
        if doi:
            link = f"https://doi.org/{doi}"
        if eprint:
            link = f"https://arxiv.org/abs/{eprint}"
        authors = tuple(name.split(",")[0] for name in people if name)
        return cls(key, _field(entry, "title"), authors, _year(entry), link)

    def __str__(self) -> str:
        who = ", ".join(self.authors)
        return f"{who} ({self.year}). {self.title}."


def _field(entry: str, name: str) -> str:
    """A field of a BibTeX entry on one line, without braces; empty if there is none."""
    found = re.search(rf"(?ms)^\s*{name}\s*=\s*\{{(.*?)\}},\s*$", entry)
    if found is None:
        return ""
    return re.sub(r"[{}]", "", " ".join(found[1].split()))


def _year(entry: str) -> int:
    return int(_field(entry, "year"))
