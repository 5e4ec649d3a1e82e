"""Templates into pages that need nothing else to be read, offline too."""

import functools
import importlib.resources
import re
from typing import TYPE_CHECKING, Any

from penchant._checks import check_instance
from penchant.pages._glossary import Glossary, raised
from penchant.pages._numbers import number, percent

if TYPE_CHECKING:
    from jinja2 import Environment


@functools.cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("penchant.pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["number"] = number
    environment.filters["raised"] = raised
    environment.filters["short"] = lambda value: f"{value:z.5g}"
    environment.filters["power"] = lambda value: raised(_power(value))
    return environment


def _power(value: float) -> str:
    """One digit and a power of ten, as in 9 × 10^-7."""
    digit, exponent = f"{value:.0e}".split("e")
    return f"{digit} × 10^{int(exponent)}".removeprefix("1 × ").replace("^-", "^−")


def render(template: str, **context: Any) -> str:
    """A page from one of the templates; what is not marked as safe is escaped.

    A template finds the page's glossary under `words`.

    Raises:
        jinja2.TemplateError: If there is no such template, or it asks for what the
            context lacks.
    """
    check_instance("template", template, str, "a template's name")
    return _environment().get_template(template).render(words=Glossary(), **context)


@functools.cache
def style() -> str:
    """The style sheet of every page."""
    folder = importlib.resources.files("penchant.pages") / "templates"
    return (folder / "style.css").read_text(encoding="utf-8")


def coloured(svg: str) -> str:
    """A picture that is not inside a page, with the page's colours brought along."""
    colours = re.search(r":root \{(.*?)\}", style(), re.DOTALL)
    assert colours is not None
    own = f"<style>svg {{{colours[1]}}} svg text {{ fill: var(--ink); }}</style>"
    return re.sub(r"(<svg\b[^>]*>)", lambda found: found[1] + own, svg, count=1)
