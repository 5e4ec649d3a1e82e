"""What a page shows, as a figure of matplotlib: for a paper, a slide, the gallery."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from penchant import plotting
from penchant._checks import check_instance
from penchant.explorer._compute import Shown
from penchant.explorer._features import Features
from penchant.explorer._landscapes import WINDOWS, Landscape
from penchant.explorer._weights import Weights
from penchant.theory import Regime

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDE, HIGH = 7.2, 4.05
"""Inches of a figure: the sides of a slide."""

SLIDE = 1920
"""Pixels across a slide."""

MINIMISERS = "minimisers"
HUES = {
    MINIMISERS: "#8a8f98",
    "run": "#1b1d22",
    "flow": "#56b4e9",
    "corrected flow": "#0072b2",
    "slow flow": "#d55e00",
}
PHASES = {"throttled": "#fbeedd", "sign-like": "#e4eef8", "below ε": "#e5f3e3"}
"""Colours behind a run, by the phases that theory foretells."""
BASINS = ("none yet", "one limit", "the other")


def figure(shown: Shown) -> "Figure":
    """What was computed, drawn: sixteen to nine, as slides are, but for pictures.

    >>> from penchant.explorer import State, compute, figure
    >>> drawn = figure(compute(State(rule="sign", steps=200)))
    >>> [float(side) for side in drawn.get_size_inches()]
    [7.2, 4.05]

    Args:
        shown: What `compute` returned.

    Raises:
        TypeError: If it is something else.
    """
    check_instance(
        "shown", shown, (Features, Weights, Landscape), "what compute returns"
    )
    if isinstance(shown, Features):
        made = _features(shown)
    elif isinstance(shown, Weights):
        made = _weights(shown)
    else:
        made = _basins(shown) if shown.limits.size else _landscape(shown)
    return made


def svg(shown: Shown) -> bytes:
    """The figure as SVG.

    Raises:
        TypeError: If `shown` is not what `compute` returns.
    """
    return _written(shown, "svg")


def png(shown: Shown) -> bytes:
    """The figure as PNG, 1920 by 1080 pixels, on white.

    Raises:
        TypeError: If `shown` is not what `compute` returns.
    """
    return _written(shown, "png")


def _written(shown: Shown, kind: str) -> bytes:
    stream = io.BytesIO()
    drawn = figure(shown)
    with plotting.house_style():
        more: dict[str, Any] = {"metadata": {"Date": None}} if kind == "svg" else {}
        drawn.savefig(stream, format=kind, dpi=SLIDE / WIDE, facecolor="white", **more)
    return stream.getvalue()


def boundary(w: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Two points of the line on which weights are undecided, beyond a window's edge.

    Weights `(2,)`, or `(3,)` with that of the feature that is 1; NaN where both of the
    first two are 0 and there is no line.
    """
    w = np.asarray(w, dtype=float)
    normal, offset = w[:2], (w[2] if len(w) > 2 else 0.0)
    square = float(normal @ normal)
    if square == 0.0:
        return np.full(2, np.nan), np.full(2, np.nan)
    middle = -offset * normal / square
    along = np.array([-normal[1], normal[0]]) / np.sqrt(square)
    ends = middle + np.outer([-3.0 * reach, 3.0 * reach], along)
    return ends[:, 0], ends[:, 1]


def reach_of(X: np.ndarray) -> float:
    """Half the side of a square window that shows all points."""
    return max(1.0, 1.2 * float(np.abs(X[:, :2]).max()))


def _features(shown: Features) -> "Figure":
    X, y, reach = shown.X, shown.y, reach_of(shown.X)
    lines = {k: boundary(np.asarray(v.weights), reach) for k, v in shown.best.items()}
    if shown.minimiser is not None:
        lines["minimiser"] = boundary(np.asarray(shown.minimiser.weights), reach)
    lines["run"] = boundary(shown.now, reach)
    points = {
        name: tuple(X[y == label, :2].T)
        for name, label in (("class 1", 1), ("class −1", -1))
        if (y == label).any()
    }
    left, right = _panels()
    plotting.plane(
        points, lines, xlabel="first feature", ylabel="second feature",
        low=(-reach, -reach), high=(reach, reach), width=3.6, ax=left,
    )  # fmt: skip
    wrong = X[shown.wrong(shown.now), :2].T
    left.plot(*wrong, "o", markersize=10, markerfacecolor="none", color="#d55e00")
    if shown.shares:
        plotting.ratio_paths(shown.steps, shown.shares, ax=right)
        for begin, end, name, hue in bands(shown.phases, shown.steps):
            right.axvspan(begin, end, color=hue, zorder=0, linewidth=0)
            right.text(begin, 0.01, f" {name}", fontsize="x-small", va="bottom")
    else:
        name, followed = shown.course
        curves = {label: (shown.steps, y) for label, y in followed.items()}
        plotting.curves(curves, xlabel="steps", ylabel=name, ax=right)
        right.legend(frameon=False, fontsize="small")
    return left.figure


def bands(
    phases: Sequence[Regime], steps: np.ndarray
) -> list[tuple[float, float, str, str]]:
    """Of each phase within the steps: where it begins and ends, its name and hue."""
    first, last = float(steps[0]), float(steps[-1])
    return [
        (max(p.start, first), min(p.end, last), p.name, PHASES.get(p.name, "#ffffff"))
        for p in phases
        if p.start < last and p.end > first
    ]


def _panels() -> Any:
    with plotting.house_style():
        from matplotlib.figure import Figure

        return Figure(figsize=(WIDE, HIGH), layout="constrained").subplots(1, 2)


def columns(shown: Weights) -> dict[str, np.ndarray]:
    """The weights of the run and of each optimum, each divided by its largest entry."""
    given = {"run": shown.now}
    given |= {label: np.asarray(one.weights) for label, one in shown.best.items()}
    return {name: w / (np.abs(w).max() or 1.0) for name, w in given.items()}


def pictures(shown: Weights) -> dict[str, np.ndarray] | None:
    """The same as pictures `(k, h, w)`, where samples are images; else None."""
    image = shown.problem.image
    if image is None or len(image) != 2:
        return None
    return {name: w.reshape(-1, *image) for name, w in columns(shown).items()}


def _weights(shown: Weights) -> "Figure":
    drawn = pictures(shown)
    if drawn is not None:
        return plotting.weight_pictures(drawn).figure  # type: ignore[return-value]
    if shown.now.ndim == 2:
        size = (WIDE, HIGH)
        ax = plotting.ratio_paths(shown.steps, shown.shares, size=size)
        return ax.figure  # type: ignore[return-value]
    names = [str(i + 1) for i in range(shown.now.shape[-1])]
    made: Any = plotting.weight_bars(names, columns(shown)).figure
    made.set_size_inches(WIDE, HIGH)
    return made


def _landscape(shown: Landscape) -> "Figure":
    lines = {MINIMISERS: minimisers(shown.state.landscape)}
    lines |= {name: tuple(path.T) for name, path in shown.paths.items()}
    ax = plotting.curves(
        lines,
        points={name: ([x], [y]) for name, (x, y) in shown.spots.items()},
        xlabel="first weight",
        ylabel="second weight",
        logx=False,
        colours=HUES,
        size=(WIDE, HIGH),
    )
    _framed(ax, shown)
    return ax.figure  # type: ignore[return-value]


def _basins(shown: Landscape) -> "Figure":
    kinds = shown.z.astype(int) + 1
    names = {i: BASINS[i] for i in range(len(shown.limits) + 1)}
    ax = plotting.regions(
        shown.x, shown.y, kinds, names,
        xlabel="start: first weight, less that of the second",
        ylabel="start: third weight",
        points={i: tuple(places(shown, i)) for i in names if (kinds == i).any()},
        measured="a run that starts here", size=(WIDE, HIGH),
    )  # fmt: skip
    ax.plot(*shown.paths["run"].T, color=HUES["run"])
    _framed(ax, shown)
    return ax.figure  # type: ignore[return-value]


def places(shown: Landscape, kind: int) -> np.ndarray:
    """The starts `(2, m)` of a kind: 0 for no limit yet, then limit by limit."""
    x, y = np.meshgrid(shown.x, shown.y)
    chosen = shown.z.astype(int) + 1 == kind
    return np.stack([x[chosen], y[chosen]])


def minimisers(landscape: str) -> tuple[np.ndarray, np.ndarray]:
    """Points of the manifold of minimisers: the ellipse, or a branch of the valley."""
    if landscape == "ellipse":
        t = np.linspace(0, 2 * np.pi, 200)
        along, across = 2 * np.cos(t), np.sin(t)
        return (along - across) / 2**0.5, (along + across) / 2**0.5
    x = np.geomspace(0.05, 6.0, 200)
    return x, 0.75 / x


def _framed(ax: Any, shown: Landscape) -> None:
    (left, right), (low, high) = WINDOWS[shown.state.landscape]
    ax.set_xlim(left, right)
    ax.set_ylim(low, high)
    ax.set_aspect("equal")
