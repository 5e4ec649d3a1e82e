from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from penchant.plotting._bars import ratio_bars
from penchant.plotting._style import INK, house_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = 3
"""Panels in a row of a wide figure."""


def ratio_panels(
    labels: Sequence[str],
    panels: Mapping[str, Sequence[float]],
    intervals: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    *,
    quantity: str = "% of the largest margin",
    width: float = 7.2,
) -> "Axes":
    """One panel of bars a rule, on one scale: who takes which norm's margin.

    Args:
        labels: Names of the norms, the same in every panel.
        panels: By the name of a rule, a ratio a norm. Below 0 is drawn as 0.
        intervals: By the name of a rule, an interval a norm, drawn as a whisker.
        quantity: What the bars are.
        width: Of the figure in inches; narrow ones have one panel a row.

    Returns:
        The axes of the first panel; their `figure` has all of them.
    """
    for name, given in (("panels", panels), ("intervals", intervals or {})):
        if not isinstance(given, Mapping) or (given is panels and not given):
            raise TypeError(
                f"{name} must have a name of a rule for each entry; got {given!r:.100}."
            )
    with house_style():
        from matplotlib.figure import Figure

        across = min(ACROSS if width > 5 else 1, len(panels))
        down = -(-len(panels) // across)
        size = (width, down * (0.85 + 0.3 * len(labels)))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(down, across, squeeze=False)
        for ax, (name, ratios) in zip(grid.flat, panels.items(), strict=False):
            ratio_bars(labels, ratios, ax=ax)
            for text in ax.texts:
                text.set_fontweight("normal")
                text.set_fontsize("small")
            ax.set_title(name, fontsize="medium", fontweight="bold")
            ax.set_xlim(0, 145)
            ax.set_xlabel(quantity, fontsize="small")
            for i, (low, high) in enumerate((intervals or {}).get(name, ())):
                place = len(labels) - 1 - i
                ends = 100 * np.clip([low, high], 0.0, None)
                ax.plot(ends, [place, place], color=INK, linewidth=1.2)
        for ax in list(grid.flat)[len(panels) :]:
            ax.set_visible(False)
    return grid[0, 0]
