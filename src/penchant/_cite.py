"""What to cite for a result: entries of the bibliography by their keys."""

import functools
import importlib.resources
import re
from pathlib import Path


def cite(result: object) -> str:
    """BibTeX of the sources of a prediction or diagnosis, or of keys in a text.

    >>> import penchant as pn
    >>> print(pn.cite("soudry2018implicit, Theorem 3").splitlines()[0])
    @article{soudry2018implicit,

    Raises:
        KeyError: If nothing in it is a key of the bibliography.
    """
    prediction = getattr(result, "prediction", None)
    source = getattr(prediction or result, "source", result)
    entries = _entries()
    found = re.findall(r"[a-z]+\d{4}[a-z]*", str(source))
    known = [entries[key] for key in found if key in entries]
    if not known:
        raise KeyError(f"no key of the bibliography in {str(source)!r}")
    return "\n\n".join(known)


@functools.cache
def _entries() -> dict[str, str]:
    """The entries of `references.bib`, by key."""
    packaged = importlib.resources.files("penchant") / "references.bib"
    if packaged.is_file():
        text = packaged.read_text(encoding="utf-8")
    else:  # a checkout, where the file is at the root
        root = Path(__file__).parents[2]
        text = (root / "references.bib").read_text(encoding="utf-8")
    parts = re.split(r"(?m)^(?=@)", text)
    entries = (part.strip() for part in parts if part.startswith("@"))
    return {entry[entry.index("{") + 1 : entry.index(",")]: entry for entry in entries}
