"""What was chosen: weights as pictures or bars, the plane, and samples that flip."""

import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from penchant._arrays import numbers
from penchant._checks import check_instance, check_number
from penchant._types import Numbers
from penchant.plotting._style import (
    DASHES,
    FAINT,
    GRID,
    INK,
    colour,
    house_style,
    own_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOR, AGAINST = (0.16, 0.50, 0.86), (0.90, 0.33, 0.13)
"""Blue and red that stand out from white and from black paper alike."""

NARROW = 5.0
"""Inches below which a figure is for a telephone."""

MARKERS = "o^sDvPX*<>"

GAP = 0.08
"""Between pictures one above the other, in heights of one."""


def weight_pictures(
    columns: Mapping[str, Numbers],
    rows: Sequence[str] = (),
    *,
    under: Mapping[str, Sequence[str]] | None = None,
    ends: tuple[str, str] = ("against", "for"),
    width: float = 7.2,
) -> "Axes":
    """Weights on pixels as pictures, all on one scale from -1 to 1 with 0 clear.

    Positive weights are blue and negative ones red, the fuller the larger; 0 is the
    paper's own colour, light or dark. In colour, mid grey is 0.

    Args:
        columns: By the name of a classifier `(k, h, w)` or `(k, h, w, 3)` weights, a
            picture a class; each in [-1, 1].
        rows: Names of the `k` classes; empty where there is one picture a classifier.
        under: By name, a line under each picture.
        ends: What the two ends of the scale are called.
        width: Of the figure in inches.

    Returns:
        The axes of the first picture; their `figure` has all of them.

    Raises:
        TypeError: If something in them is no number.
        ValueError: If they have not one shape, or a weight is outside [-1, 1].
    """
    check_instance("columns", columns, Mapping, "a mapping of names to weights")
    check_number("width", width, above=0.0, finite=True)
    if not isinstance(ends, (tuple, list)) or len(ends) != 2:
        raise TypeError(f"ends must be two names; got {ends!r:.100}.")
    drawn = {name: numbers("columns", w) for name, w in columns.items()}
    shapes = {w.shape for w in drawn.values()}
    shape = next(iter(shapes), ())
    if len(shapes) != 1 or not (len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)):
        raise ValueError(
            "columns must have one shape, (k, h, w) or (k, h, w, 3); got "
            f"{sorted(shapes) or 'none'}."
        )
    k, h, w = shape[:3]
    if 0 in shape or (rows and len(rows) != k):
        raise ValueError(f"rows must be {k} names, one a picture; got {len(rows)}.")
    for array in drawn.values():
        check_number("columns", array, least=-1.0 - 1e-9, most=1.0 + 1e-9)
    cells = [
        (name, i) for i in range(k) for name in drawn
    ]  # class by class, a classifier a column
    across = len(drawn)
    if k == 1:
        most = 5 if width > NARROW else 3
        across = min(across, 2 if len(drawn) == 4 and width <= NARROW else most)
    down = -(-len(cells) // across)
    with house_style(9.0 if width > NARROW else 8.0):
        left = 0.45 if rows else 0.05
        side = (width - left) / across - 0.08
        side = min(side, 1.75 if k < 4 else 0.75)  # of many classes, the page is long
        lines = 1 if under else 0
        titled = down if k == 1 else 1
        height = (
            down * (side * h / w + 0.06 + 0.2 * lines)
            + titled * _lines_of(drawn, side) * 0.17
            + 0.6
        )
        figure = _figure((width, height))
        ratios = [1.0] * down + [0.1 / max(side * h / w, 0.1)]
        grid = figure.add_gridspec(down + 1, across, height_ratios=ratios)
        first: Any = None
        if k > 1 and not under:
            for c, (name, pictures) in enumerate(drawn.items()):
                ax = figure.add_subplot(grid[:down, c])
                first = ax if first is None else first
                _stack(ax, pictures, rows if c == 0 else ())
                ax.set_title(_wrapped(name, side), fontsize="medium", pad=3)
            cells = []
        for place, (name, i) in enumerate(cells):
            r, c = divmod(place, across)
            ax = figure.add_subplot(grid[r, c])
            first = ax if first is None else first
            ax.imshow(_tinted(drawn[name][i]), interpolation="none", aspect="equal")
            _bare(ax)
            if k == 1 or i == 0:
                ax.set_title(_wrapped(name, side), fontsize="medium", pad=3)
            if rows and c == 0:
                ax.set_ylabel(rows[i], rotation=0, ha="right", va="center")
            if under and name in under:
                ax.set_xlabel(under[name][i], fontsize="small", labelpad=2)
        if len(shape) == 3:
            bar = figure.add_subplot(grid[down, :])
            scale = np.linspace(-1.0, 1.0, 65)[None, :]
            bar.imshow(
                _tinted(scale),
                extent=(-1, 1, 0, 1),
                aspect="auto",
                interpolation="none",
            )
            _bare(bar)
            bar.set_xticks([-1, 0, 1], [f"{ends[0]} (−1)", "0", f"{ends[1]} (+1)"])
            for text, where in zip(
                bar.get_xticklabels(), ("left", "center", "right"), strict=True
            ):
                text.set_horizontalalignment(where)
            bar.tick_params(axis="x", length=0, labelsize="small")
    return first


def weight_bars(
    labels: Sequence[str],
    columns: Mapping[str, Numbers],
    *,
    runs: Collection[str] = ("run",),
    width: float = 7.2,
) -> "Axes":
    """Weights by name, a panel of bars a classifier, all from -1 to 1.

    Args:
        labels: Names of the weights, from the top down.
        columns: By the name of a classifier, a weight each in [-1, 1].
        runs: Names that are those of runs; the others are norms with their colours.
        width: Of the figure in inches.

    Returns:
        The axes of the first panel; their `figure` has all of them.

    Raises:
        TypeError: If something in them is no number.
        ValueError: If there is not one weight a name, or one is outside [-1, 1].
    """
    check_instance("columns", columns, Mapping, "a mapping of names to weights")
    check_instance("labels", labels, Sequence, "a sequence of names")
    check_number("width", width, above=0.0, finite=True)
    drawn = {name: numbers("columns", w) for name, w in columns.items()}
    count = len(labels)
    if not drawn or not count:
        raise ValueError("columns and labels must hold something; got none.")
    for name, array in drawn.items():
        if array.shape != (count,):
            raise ValueError(
                f"columns must hold {count} weights each, one a label; {name!r} has "
                f"shape {array.shape}."
            )
        check_number("columns", array, least=-1.0 - 1e-9, most=1.0 + 1e-9)
    wide = width > NARROW
    shown = [_elided(str(text), 30 if wide else 18) for text in labels]
    across = len(drawn) if wide or len(drawn) <= 3 else -(-len(drawn) // 2)
    down = -(-len(drawn) // across)
    with house_style(9.0 if wide else 8.0):
        figure = _figure((width, down * (0.65 + 0.2 * count)))
        grid = figure.subplots(down, across, squeeze=False, sharey=True)
        places = np.arange(count)[::-1]
        for ax, (i, (name, values)) in zip(
            grid.flat, enumerate(drawn.items()), strict=False
        ):
            hue = INK if name in runs else colour(name, i)
            ax.barh(places, values, height=0.66, color=hue, linewidth=0)
            ax.axvline(0.0, color=FAINT, linewidth=0.8)
            side = width / across - 0.1
            ax.set_title(_wrapped(name, side), fontsize="medium", pad=3)
            ax.set_xlim(-1.06, 1.06)
            ax.set_xticks([-1, 0, 1], ["−1", "0", "1"])
            ax.set_yticks(places, shown)
            ax.set_ylim(-0.6, count - 0.4)
            ax.grid(visible=False, axis="y")
            ax.tick_params(axis="both", length=0, labelsize="small")
            for spine in ax.spines.values():
                spine.set_visible(False)
        for ax in list(grid.flat)[len(drawn) :]:
            ax.set_visible(False)
        figure.supxlabel("weight / largest weight of the column", fontsize="small")
    return grid[0, 0]


def sample_pictures(
    images: Numbers,
    titles: Sequence[str],
    under: Sequence[Sequence[str]] = (),
    *,
    width: float = 7.2,
) -> "Axes":
    """Samples as pictures, each with what it is above and what was said below.

    Args:
        images: `(m, h, w)` or `(m, h, w, 3)`; each is drawn from its least to its
            greatest value, grey ones with the greatest darkest.
        titles: `m` lines above.
        under: `m` lists of lines below.
        width: Of the figure in inches.

    Returns:
        The axes of the first picture; their `figure` has all of them.

    Raises:
        TypeError: If `images` holds no numbers.
        ValueError: If the shape is another, or there is not one title an image.
    """
    shown = numbers("images", images)
    check_number("width", width, above=0.0, finite=True)
    fits = shown.ndim == 3 or (shown.ndim == 4 and shown.shape[3] == 3)
    if not fits or 0 in shown.shape:
        raise ValueError(
            f"images must have shape (m, h, w) or (m, h, w, 3); got {shown.shape}."
        )
    m, h, w = shown.shape[:3]
    for name, lines in (("titles", titles), ("under", under or titles)):
        check_instance(name, lines, Sequence, "a sequence of lines")
        if len(lines) != m:
            raise ValueError(
                f"{name} must be {m}, one an image; got {len(lines)} of them."
            )
    across = min(m, 6 if width > NARROW else 3)
    down = -(-m // across)
    with house_style(8.5 if width > NARROW else 8.0):
        slot = width / (6 if width > NARROW else 3)
        room = int(slot / 0.072)
        texts = [
            "\n".join(
                line
                for part in parts
                for line in textwrap.wrap(str(part), room) or [""]
            )
            for parts in under
        ]
        lines = max((text.count("\n") + 1 for text in texts), default=0)
        side = slot - 0.3
        height = down * (side * h / w + 0.3 + 0.16 * lines)
        figure = _figure((slot * across, height))
        grid = figure.subplots(down, across, squeeze=False)
        for i, ax in enumerate(grid.flat):
            if i >= m:
                ax.set_visible(False)
                continue
            image = shown[i]
            low, high = float(image.min()), float(image.max())
            scaled = (image - low) / (high - low if high > low else 1.0)
            ax.imshow(
                scaled,
                cmap="Greys",
                vmin=0,
                vmax=1,
                interpolation="none",
                aspect="equal",
            )
            _bare(ax)
            ax.set_title(titles[i], fontsize="small", pad=3)
            if texts:
                ax.set_xlabel(texts[i], fontsize="small", labelpad=3)
    return grid[0, 0]


def plane(
    points: Mapping[str, tuple[Any, Any]],
    lines: Mapping[str, tuple[Any, Any]],
    *,
    xlabel: str,
    ylabel: str,
    held: Mapping[str, tuple[Any, Any]] | None = None,
    runs: Collection[str] = ("run",),
    low: Sequence[float] | None = None,
    high: Sequence[float] | None = None,
    width: float = 7.2,
    ax: "Axes | None" = None,
) -> "Axes":
    """Samples of two features by class, and where each classifier draws the line.

    Norms have their colours. Runs are dashed in ink and lie on top, so that the norm
    whose line a run has is seen below it.

    Args:
        points: By the name of a class, `x` and `y` of its samples.
        lines: By the name of a classifier, `x` and `y` of its boundary.
        xlabel: What `x` is.
        ylabel: What `y` is.
        held: As `points`, of samples held out; they are hollow.
        runs: Names that are those of runs.
        low: The lower ends of both axes.
        high: The upper ends.
        width: Of a new figure in inches.
        ax: Draw here instead.

    Raises:
        TypeError: If points or lines are no mappings, or hold no numbers.
        ValueError: If `x` and `y` have not one length.
    """
    for name, value in (("points", points), ("lines", lines), ("held", held or {})):
        check_instance(name, value, Mapping, "a mapping of names")
    check_number("width", width, above=0.0, finite=True)
    window = [
        None if side is None else numbers("low, high", side) for side in (low, high)
    ]
    for side in window:
        if side is not None and side.shape != (2,):
            raise ValueError(
                f"low and high must hold two numbers each; got shape {side.shape}."
            )
    wide = width > NARROW
    marks = {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(points)}
    with house_style(10.0 if wide else 8.5):
        ax = own_axes(ax, (width, 4.6 if wide else 4.2))
        for name, given in points.items():
            x, y = _pair("points", given)
            style: Any = {"linestyle": "none", "marker": marks[name], "color": FAINT}
            ax.plot(x, y, markersize=4.5, alpha=0.85, markeredgewidth=0, **style)
            ax.plot([], [], markersize=5, label=name, **style)
        for name, given in (held or {}).items():
            x, y = _pair("held", given)
            ax.plot(
                x,
                y,
                linestyle="none",
                marker=marks.get(name, "o"),
                markersize=4.5,
                markerfacecolor="none",
                markeredgewidth=1.0,
                color=FAINT,
            )
        if held:
            ax.plot(
                [],
                [],
                linestyle="none",
                marker="o",
                markerfacecolor="none",
                color=FAINT,
                label="held out",
            )
        of_runs = [name for name in lines if name in runs]
        for i, name in enumerate([n for n in lines if n not in runs]):
            x, y = _pair("lines", lines[name])
            line = ax.plot(x, y, color=colour(name, i), linewidth=3.2, label=name)[0]
            if name in DASHES and len(lines) > 4:
                line.set_dashes(DASHES[name])
        for i, name in enumerate(of_runs):
            x, y = _pair("lines", lines[name])
            hue, dash = INK, (0, (4 + 3 * i, 3))
            ax.plot(x, y, color=hue, linewidth=1.7, linestyle=dash, label=name)
        if low is not None and high is not None:
            ax.set_xlim(low[0], high[0])
            ax.set_ylim(low[1], high[1])
            sides = np.subtract(high, low)
            if sides.max() <= 4.0 * sides.min():  # distances are then what they seem
                ax.set_aspect("equal")
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        where: Any = (
            {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
            if wide
            else {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 3}
        )
        ax.legend(frameon=False, fontsize="small", **where)
    return ax


def interval_dots(
    labels: Sequence[str],
    values: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    *,
    xlabel: str,
    runs: Collection[str] = ("run",),
    size: tuple[float, float] = (7.2, 2.4),
    ax: "Axes | None" = None,
) -> "Axes":
    """Shares with their intervals, one a line, in %; the axis spans the intervals.

    Args:
        labels: Names, from the top down.
        values: Shares, from 0 to 1.
        intervals: The lower and upper end of each.
        xlabel: What they are.
        runs: Names that are those of runs; the others are norms with their colours.
        size: Of a new figure, in inches.
        ax: Draw here instead.

    Raises:
        TypeError: If something in them is no number.
        ValueError: If there is not one a label.
    """
    shares, ends = numbers("values", values), numbers("intervals", intervals)
    check_instance("labels", labels, Sequence, "a sequence of names")
    count = len(labels)
    if shares.shape != (count,) or ends.shape != (count, 2) or not count:
        raise ValueError(
            f"values and intervals must have shapes ({count},) and ({count}, 2), one a "
            f"label; got {shares.shape} and {ends.shape}."
        )
    with house_style():
        ax = own_axes(ax, size)
        places = np.arange(count)[::-1]
        for i, (label, place) in enumerate(zip(labels, places, strict=True)):
            hue = INK if label in runs else colour(label, i)
            ax.plot(100 * ends[i], [place, place], color=hue, linewidth=2)
            ax.plot(100 * shares[i], place, marker="o", markersize=7, color=hue)
            ax.annotate(
                f"{100 * shares[i]:.1f} %",
                (100 * ends[i, 1], place),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontweight="bold",
            )
        low, high = 100 * float(ends.min()), 100 * float(ends.max())
        room = max(high - low, 1.0)
        ax.set_xlim(
            low - 0.05 * room, high + (0.22 if size[0] > NARROW else 0.4) * room
        )
        ticks = [t for t in ax.get_xticks() if t <= 100 and t >= low - 0.05 * room]
        ax.set_xticks(ticks)
        ax.set_yticks(places, [str(label) for label in labels])
        ax.set_ylim(-0.6, count - 0.4)
        ax.set_xlabel(xlabel)
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0)
    return ax


def _figure(size: tuple[float, float]) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _stack(ax: Any, pictures: np.ndarray, rows: Sequence[str]) -> None:
    """Pictures one above the other in one axes, which halves the time of the figure.

    Of axes each their own, most of the time goes into the layout.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    k, h, w = pictures.shape[:3]
    pitch = h * (1.0 + GAP)
    tops = pitch * np.arange(k)
    for top, picture in zip(tops, pictures, strict=True):
        ax.imshow(_tinted(picture), extent=(0, w, top + h, top), interpolation="none")
    frames = [Rectangle((0, top), w, h) for top in tops]
    ax.add_collection(
        PatchCollection(frames, facecolor="none", edgecolor=GRID, linewidth=0.8)
    )
    ax.set(xlim=(-0.02 * w, 1.02 * w), ylim=(tops[-1] + h * 1.02, -0.02 * h))
    ax.set_aspect("equal")
    _bare(ax)
    ax.spines[:].set_visible(False)
    if rows:
        ax.set_yticks(tops + h / 2, rows)
        ax.tick_params(axis="y", length=0, labelcolor=INK, labelsize="medium")


def _bare(ax: Any) -> None:
    """A picture has a frame and no axes."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set_color(GRID)
        spine.set_linewidth(0.8)


def _tinted(values: np.ndarray) -> np.ndarray:
    """`(h, w)` as red, clear and blue; `(h, w, 3)` as colours about mid grey."""
    if values.ndim == 3:
        return np.clip(0.5 + 0.5 * values, 0.0, 1.0)
    strength = np.clip(np.abs(values), 0.0, 1.0)
    hue = np.where((values > 0)[..., None], FOR, AGAINST)
    return np.concatenate([hue, strength[..., None]], axis=-1)


def _wrapped(name: str, inches: float) -> str:
    """A title in lines that are no wider than its panel."""
    room = max(int(inches / 0.07), 8)
    if len(str(name)) <= room:
        return str(name)
    return "\n".join(textwrap.wrap(str(name).replace(",", ", "), room))


def _elided(text: str, most: int) -> str:
    """Both ends of a long text: a feature's first letters, and its class."""
    tail = most // 2
    return text if len(text) <= most else f"{text[: most - tail - 1]}…{text[-tail:]}"


def _lines_of(names: Collection[str], inches: float) -> int:
    return max(_wrapped(name, inches).count("\n") + 1 for name in names)


def _pair(name: str, given: Any) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise TypeError(f"{name} must hold pairs of x and y; got {given!r:.100}.")
    x, y = (numbers(name, part) for part in given)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(
            f"{name} must hold x and y of one length; got {x.shape} and {y.shape}."
        )
    return x, y
