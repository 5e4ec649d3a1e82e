"""A result in a notebook: a headline, a few words, numbers and a picture."""

import contextlib
from collections.abc import Callable
from typing import Any

from penchant.pages._render import render


def card(
    headline: str,
    text: str = "",
    numbers: str = "",
    draw: Callable[..., Any] | None = None,
) -> str:
    """HTML of a result for a notebook, with its picture.

    >>> from penchant.pages import card
    >>> "<strong>a &lt; b</strong>" in card("a < b")
    True

    Args:
        headline: What it is, in one line.
        text: What else there is to say.
        numbers: Lines of text in columns.
        draw: Draws the picture, and returns its axes or a figure's; a result that has
            none raises ValueError.
    """
    picture = ""
    if draw is not None:
        from penchant.plotting import themed_svg

        with contextlib.suppress(ValueError):
            picture = themed_svg(draw(), headline)
    return render(
        "card.html.j2", headline=headline, text=text, numbers=numbers, picture=picture
    )
