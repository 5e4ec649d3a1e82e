"""What the API pages need to know beyond the sources as they are written.

Docstrings here serve three readers: the terminal, doctest and the site. For the site,
examples become code blocks, keys of `references.bib` become links, and constructors
that equinox makes get the signature that it gives them.
"""

import re
from pathlib import Path

import griffe

_KEY = re.compile(r"`([a-z]+\d{4}[a-z]*)`")
_HIDDEN = ("ClassVar", "AbstractVar", "AbstractClassVar")
_BIBLIOGRAPHY = Path(__file__).parents[2] / "references.bib"


class Docstrings(griffe.Extension):
    """Rewrites docstrings, and gives equinox modules their signature."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: object) -> None:
        """Visit every object once the package is read."""
        del kwargs
        known = set(re.findall(r"^@\w+\{(\w+),", _BIBLIOGRAPHY.read_text(), re.M))
        _visit(pkg, known)


def _visit(scope: griffe.Module | griffe.Class, known: set[str]) -> None:
    for member in list(scope.members.values()):
        if member.is_alias:
            continue
        if member.docstring is not None:
            member.docstring.value = linked(fenced(member.docstring.value), known)
        if isinstance(member, griffe.Class):
            if _is_equinox(member) and "__init__" not in member.members:
                member.set_member("__init__", _constructor(member))
            _visit(member, known)
        elif isinstance(member, griffe.Module):
            _visit(member, known)


def fenced(text: str) -> str:
    """The text with each run of `>>>` lines and their output as a code block."""
    out, inside = [], False
    for line in text.splitlines():
        if not inside and line.startswith(">>>"):
            inside = True
            out.append("```pycon")
        elif inside and not line.strip():
            inside = False
            out.append("```")
        out.append(line)
    return "\n".join([*out, "```"] if inside else out)


def linked(text: str, known: set[str]) -> str:
    """The text with keys of the bibliography as links to the page of references."""

    def link(match: re.Match[str]) -> str:
        key = match[1]
        return f"[`{key}`][{key}]" if key in known else match[0]

    return _KEY.sub(link, text)


def _is_equinox(cls: griffe.Class) -> bool:
    if any(str(base) == "eqx.Module" for base in cls.bases):
        return True
    return any(_is_equinox(base) for base in cls.resolved_bases if base.is_class)


def _constructor(cls: griffe.Class) -> griffe.Function:
    """`__init__` as a dataclass has it; an equinox module is one undecorated."""
    parameters = [
        griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
    ]
    for field in cls.members.values():
        if not isinstance(field, griffe.Attribute) or "property" in field.labels:
            continue
        annotation = str(field.annotation or "")
        if not annotation or any(hidden in annotation for hidden in _HIDDEN):
            continue
        parameters.append(
            griffe.Parameter(
                field.name,
                annotation=field.annotation,
                kind=griffe.ParameterKind.positional_or_keyword,
                default=_default(field.value),
            )
        )
    return griffe.Function(
        "__init__",
        parameters=griffe.Parameters(*parameters),
        returns="None",
        parent=cls,
    )


def _default(value: object) -> object:
    """What stands behind `=`; of `eqx.field(default=…)` the default alone."""
    if isinstance(value, griffe.ExprCall) and str(value.function) == "eqx.field":
        for argument in value.arguments:
            if isinstance(argument, griffe.ExprKeyword) and argument.name == "default":
                return argument.value
        return None
    return value
