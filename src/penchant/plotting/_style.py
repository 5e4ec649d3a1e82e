"""One look for every figure: colours that any eye tells apart, and few lines."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from penchant._arrays import numbers
from penchant._types import Numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT, GRID = "#1b1d22", "#6b7078", "#d9dce1"

# Okabe and Ito's palette, which colour-blind readers can tell apart
COLOURS = {
    "ℓ1": "#e69f00",
    "ℓ2": "#0072b2",
    "ℓ∞": "#d55e00",
    "spectral": "#009e73",
    "nuclear": "#cc79a7",
}
OTHERS = ("#56b4e9", "#7f6c00", "#8a8f98")

DASHES = {"ℓ1": (4, 1.5), "nuclear": (1, 1.2), "spectral": (6, 1.5, 1, 1.5)}


def colour(label: str, place: int = 0) -> str:
    """The colour of a norm, the same in every figure."""
    return COLOURS.get(label, OTHERS[place % len(OTHERS)])


@contextlib.contextmanager
def house_style(size: float = 10.0) -> Iterator[None]:
    """Matplotlib's parameters for the block."""
    import matplotlib as mpl

    with mpl.rc_context({
        "font.family": "sans-serif",
        "font.size": size,
        "text.color": INK,
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "lines.linewidth": 1.8,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "svg.fonttype": "none",
        "svg.hashsalt": "penchant",
    }):
        yield


def own_axes(ax: "Axes | None", size: tuple[float, float]) -> "Axes":
    """The axes given, or those of a new figure of this size in inches.

    Raises:
        TypeError: If `ax` is something else.
    """
    if ax is not None:
        if not (hasattr(ax, "plot") and hasattr(ax, "figure")):
            raise TypeError(
                f"ax must be axes of matplotlib; got {ax!r:.100} of type "
                f"{type(ax).__name__}."
            )
        return ax
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained").subplots()


def series(steps: Numbers, **values: Numbers) -> list[np.ndarray]:
    """Arrays of one length, a number a record, in the order given.

    Raises:
        TypeError: If something in them is no number.
        ValueError: If they have not one length, or hold nothing.
    """
    arrays = {name: numbers(name, v) for name, v in {"steps": steps, **values}.items()}
    shape = arrays["steps"].shape
    if len(shape) != 1 or not shape[0]:
        raise ValueError(f"steps must have shape (r,) with r >= 1; got {shape}.")
    for name, array in arrays.items():
        if array.shape != shape:
            raise ValueError(
                f"{name} must have shape {shape}, as steps has; got {array.shape}."
            )
    return list(arrays.values())


def spread(values: list[float], least: float) -> list[float]:
    """The same numbers, moved apart so that neighbours differ by at least `least`."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    placed: list[Any] = list(values)
    for before, after in itertools.pairwise(order):
        placed[after] = max(placed[after], placed[before] + least)
    excess = max((placed[i] for i in order), default=0.0) - max(
        [*values, 1.0], default=1.0
    )
    return [p - max(excess, 0.0) for p in placed] if excess > 0 else placed
