import io
import re
from typing import TYPE_CHECKING

from penchant.plotting._style import COLOURS, FAINT, GRID, INK, OTHERS, house_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VARIABLES = {
    INK: "ink",
    FAINT: "faint",
    GRID: "grid",
    **{hue: f"c{i}" for i, hue in enumerate((*COLOURS.values(), *OTHERS))},
}
"""Colours of the figures, and the CSS variables a page may set in their place."""


def themed_svg(ax: "Axes", title: str) -> str:
    """The figure of `ax` as an inline SVG element that takes its colours from the page.

    Each colour becomes `var(--name, #hex)`, so that a page can show one figure in a
    light and a dark theme; without such variables it is in its own colours. Text stays
    text. `title` is what a screen reader says.
    """
    if not hasattr(ax, "figure"):
        raise TypeError(f"ax must be axes of matplotlib; got {ax!r:.100}.")
    figure = ax.figure
    stream = io.StringIO()
    with house_style():
        figure.savefig(stream, format="svg", metadata={"Date": None})  # type: ignore[union-attr]
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for hue, name in VARIABLES.items():
        svg = svg.replace(hue, f"var(--{name}, {hue})")
    # text without a colour of its own is black in SVG: on dark paper, unseen
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{_escaped(title)}" ', 1)
    return svg.strip()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
