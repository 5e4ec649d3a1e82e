"""The pictures of a page, in Bokeh: made once, and given new numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import (
    ColumnDataSource,
    CustomJS,
    HoverTool,
    LinearColorMapper,
    PointDrawTool,
    Range1d,
    Span,
)
from bokeh.plotting import figure

from penchant import plotting
from penchant.explorer._features import Features
from penchant.explorer._figure import (
    HUES,
    bands,
    boundary,
    columns,
    minimisers,
    pictures,
    reach_of,
)
from penchant.explorer._landscapes import WINDOWS, Landscape
from penchant.explorer._state import Point
from penchant.explorer._weights import Weights
from penchant.theory import Regime

INK, FAINT, GRID = "#1b1d22", "#6b7078", "#d9dce1"
CLASSES = {1: ("#1b1d22", "circle"), -1: ("#8a3ffc", "triangle")}
LINES = ("ℓ1", "ℓ2", "ℓ∞", "minimiser", "run")
WIDTH = 88
"""Pixels across one picture of weights."""

FOLLOWED = ("ℓ1", "ℓ2", "ℓ∞", "nuclear", "spectral", "run")
BASIN_HUES = ("#d9dce1", "#9ecae9", "#f7c49a")
OFTEN = 60
"""Milliseconds between two messages of a point that is dragged."""

Source = ColumnDataSource


def _frame(**options: Any) -> Any:
    given = {"toolbar_location": None, "tools": "", "sizing_mode": "stretch_width"}
    plot = figure(**{**given, **options})
    plot.outline_line_color = None
    plot.grid.grid_line_color = GRID
    plot.axis.axis_line_color = FAINT
    plot.axis.major_tick_line_color = FAINT
    plot.axis.minor_tick_line_color = None
    plot.axis.major_label_text_color = INK
    plot.axis.axis_label_text_color = INK
    plot.axis.axis_label_text_font_style = "normal"
    plot.axis.axis_label_text_font_size = "13px"
    plot.axis.major_label_text_font_size = "12px"
    return plot


def _legend(plot: Any) -> None:
    plot.add_layout(plot.legend[0], "above")
    plot.legend.orientation = "horizontal"
    plot.legend.border_line_color = None
    plot.legend.label_text_color = INK
    plot.legend.label_text_font_size = "13px"
    plot.legend.ncols = 4
    plot.legend.margin = 0


def hue_of(name: str) -> str:
    """The colour of a norm, as in every figure; of others their own."""
    return {"run": INK, "minimiser": "#56b4e9"}.get(name) or plotting.colour(name)


class Plane:
    """Points that one drags, and lines that move along."""

    def __init__(self, points: tuple[Point, ...]):
        self.points = Source(data=_rows(points))
        reach = reach_of(np.array(points, dtype=float))
        self.x, self.y = (
            Range1d(start=-reach, end=reach),
            Range1d(start=-reach, end=reach),
        )
        self.plot = _frame(
            x_range=self.x,
            y_range=self.y,
            height=430,
            max_width=560,
            x_axis_label="first feature",
            y_axis_label="second feature",
        )
        self.lines = {name: Source(data={"x": [], "y": []}) for name in LINES}
        for name, source in self.lines.items():
            self.plot.line(
                "x",
                "y",
                source=source,
                color=hue_of(name),
                legend_label=name,
                line_width=2.2 if name == "run" else 4,
                line_dash="dashed" if name == "run" else "solid",
            )
        self.wrong = Source(data={"x": [], "y": []})
        self.plot.scatter(
            "x",
            "y",
            source=self.wrong,
            size=20,
            fill_color=None,
            line_color="#d55e00",
            line_width=2,
        )
        drawn = self.plot.scatter(
            "x",
            "y",
            source=self.points,
            size=12,
            marker="marker",
            fill_color="hue",
            line_color="white",
            nonselection_alpha=1.0,
            selection_line_color="#d55e00",
            selection_line_width=2,
        )
        tool = PointDrawTool(renderers=[drawn], add=True, drag=True, empty_value=0)
        self.plot.add_tools(tool)
        self.plot.toolbar.active_drag = tool
        self.plot.toolbar.active_tap = tool
        # the tool tells of a drag at its end; lines are to move along
        self.plot.js_on_event("pan", CustomJS(args={"source": self.points}, code=_TELL))
        _legend(self.plot)

    def read(self, label: int) -> tuple[Point, ...]:
        """The points as they lie now; those just added get this label."""
        data = self.points.data
        return tuple(
            (round(float(x), 4), round(float(y), 4), int(c) or label)
            for x, y, c in zip(data["x"], data["y"], data["label"], strict=True)
        )

    def put(self, points: tuple[Point, ...]) -> None:
        """Lay the points so."""
        self.points.data = _rows(points)

    def fit(self, points: tuple[Point, ...]) -> None:
        """A window that shows all points."""
        reach = reach_of(np.array(points, dtype=float))
        for side in (self.x, self.y):
            side.start, side.end = -reach, reach

    def show(self, shown: Features) -> None:
        """Draw where each classifier draws its line."""
        reach = reach_of(shown.X)
        ways = {name: np.asarray(one.weights) for name, one in shown.best.items()}
        if shown.minimiser is not None:
            ways["minimiser"] = np.asarray(shown.minimiser.weights)
        ways["run"] = shown.now
        for name, source in self.lines.items():
            x, y = boundary(ways[name], reach) if name in ways else ([], [])
            source.data = {"x": x, "y": y}
        for item in self.plot.legend[0].items:
            item.visible = item.label.value in ways
        x, y = shown.X[shown.wrong(shown.now), :2].T
        self.wrong.data = {"x": x, "y": y}


_TELL = f"""
const tell = () => {{
  source.told = Date.now();
  source.waiting = null;
  const data = source.data;
  // the arrays are the same, and have other numbers in them
  const copy = data instanceof Map ? new Map(data) : {{...data}};
  source.setv({{data: copy}}, {{check_eq: false}});
}};
if (Date.now() - (source.told ?? 0) > {OFTEN}) tell();
else source.waiting ??= setTimeout(tell, {OFTEN});
"""


def _rows(points: tuple[Point, ...]) -> dict[str, Any]:
    x, y, label = zip(*points, strict=True)
    hues, markers = zip(*(CLASSES[c] for c in label), strict=True)
    return {
        "x": list(x),
        "y": list(y),
        "label": list(label),
        "hue": list(hues),
        "marker": list(markers),
    }


class Paths:
    """A number a norm along the run, and where the time slider stands."""

    def __init__(self, low: float = 0.0):
        self.plot = _frame(
            height=260,
            x_axis_type="log",
            y_range=Range1d(start=low, end=1.04),
            max_width=560,
            x_axis_label="steps",
        )
        self.lines = {name: Source(data={"x": [], "y": []}) for name in FOLLOWED}
        self.drawn = {
            name: self.plot.line(
                "x",
                "y",
                source=source,
                color=hue_of(name),
                line_width=2.4,
                legend_label=name,
            )
            for name, source in self.lines.items()
        }
        self.bands = Source(data={name: [] for name in ("left", "right", "hue")})
        self.plot.quad(
            left="left",
            right="right",
            bottom=low,
            top=1.04,
            source=self.bands,
            fill_color="hue",
            line_color=None,
            level="underlay",
        )
        self.words = Source(data={name: [] for name in ("left", "name")})
        self.plot.text(
            "left",
            low,
            text="name",
            source=self.words,
            x_offset=4,
            y_offset=-4,
            text_color=INK,
            text_font_size="12px",
        )
        self.now = Span(dimension="height", line_color=FAINT, line_dash="dashed")
        self.plot.add_layout(self.now)
        self.plot.add_tools(HoverTool(tooltips=[("step", "@x"), ("", "@y{0.0000}")]))
        _legend(self.plot)

    def show(
        self,
        steps: np.ndarray,
        title: str,
        values: dict[str, np.ndarray],
        at: int,
        phases: Sequence[Regime] = (),
    ) -> None:
        """Draw these, with the record that the slider stands at, and phases behind."""
        spans = bands(phases, steps)
        left, right, names, hues = zip(*spans, strict=True) if spans else [()] * 4
        self.bands.data = {"left": left, "right": right, "hue": hues}
        self.words.data = {"left": left, "name": names}
        self.plot.yaxis.axis_label = title
        for name, source in self.lines.items():
            y = values.get(name)
            there = y is not None
            source.data = {"x": steps, "y": y} if there else {"x": [], "y": []}
        for item in self.plot.legend[0].items:
            item.visible = item.label.value in values
        self.now.location = float(steps[at])


class Bars:
    """Weights of the run and of each optimum, bars or pictures side by side."""

    def __init__(self):
        self.root: list[Any] = []
        self.sources: dict[str, Source] = {}
        self.shape: tuple[Any, ...] = ()

    def show(self, shown: Weights) -> bool:
        """Draw the weights; whether there are new plots to lay out."""
        drawn = pictures(shown)
        if drawn is not None:
            drawn = {name: np.concatenate(list(w), axis=0) for name, w in drawn.items()}
        elif not shown.problem.binary:
            drawn = columns(shown)
        else:
            drawn = {name: w[:, None] for name, w in columns(shown).items()}
        bars = shown.problem.binary and pictures(shown) is None
        shape = (bars, *drawn, *next(iter(drawn.values())).shape)
        new = shape != self.shape
        if new:
            self.shape = shape
            self._lay(drawn, bars)
        for name, w in drawn.items():
            self.sources[name].data = _bars(w[:, 0]) if bars else {"w": [w[::-1]]}
        return new

    def _lay(self, drawn: dict[str, np.ndarray], bars: bool) -> None:
        self.root, self.sources = [], {}
        for name, w in drawn.items():
            h, k = w.shape
            source = Source(data=_bars(w[:, 0]) if bars else {"w": [w[::-1]]})
            if bars:
                plot = _frame(
                    title=name,
                    height=300,
                    width=WIDTH,
                    sizing_mode="fixed",
                    x_range=Range1d(start=-1.05, end=1.05),
                    y_range=Range1d(start=h + 0.5, end=0.5),
                )
                plot.hbar(
                    y="i", right="w", height=0.8, source=source, color=hue_of(name)
                )
                plot.xaxis.ticker = [-1, 0, 1]
            else:
                plot = _frame(
                    title=name,
                    height=40 + 110 * h // k,
                    width=WIDTH,
                    sizing_mode="fixed",
                    x_range=Range1d(start=0, end=k),
                    y_range=Range1d(start=0, end=h),
                )
                plot.image(
                    "w", x=0, y=0, dw=k, dh=h, source=source, color_mapper=_tints()
                )
                plot.axis.visible = False
            plot.title.text_color = INK
            self.root.append(plot)
            self.sources[name] = source


def _tints() -> LinearColorMapper:
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    tints = LinearSegmentedColormap.from_list("", ["#d55e00", "#ffffff", "#0072b2"])
    palette = [to_hex(c) for c in tints(np.linspace(0, 1, 65))]
    return LinearColorMapper(palette=palette, low=-1, high=1)


def _bars(w: np.ndarray) -> dict[str, Any]:
    return {"i": np.arange(1, len(w) + 1), "w": w}


class Ground:
    """A landscape, the paths on it, and a start that one drags."""

    def __init__(self, start: tuple[float, float]):
        self.x, self.y = Range1d(start=-2, end=2), Range1d(start=-2, end=2)
        self.plot = _frame(
            x_range=self.x,
            y_range=self.y,
            height=460,
            max_width=560,
            x_axis_label="first weight",
            y_axis_label="second weight",
        )
        self.below = Source(data={"z": [], "x": [], "y": [], "dw": [], "dh": []})
        self.loss = self.plot.image(
            "z",
            "x",
            "y",
            "dw",
            "dh",
            source=self.below,
            palette=[f"#{v:02x}{v:02x}{v:02x}" for v in range(214, 256)],
        )
        self.basins = self.plot.image(
            "z",
            "x",
            "y",
            "dw",
            "dh",
            source=self.below,
            color_mapper=LinearColorMapper(
                palette=list(BASIN_HUES), low=-1.5, high=1.5
            ),
        )
        self.lines = {name: Source(data={"x": [], "y": []}) for name in HUES}
        for name, source in self.lines.items():
            self.plot.line(
                "x",
                "y",
                source=source,
                color=HUES[name],
                legend_label=name,
                line_width=4 if name == "minimisers" else 2,
                line_alpha=0.7 if name == "run" else 1.0,
            )
        self.spots = Source(data={"x": [], "y": [], "name": [], "down": []})
        self.plot.scatter(
            "x",
            "y",
            source=self.spots,
            size=13,
            fill_color=None,
            line_color=INK,
            line_width=2,
        )
        self.plot.text(
            "x",
            "y",
            text="name",
            source=self.spots,
            x_offset=-10,
            y_offset="down",
            background_fill_color="white",
            background_fill_alpha=0.8,
            text_color=INK,
            text_font_size="13px",
            text_align="right",
        )
        self.now = Source(data={"x": [], "y": []})
        self.plot.scatter("x", "y", source=self.now, size=11, fill_color=INK)
        self.start = Source(data={"x": [start[0]], "y": [start[1]]})
        drawn = self.plot.scatter(
            "x",
            "y",
            source=self.start,
            size=14,
            fill_color="#009e73",
            line_color="white",
            nonselection_alpha=1.0,
            marker="square",
        )
        tool = PointDrawTool(renderers=[drawn], add=False, drag=True, num_objects=1)
        self.plot.add_tools(tool)
        self.plot.toolbar.active_drag = tool
        self.plot.toolbar.active_tap = tool
        _legend(self.plot)

    def show(self, shown: Landscape) -> None:
        """Draw the landscape and its paths."""
        name, pair = shown.state.landscape, shown.state.landscape == "pair"
        for side, ends in zip((self.x, self.y), WINDOWS[name], strict=True):
            side.start, side.end = ends
        self.loss.visible, self.basins.visible = not pair, pair
        half = [(c[1] - c[0]) / 2 for c in (shown.x, shown.y)]
        self.below.data = {
            "z": [shown.z],
            "x": [shown.x[0] - half[0]],
            "y": [shown.y[0] - half[1]],
            "dw": [np.ptp(shown.x) + 2 * half[0]],
            "dh": [np.ptp(shown.y) + 2 * half[1]],
        }
        drawn = dict(shown.paths)
        if not pair:
            drawn["minimisers"] = np.stack(minimisers(name), axis=1)
        for label, source in self.lines.items():
            path = drawn.get(label, np.zeros((0, 2)))
            source.data = {"x": path[:, 0], "y": path[:, 1]}
        for item in self.plot.legend[0].items:
            item.visible = item.label.value in drawn
        places = np.array(list(shown.spots.values())).reshape(-1, 2)
        self.spots.data = {
            "x": places[:, 0],
            "y": places[:, 1],
            "name": list(shown.spots),
            "down": [26.0 if name == "least tr H" else -9.0 for name in shown.spots],
        }
        path = shown.paths["run"]
        at = min(shown.record, len(path) - 1)
        self.now.data = {"x": [path[at, 0]], "y": [path[at, 1]]}
        self.start.data = {"x": [shown.state.x], "y": [shown.state.y]}
        self.plot.xaxis.axis_label = (
            "start: (first weight − second) / 2" if pair else "first weight"
        )
        self.plot.yaxis.axis_label = "third weight" if pair else "second weight"
