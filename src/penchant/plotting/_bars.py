from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from penchant._words import percent
from penchant.plotting._style import FAINT, colour, house_style, own_axes, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def ratio_bars(
    labels: Sequence[str],
    ratios: Sequence[float],
    lowest: Sequence[float] | None = None,
    *,
    size: tuple[float, float] = (7.2, 2.4),
    ax: "Axes | None" = None,
) -> "Axes":
    """Bars of the share of the largest margin that was reached in each norm, in %.

    Args:
        labels: Names of the norms.
        ratios: Margin reached over the best one found. Below 0 is drawn as 0.
        lowest: Margin reached over the upper bound on the best one; where it differs
            from the ratio visibly, the uncertain part is drawn pale.
        size: Of a new figure, in inches.
        ax: Draw here instead.
    """
    with house_style():
        ax = own_axes(ax, size)
        labels = list(labels)
        order = range(len(labels))
        _, best = series(order, ratios=ratios)
        least = best if lowest is None else series(order, lowest=lowest)[1]
        places = np.arange(len(labels))[::-1]
        for i, (y, label) in enumerate(zip(places, labels, strict=True)):
            hue = colour(label, i)
            sure = 100 * max(least[i], 0.0)
            shown = 100 * max(best[i], 0.0)
            ax.barh(y, shown, height=0.62, color=hue, alpha=0.35, linewidth=0)
            ax.barh(y, min(sure, shown), height=0.62, color=hue, linewidth=0)
            text = "not separated" if best[i] <= 0 else percent(best[i])
            x = _clear(shown + 1, 100)
            ax.text(x, y, text, va="center", fontweight="bold")
        _axes(ax, places, labels, 100, "% of the largest margin in that norm")
    return ax


def alignment_bars(
    labels: Sequence[str],
    alignments: Sequence[float],
    errors: Sequence[float],
    *,
    size: tuple[float, float] = (7.2, 2.4),
    ax: "Axes | None" = None,
) -> "Axes":
    """Bars of how nearly weights are those of least loss for their size, a norm each.

    Args:
        labels: Names of the norms.
        alignments: At most 1, as of `estimators.imitation`. Below 0 is drawn as 0.
        errors: Standard errors, drawn as 95 % intervals.
        size: Of a new figure, in inches.
        ax: Draw here instead.
    """
    with house_style():
        ax = own_axes(ax, size)
        labels = list(labels)
        order = range(len(labels))
        _, values, spread = series(order, alignments=alignments, errors=errors)
        places = np.arange(len(labels))[::-1]
        for i, (y, label) in enumerate(zip(places, labels, strict=True)):
            shown = max(values[i], 0.0)
            ax.barh(y, shown, height=0.62, color=colour(label, i), linewidth=0)
            if spread[i] > 0:
                ax.errorbar(shown, y, xerr=1.96 * spread[i], color=FAINT, capsize=2)
            x = _clear(shown + 1.96 * spread[i] + 0.01, 1)
            ax.text(x, y, f"{values[i]:z.2f}", va="center", fontweight="bold")
        what = "alignment of the weights with the gradient in that norm"
        _axes(ax, places, labels, 1, what)
    return ax


def _clear(end: float, most: float) -> float:
    """Where a number beside a bar begins: past the line at `most` if it would cross."""
    return end if end < 0.9 * most else max(end, 1.01 * most)


def _axes(
    ax: "Axes", places: np.ndarray, labels: Sequence[str], most: float, what: str
) -> None:
    """A name a bar, and a line at the most there can be."""
    ax.axvline(most, color=FAINT, linewidth=1, linestyle=(0, (3, 2)))
    ax.set_yticks(places, list(labels))
    ax.set_xlim(0, 1.14 * most)
    ax.set_xticks([most * quarter for quarter in (0, 0.25, 0.5, 0.75, 1)])
    ax.set_xlabel(what)
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
