import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from penchant._checks import check_instance
from penchant._types import Numbers
from penchant._words import raised
from penchant.plotting._style import (
    DASHES,
    FAINT,
    INK,
    colour,
    house_style,
    own_axes,
    series,
    spread,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def ratio_paths(
    steps: Numbers,
    ratios: Mapping[str, Any],
    proved: Mapping[str, Any] | None = None,
    *,
    marks: Mapping[str, float] | None = None,
    size: tuple[float, float] = (7.2, 3.4),
    ax: "Axes | None" = None,
) -> "Axes":
    """The share of each norm's largest margin along a run, against steps (log).

    Args:
        steps: `(r,)` numbers of steps.
        ratios: By norm, `(r,)` margins reached over the best ones. Below 0 (samples
            still misclassified) is outside the axes.
        proved: By norm, what the run itself proves of that; the band between is shaded.
            Give it for the norm that leads alone: bands of several hide each other.
        marks: Names of steps to mark with a vertical line.
        size: Of a new figure, in inches.
        ax: Draw here instead.
    """
    check_instance("ratios", ratios, Mapping, "a mapping of names to paths")
    given = {label: series(steps, ratio=ratio) for label, ratio in ratios.items()}
    ratios = {label: ratio for label, (_, ratio) in given.items()}
    (steps,) = series(steps)
    with house_style():
        ax = own_axes(ax, size)
        for i, (label, ratio) in enumerate(ratios.items()):
            hue = colour(label, i)
            ratio = np.asarray(ratio)
            line = ax.plot(steps, 100 * ratio, color=hue)[0]
            if label in DASHES:
                line.set_dashes(DASHES[label])
            if proved is not None and label in proved:
                low = np.clip(np.asarray(proved[label]), 0.0, ratio)
                ax.fill_between(
                    steps, 100 * low, 100 * ratio, color=hue, alpha=0.16, linewidth=0
                )
        ends = [100 * float(np.asarray(r)[-1]) for r in ratios.values()]
        shown = [
            (label, end) for label, end in zip(ratios, ends, strict=True) if end > 0
        ]
        heights = spread([end for _, end in shown], 6.5 * 3.4 / size[1])
        for i, ((label, _), height) in enumerate(zip(shown, heights, strict=True)):
            ax.annotate(
                label,
                (1.0, height),
                xycoords=("axes fraction", "data"),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                color=colour(label, i),
                fontweight="bold",
            )
        seen = [steps[np.asarray(r) > 0] for r in ratios.values()]
        first = min((s[0] for s in seen if s.size), default=steps[0])
        shown_steps = steps[steps >= first / 2]
        _steps_axis(ax, shown_steps)
        _mark(ax, marks or {}, shown_steps)
        ax.axhline(100, color=FAINT, linewidth=1, linestyle=(0, (3, 2)))
        ax.set_ylim(0, 106)
        ax.set_ylabel("% of the largest margin")
    return ax


def loss_path(
    steps: Numbers,
    log_loss: Numbers,
    *,
    walls: Mapping[str, float] | None = None,
    size: tuple[float, float] = (7.2, 2.4),
    ax: "Axes | None" = None,
) -> "Axes":
    r"""The training loss along a run, falling: both axes logarithmic.

    Below $10^{-50}$ equal heights are equal factors of the *exponent*, so that a loss
    of $e^{-1000}$ and what came before both have room; ticks say the loss itself.

    Args:
        steps: `(r,)` numbers of steps.
        log_loss: `(r,)` natural logarithms of the mean loss.
        walls: Names of log-losses at which to draw a line.
        size: Of a new figure, in inches.
        ax: Draw here instead.
    """
    steps, log_loss = series(steps, log_loss=log_loss)
    # a loss of e^-1000 is no float: its power of ten is what is drawn
    powers = log_loss / math.log(10.0)
    with house_style():
        ax = own_axes(ax, size)
        ax.plot(steps, powers, color=INK)
        least = float(np.min(powers))
        if least < DEEP:
            ax.set_yscale("symlog", linthresh=1.0)
        ax.set_yticks(*_powers_of_ten(least, float(np.max(powers))))
        ax.minorticks_off()
        ax.set_ylabel("training loss")
        for i, (name, at) in enumerate((walls or {}).items()):
            height, below = at / math.log(10.0), i % 2
            if height > least:
                ax.axhline(height, color=FAINT, linewidth=1, linestyle=(0, (2, 2)))
                ax.annotate(
                    name,
                    (0.01, height),
                    xycoords=("axes fraction", "data"),
                    xytext=(0, -3 if below else 2),
                    textcoords="offset points",
                    va="top" if below else "bottom",
                    fontsize="small",
                )
        _steps_axis(ax, steps)
    return ax


DEEP = -50.0
"""Power of ten of a loss below which its axis is one of exponents."""


def _powers_of_ten(least: float, most: float) -> tuple[list[float], list[str]]:
    """Ticks from the least power of ten to the most, and the losses that they are."""
    low, high = math.floor(least), math.ceil(most)
    if least < DEEP:
        deepest = math.ceil(math.log10(-least))
        down = [-(10**k) for k in range(deepest)]
        return _told([*down[::-1], 0, *([high] if high > 0 else [])])
    if most - least < 1.0:
        # less than a decade: a tick at 1, 2 and 5 of it
        values = [m * 10.0**k for k in range(low, high + 1) for m in (1, 2, 5)]
        near = [v for v in values if least - 0.05 <= math.log10(v) <= most + 0.05]
        if len(near) < 2:
            near = [10.0**least, 10.0**most][: 2 if most > least else 1]
        return [math.log10(v) for v in near], [f"{v:.3g}" for v in near]
    apart = max(1, math.ceil((high - low) / 6))
    return _told(list(range(high, low - 1, -apart)))


def _told(powers: list[int]) -> tuple[list[float], list[str]]:
    names = ["1" if k == 0 else "10" + raised(k) for k in powers]
    return [float(k) for k in powers], names


def excess_path(
    steps: Numbers,
    excess: Numbers,
    *,
    size: tuple[float, float] = (7.2, 2.8),
    ax: "Axes | None" = None,
) -> "Axes":
    """The loss above the least one along a run, in log-log; zeros are left out.

    Args:
        steps: `(r,)` numbers of steps.
        excess: `(r,)` loss minus its minimum.
        size: Of a new figure, in inches.
        ax: Draw here instead.
    """
    steps, excess = series(steps, excess=excess)
    with house_style():
        ax = own_axes(ax, size)
        ax.plot(steps, np.where(excess > 0, excess, np.nan), color=COLOUR)
        ax.set_yscale("log")
        ax.set_ylabel("loss above its minimum")
        _steps_axis(ax, steps)
    return ax


COLOUR = colour("ℓ2")


def _mark(ax: "Axes", marks: Mapping[str, float], steps: np.ndarray) -> None:
    """Names above the axes, each at the line where what it names begins."""
    inside = {n: at for n, at in marks.items() if at < steps[-1]}
    # of what began before the axes do, only the last is still going on
    before = max((at for at in inside.values() if at <= steps[0]), default=None)
    kept = {n: at for n, at in inside.items() if at > steps[0] or at == before}
    for i, (name, at) in enumerate(sorted(kept.items(), key=lambda item: item[1])):
        if at > steps[0]:
            ax.axvline(at, color=FAINT, linewidth=1, linestyle=(0, (2, 2)))
        ax.annotate(
            name,
            (max(at, steps[0]), 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(2, 2 + 11 * (i % 2)),
            textcoords="offset points",
            va="bottom",
            color=INK,
            fontsize="small",
        )


def _steps_axis(ax: "Axes", steps: np.ndarray) -> None:
    # limits first: a run without a step has none that a log scale could show
    low, high = max(int(steps[0]), 1), max(int(steps[-1]), 2)
    ax.set_xlim(low, high)
    ax.set_xscale("log")
    ax.set_xlabel("steps")
    if high / low < 30:
        # too few powers of ten to read: numbers as one writes them
        places = [m * 10**k for k in range(len(str(high))) for m in (1, 2, 5)]
        shown = [place for place in places if low <= place <= high]
        if len(shown) < 3:
            shown = sorted({low, round((low * high) ** 0.5), high})
        ax.set_xticks(shown, [f"{place:,}" for place in shown])
        ax.minorticks_off()
