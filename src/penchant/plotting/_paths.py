import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from penchant._checks import check_instance
from penchant._types import Numbers
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
            if proved is not None:
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
        for name, step in (marks or {}).items():
            if steps[0] < step < steps[-1]:
                ax.axvline(step, color=FAINT, linewidth=1, linestyle=(0, (2, 2)))
                ax.annotate(
                    name,
                    (step, 0.02),
                    xycoords=("data", "axes fraction"),
                    xytext=(3, 0),
                    textcoords="offset points",
                    color=INK,
                    fontsize="small",
                )
        seen = [steps[np.asarray(r) > 0] for r in ratios.values()]
        first = min((s[0] for s in seen if s.size), default=steps[0])
        _steps_axis(ax, steps[steps >= first / 2])
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
    """The training loss along a run: in log-log, or log₁₀(1/loss) once it is tiny.

    Args:
        steps: `(r,)` numbers of steps.
        log_loss: `(r,)` natural logarithms of the mean loss.
        walls: Names of log-losses at which to draw a line.
        size: Of a new figure, in inches.
        ax: Draw here instead.
    """
    steps, log_loss = series(steps, log_loss=log_loss)
    decades = -log_loss / math.log(10.0)
    with house_style():
        ax = own_axes(ax, size)
        if decades[-1] > 8:
            kept = decades > 0
            ax.plot(steps[kept], decades[kept], color=INK)
            ax.set_yscale("log")
            ax.set_ylabel("log₁₀(1 / loss)")
            for name, at in (walls or {}).items():
                height = -at / math.log(10.0)
                if height < decades[-1]:
                    ax.axhline(height, color=FAINT, linewidth=1, linestyle=(0, (2, 2)))
                    ax.annotate(
                        name,
                        (0.005, height),
                        xycoords=("axes fraction", "data"),
                        xytext=(0, 2),
                        textcoords="offset points",
                        fontsize="small",
                    )
        else:
            ax.plot(steps, np.exp(log_loss), color=INK)
            ax.set_yscale("log")
            ax.set_ylabel("training loss")
        _steps_axis(ax, steps)
    return ax


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


def _steps_axis(ax: "Axes", steps: np.ndarray) -> None:
    # limits first: a run without a step has none that a log scale could show
    ax.set_xlim(max(int(steps[0]), 1), max(int(steps[-1]), 2))
    ax.set_xscale("log")
    ax.set_xlabel("steps")
