from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from penchant._checks import check_instance
from penchant._types import Numbers
from penchant.plotting._style import COLOURS, FAINT, OTHERS, house_style, own_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Series = Mapping[str, tuple[Any, Any]]

ORDER = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", *OTHERS)


def curves(
    lines: Series,
    *,
    xlabel: str,
    ylabel: str,
    points: Series | None = None,
    bands: Series | None = None,
    logx: bool = True,
    logy: bool = False,
    dots: bool = False,
    dashed: Collection[str] = (),
    marks: Mapping[str, float] | None = None,
    levels: Mapping[str, float] | None = None,
    colours: Mapping[str, str] | None = None,
    size: tuple[float, float] = (7.2, 3.4),
    ax: "Axes | None" = None,
) -> "Axes":
    """Curves by name, with what was measured as points of the same colour.

    Args:
        lines: By name, `x` and `y`, broken where `y` is NaN. A norm has its own colour,
            as in every figure.
        xlabel: What `x` is, with its unit.
        ylabel: What `y` is, with its unit.
        points: By name, `x` and `y` of circles; a name that is also a line's has its
            colour, and stands once in the legend.
        bands: By the name of a line, the least and the greatest `y` about it.
        logx: Logarithmic `x`.
        logy: Logarithmic `y`; values that are not positive are left out.
        dots: Draw a dot at every point of a line.
        dashed: Names of lines to break into dashes, where one lies on another.
        marks: Names of `x` to mark with a vertical line.
        levels: Names of `y` to mark with a horizontal line.
        colours: By name, where one is to have the same colour in several figures.
        size: Of a new figure, in inches.
        ax: Draw here instead.
    """
    given = {"lines": lines, "points": points, "bands": bands, "marks": marks}
    for name, value in (given | {"levels": levels, "colours": colours}).items():
        if value is not None:
            check_instance(name, value, Mapping, "a mapping of names")
    points, bands = points or {}, bands or {}
    names = list(dict.fromkeys((*lines, *points)))
    hues = _hues(names, {**COLOURS, **(colours or {})})
    with house_style():
        ax = own_axes(ax, size)
        if logx:
            ax.set_xscale("log")
        if logy:
            ax.set_yscale("log")
        for name in names:
            label: str | None = name
            if name in lines:
                x, y = map(np.asarray, lines[name])
                shown = ~(y <= 0) if logy else np.full(np.shape(y), True)
                ax.plot(
                    x[shown],
                    y[shown],
                    color=hues[name],
                    label=label,
                    linestyle=(0, (4, 2)) if name in dashed else "-",
                    marker="o" if dots else None,
                    markersize=4,
                )
                label = None
            if name in bands:
                low, high = map(np.asarray, bands[name])
                ax.fill_between(
                    np.asarray(lines[name][0]),
                    low,
                    high,
                    where=low > 0 if logy else None,
                    color=hues[name],
                    alpha=0.16,
                    linewidth=0,
                )
            if name in points:
                x, y = map(np.asarray, points[name])
                shown = y > 0 if logy else np.isfinite(y)
                ax.plot(
                    x[shown],
                    y[shown],
                    linestyle="none",
                    marker="o",
                    markersize=5,
                    markerfacecolor="none",
                    markeredgewidth=1.4,
                    color=hues[name],
                    label=label,
                )
        level: dict[str, Any] = {
            "color": FAINT,
            "linewidth": 1,
            "linestyle": (0, (3, 2)),
        }
        for i, (name, at) in enumerate((marks or {}).items()):
            ax.axvline(at, **level)
            height = 0.02 + 0.07 * (i % 3)  # names of marks that are close stay legible
            _note(ax, name, (at, height), ("data", "axes fraction"))
        for name, at in (levels or {}).items():
            ax.axhline(at, **level)
            _note(ax, name, (0.01, at), ("axes fraction", "data"))
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        if names != [""]:
            ax.legend(
                frameon=False,
                fontsize="small",
                loc="center left",
                bbox_to_anchor=(1, 0.5),
            )
    return ax


def _hues(names: Sequence[str], known: Mapping[str, str]) -> dict[str, str]:
    """A colour for every name: its own, or the next that none of them has."""
    own = {name: known[name] for name in names if name in known}
    free = [hue for hue in ORDER if hue not in own.values()] or list(ORDER)
    others = [name for name in names if name not in own]
    return own | {name: free[i % len(free)] for i, name in enumerate(others)}


def _note(
    ax: "Axes", text: str, at: tuple[float, float], coordinates: tuple[str, str]
) -> None:
    ax.annotate(
        text,
        at,
        xycoords=coordinates,
        xytext=(3, 3),
        textcoords="offset points",
        color=FAINT,
        fontsize="small",
    )


def regions(
    x: Numbers,
    y: Numbers,
    kinds: Any,
    names: Mapping[int, str],
    *,
    xlabel: str,
    ylabel: str,
    points: Mapping[int, tuple[Any, Any]] | None = None,
    measured: str = "measured",
    size: tuple[float, float] = (7.2, 4.2),
    ax: "Axes | None" = None,
) -> "Axes":
    """Which of a few kinds each point of a grid is, such as basins of attraction.

    Args:
        x: `(a,)` of the columns.
        y: `(b,)` of the rows.
        kinds: `(b, a)` whole numbers.
        names: What each kind is called.
        xlabel: What `x` is, with its unit.
        ylabel: What `y` is, with its unit.
        points: By kind, `x` and `y` of circles: where it was measured.
        measured: What the circles are, for the legend.
        size: Of a new figure, in inches.
        ax: Draw here instead.
    """
    kinds = np.asarray(kinds)
    check_instance("names", names, Mapping, "a mapping of kinds to their names")
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 1 or y.ndim != 1 or kinds.shape != (len(y), len(x)):
        raise ValueError(
            f"kinds must have a row for each y and a column for each x; got shape "
            f"{kinds.shape}, with x of {x.shape} and y of {y.shape}."
        )
    for name, text in (("xlabel", xlabel), ("ylabel", ylabel)):
        if not isinstance(text, str) or not text:
            raise ValueError(f"{name} must be text; got {text!r}.")
    with house_style():
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        ax = own_axes(ax, size)
        hues = {kind: ORDER[i % len(ORDER)] for i, kind in enumerate(names)}
        handles = []
        for kind, hue in hues.items():
            inside = (kinds == kind).astype(float)
            if inside.any():
                ax.contourf(x, y, inside, levels=[0.5, 1.5], colors=[hue], alpha=0.25)
            handles.append(Patch(facecolor=hue, alpha=0.4, label=names[kind]))
            if points and kind in points:
                ax.plot(
                    *points[kind],
                    linestyle="none",
                    marker="o",
                    markersize=4,
                    markerfacecolor="none",
                    color=hue,
                    clip_on=False,
                )
        if points:
            handles.append(
                Line2D(
                    [],
                    [],
                    linestyle="none",
                    marker="o",
                    markersize=4,
                    markerfacecolor="none",
                    color=FAINT,
                    label=measured,
                )
            )
        ax.grid(visible=False)
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        _legend(ax, handles=handles)
    return ax


def _legend(ax: "Axes", **options: Any) -> None:
    beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    ax.legend(frameon=False, fontsize="small", **beside, **options)
