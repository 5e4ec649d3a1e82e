"""The page: pictures, what one can change, and the numbers."""

import dataclasses
import functools
import io
import logging
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import panel

from penchant import NoMarginError
from penchant.explorer import _tables as tables
from penchant.explorer._code import code
from penchant.explorer._compute import Shown, compute
from penchant.explorer._features import SHARE, Features
from penchant.explorer._figure import png, svg
from penchant.explorer._landscapes import Landscape
from penchant.explorer._plots import WIDTH, Bars, Ground, Paths, Plane
from penchant.explorer._presets import PRESETS, Preset
from penchant.explorer._state import (
    DATA,
    LANDSCAPES,
    MOST_POINTS,
    POLARS,
    RULES,
    Point,
    State,
)
from penchant.explorer._weights import Weights
from penchant.explorer._worker import Worker
from penchant.problems import LinearClassification
from penchant.problems.losses import LOSSES
from penchant.training.batching import ORDERS

LADDERS: dict[str, tuple[float, ...]] = {
    "b1": (0.0, 0.1, 0.5, 0.8, 0.9, 0.95, 0.99),
    "b2": (0.0, 0.5, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999),
    "eps": (0.0, *(10.0**-k for k in range(12, 0, -1))),
    "step": (0.001, 0.003, 0.01, 0.02, 0.03, 0.1, 0.3, 1.0, 3.0),
    "power": (0.0, 0.25, 0.3, 0.5, 0.75, 1.0),
    "steps": (10, 30, 100, 300, 1000, 3000, 10_000, 20_000, 40_000, 100_000),
    "batch": (0, 1, 2, 3, 4, 6, 8, 12, 16, 32),
    "noise": (0.0, 0.1, 0.2, 0.5, 1.0),
}
"""Where the sliders stop; a value of an address between them is put in."""

NAMES = {
    "b1": "β₁, or momentum",
    "b2": "β₂",
    "eps": "ε",
    "step": "step size",
    "power": "its exponent",
    "steps": "steps",
    "batch": "batch size",
    "noise": "label noise",
}
VIEWS = {"Two features": "features", "Weights": "weights", "Landscapes": "landscape"}

STYLE = """
:host { --ink: #1b1d22; }
table { border-collapse: collapse; font-size: 14px; color: #1b1d22; }
th, td { text-align: left; padding: 3px 12px 3px 0; border-bottom: 1px solid #d9dce1;
  font-variant-numeric: tabular-nums; }
p, pre, summary { color: #1b1d22; font-size: 14px; max-width: 42rem; margin: 6px 0; }
h1 { color: #1b1d22; font-size: 22px; margin: 4px 0; }
h2 { color: #1b1d22; font-size: 17px; margin: 4px 0; }
pre { overflow-x: auto; white-space: pre; background: #f4f5f7; padding: 8px; }
.wide { overflow-x: auto; }
.alert { color: #7a1f00; background: #fff1ea; padding: 8px; border-radius: 4px; }
a { color: #0b57a4; }
"""

Panes = dict[str, Any]


class Page:
    """One page: its state, and all that shows it.

    Args:
        state: What it shows first.
        given: The classifier that `data="given"` stands for.
        note: A sentence to show above, such as what is wrong with the address.
        wait: Compute at once and not in another thread, where there is no server.
    """

    def __init__(
        self,
        state: State,
        given: LinearClassification | None = None,
        note: str = "",
        wait: bool = False,
    ):
        self.state, self.given = state, given
        self.shown: Shown | None = None
        self.preset: Preset | None = None
        self.label = 1
        self.chosen = 0
        self._quiet = False
        self._wait = wait
        self._document = panel.state.curdoc
        self._worker = Worker(self._work)
        self._make()
        self._say(note)
        self._arrange()
        if self._document is not None and not wait:
            # a browser tells its address once it is there, after what is set before
            panel.state.onload(self._address)
        self.ask()

    # what is on the page

    def _make(self) -> None:
        self.plane = Plane(self.state.points)
        self.paths, self.alignments = Paths(), Paths()
        self.bars = Bars()
        self.ground = Ground((self.state.x, self.state.y))
        html = functools.partial(panel.pane.HTML, stylesheets=[STYLE])
        self.alert = html("", visible=False)
        self.status = html("")
        self.story = html("", visible=False)
        self.numbers = html("")
        self.python = html("")
        self._make_words()
        self._make_ladders()
        self._make_points()
        self._make_exports()
        self.plane.points.on_change("data", self._dragged)
        self.plane.points.selected.on_change("indices", self._picked)
        self.ground.start.on_change("data", self._started)

    def _make_words(self) -> None:
        select = lambda name, options: panel.widgets.Select(
            label=name, options=options, width=200
        )
        data = [d for d in DATA if d != "given" or self.given is not None]
        self.words: Panes = {
            "view": panel.widgets.RadioButtonGroup(label="view", options=VIEWS),
            "rule": select("rule", list(RULES[self.state.view])),
            "order": select("order of samples", list(ORDERS)),
            "polar": select("polar factor", list(POLARS)),
            "loss": select("loss", list(LOSSES)),
            "data": select("data", data),
            "landscape": select("landscape", list(LANDSCAPES)),
            "bias": panel.widgets.Checkbox(label="with a bias"),
        }
        for name, widget in self.words.items():
            widget.value = getattr(self.state, name)
            widget.param.watch(functools.partial(self._changed, name), "value")
        titles = {preset.title: name for name, preset in PRESETS.items()}
        self.presets = panel.widgets.Select(
            label="in ten seconds", options={"choose …": "", **titles}, width=330
        )
        self.presets.param.watch(lambda event: self.open(event.new), "value")
        self.other = panel.widgets.Button(label="", visible=False, width=330)
        self.other.on_click(lambda _: self._turn())

    def _make_ladders(self) -> None:
        self.ladders: Panes = {}
        for name in LADDERS:
            slider = panel.widgets.DiscreteSlider(
                label=NAMES[name],
                options=_stops(name, getattr(self.state, name)),
                value=getattr(self.state, name),
                width=260,
            )
            slider.param.watch(functools.partial(self._changed, name), "value")
            self.ladders[name] = slider
        self.time = panel.widgets.FloatSlider(
            label="along the run", start=0.0, end=1.0, step=0.01, value=self.state.at,
            sizing_mode="stretch_width", max_width=540, show_value=False,
            tooltips=False, margin=(5, 10),
        )  # fmt: skip
        self.time.param.watch(self._moved, "value")

    def _make_points(self) -> None:
        number = functools.partial(panel.widgets.FloatInput, width=90, step=0.1)
        x, y, label = self.state.points[0]
        self.which = panel.widgets.IntInput(
            label="point", value=1, start=1, end=len(self.state.points), width=80
        )
        self.place = {"x": number(label="x", value=x), "y": number(label="y", value=y)}
        button = functools.partial(panel.widgets.Button, width=110)
        self.relabel = button(label="other class")
        self.add = button(label="add a point")
        self.remove = button(label="remove it")
        self.new = panel.widgets.RadioButtonGroup(
            label="a new point is of", options={"class 1": 1, "class −1": -1}, value=1
        )
        self.which.param.watch(lambda event: self._pick(event.new - 1), "value")
        for widget in self.place.values():
            widget.param.watch(lambda _: self._placed(), "value")
        self.relabel.on_click(lambda _: self._relabelled())
        self.add.on_click(lambda _: self._added())
        self.remove.on_click(lambda _: self._removed())
        del label

    def _make_exports(self) -> None:
        save = lambda make, name, label: panel.widgets.FileDownload(
            callback=lambda: io.BytesIO(make()), filename=name, label=label, width=130,
            embed=False,
        )  # fmt: skip
        self.exports = [
            save(lambda: self._drawn(svg), "penchant.svg", "figure, SVG"),
            save(lambda: self._drawn(png), "penchant.png", "figure, PNG"),
            save(lambda: code(self.state).encode(), "penchant.py", "the Python"),
        ]

    def _drawn(self, draw: Callable[[Shown], bytes]) -> bytes:
        if self.shown is None:
            self.shown = compute(self.state, self.given)
        return draw(self.shown)

    def _arrange(self) -> None:
        wrap = {"flex-wrap": "wrap", "gap": "4px 16px"}
        side = {"min-width": "300px", "max-width": "560px", "flex": "1 1 330px"}
        # a page has one figure a view; those of other views are not drawn
        self.picture = panel.Column(styles=side, sizing_mode="stretch_width")
        self.controls = panel.Column(styles={**side, "max-width": "360px"})
        self.root = panel.Column(
            panel.pane.HTML(
                "<h1>Which solution does my optimizer pick?</h1>", stylesheets=[STYLE]
            ),
            self.alert,
            panel.Row(self.words["view"], self.presets, styles=wrap),
            self.story,
            self.other,
            panel.Row(
                self.picture, self.controls, styles=wrap, sizing_mode="stretch_width"
            ),
            panel.Row(*self.exports, styles=wrap),
            self.python,
            sizing_mode="stretch_width",
            styles={"max-width": "1080px", "margin": "0 auto", "padding": "8px"},
        )
        self._lay()

    def _lay(self) -> None:
        """The picture and the controls of the view."""
        view, below = self.state.view, [self.time, self.status, self.numbers]
        plots: list[Any] = {
            "features": [self.plane.plot, *below, self.paths.plot],
            "weights": [
                panel.Row(
                    *(panel.pane.Bokeh(p, width=WIDTH) for p in self.bars.root),
                    styles={"flex-wrap": "wrap", "max-width": "100%"},
                ),
                *below,
                self.paths.plot,
                self.alignments.plot,
            ],
            "landscape": [self.ground.plot, *below],
        }[view]
        self.picture[:] = [_whole(plot) for plot in plots]
        takes = self.state.options
        toy = view == "landscape" and self.state.landscape != "pair"
        sliders = [
            self.ladders[name]
            for name in LADDERS
            if name not in ("b1", "b2", "eps", "noise")
            or name in takes
            or (name == "b1" and "momentum" in takes)
            or (name == "noise" and toy)
        ]
        if toy:  # a single sample, and a loss of its own
            sliders.remove(self.ladders["batch"])
        words = ["rule", *(["polar"] if "polar" in takes else [])]
        words += [] if toy else ["order", "loss"]
        own: list[Any] = {
            "features": [self.words["bias"], *self._points_controls()],
            "weights": [],
            "landscape": [],
        }[view]
        first = {"weights": ["data"], "landscape": ["landscape"]}.get(view, [])
        chosen = [self.words[name] for name in (*first, *words)]
        self.controls[:] = [*chosen, *sliders, *own]

    def _points_controls(self) -> list[Any]:
        wrap = {"flex-wrap": "wrap"}
        return [
            panel.pane.HTML(
                "<p>Drag points, click to add one. Or by keyboard:</p>",
                stylesheets=[STYLE],
            ),
            panel.Row(self.which, *self.place.values(), styles=wrap),
            panel.Row(self.relabel, self.remove, styles=wrap),
            panel.Row(self.add, self.new, styles=wrap),
        ]

    # what one does

    def change(self, **changes: Any) -> None:
        """Another state, if there is such a one; else a sentence."""
        try:
            if changes.get("view", self.state.view) != self.state.view:
                changes = {**_start_of(changes["view"], self.state), **changes}
            state = self.state.but(**changes)
        except ValueError as error:
            self._say(str(error))
            self._echo()
            return
        self._say("")
        self.turn_to(state)

    def turn_to(self, state: State) -> None:
        """Show this state."""
        laid = state.view, state.rule, state.landscape
        new = laid != (self.state.view, self.state.rule, self.state.landscape)
        self.state = state
        self._echo()
        if new:
            self._lay()
        self.ask()

    def open(self, name: str) -> None:
        """Show a preset; nothing for an empty name."""
        self.preset = PRESETS.get(name)
        if self.preset is not None:
            self._say("")
            self._tell()
            self.plane.fit(self.preset.state.points)
            self.turn_to(self.preset.state)
        else:
            self.story.visible = self.other.visible = False

    def _tell(self) -> None:
        assert self.preset is not None
        title, says = escape(self.preset.title), escape(" ".join(self.preset.says))
        self.story.object = f"<h2>{title}</h2><p>{says}</p>"
        self.other.label = f"and with {self.preset.that}?"
        self.story.visible = self.other.visible = True

    def _turn(self) -> None:
        if self.preset is None:
            return
        first = self.state == self.preset.state
        named = self.preset.this if first else self.preset.that
        self.other.label = f"and with {named}?"
        self.turn_to(self.preset.other if first else self.preset.state)

    def _changed(self, name: str, event: Any) -> None:
        if not self._quiet and event.new != getattr(self.state, name):
            self.change(**{name: event.new})

    def _moved(self, event: Any) -> None:
        if self._quiet or event.new == self.state.at:
            return
        self.state = self.state.but(at=float(event.new))
        if self.shown is not None:
            self._draw(self.shown)
        self._address()

    def _dragged(self, _attr: str, _old: Any, _new: Any) -> None:
        if self._quiet:
            return
        points = self.plane.read(self.new.value)
        if points == self.state.points:
            return
        added = len(points) != len(self.state.points)
        try:
            self.state = self.state.but(points=points)
        except ValueError as error:
            self._say(str(error))
            self._echo()
            return
        if added:  # it has no colour yet, or numbers have changed
            self._echo()
        else:
            self._show_place()
        self.ask()

    def _picked(self, _attr: str, _old: Sequence[int], new: Sequence[int]) -> None:
        if new and not self._quiet:
            self._pick(int(new[0]))

    def _pick(self, i: int) -> None:
        if 0 <= i < len(self.state.points):
            self.chosen = i
            self._show_place()

    def _placed(self) -> None:
        x, y = (widget.value for widget in self.place.values())
        if not self._quiet and x is not None and y is not None:
            label = self.state.points[self.chosen][2]
            self._replace((float(x), float(y), label))

    def _relabelled(self) -> None:
        x, y, label = self.state.points[self.chosen]
        self._replace((x, y, -label))

    def _replace(self, point: Point) -> None:
        points = list(self.state.points)
        points[self.chosen] = point
        self.change(points=tuple(points))

    def _added(self) -> None:
        points = self.state.points
        if len(points) < MOST_POINTS:
            self.chosen = len(points)
        self.change(points=(*points, (0.5 * self.new.value, 0.5, self.new.value)))

    def _removed(self) -> None:
        points = list(self.state.points)
        del points[self.chosen]
        self.chosen = max(0, self.chosen - 1)
        self.change(points=tuple(points))

    def _started(self, _attr: str, _old: Any, _new: Any) -> None:
        data: Any = self.ground.start.data
        if self._quiet or not len(data["x"]):
            return
        x, y = (round(float(data[name][0]), 3) for name in ("x", "y"))
        if (x, y) != (self.state.x, self.state.y):
            self.change(x=x, y=y)

    # what follows

    def _echo(self) -> None:
        """Widgets as the state is, without their telling of it."""
        self._quiet = True
        try:
            rules = list(RULES[self.state.view])
            if self.words["rule"].options != rules:
                self.words["rule"].param.update(options=rules, value=self.state.rule)
            for name, widget in self.words.items():
                widget.value = getattr(self.state, name)
            for name, slider in self.ladders.items():
                value = getattr(self.state, name)
                slider.param.update(options=_stops(name, value), value=value)
            self.time.value = self.state.at
            self.chosen = min(self.chosen, len(self.state.points) - 1)
            self.which.end = len(self.state.points)
            if (
                self.plane.read(0) != self.state.points
                or 0 in self.plane.points.data["label"]
            ):
                self.plane.put(self.state.points)
        finally:
            self._quiet = False
        self._show_place()

    def _show_place(self) -> None:
        before, self._quiet = self._quiet, True
        try:
            x, y, _ = self.state.points[self.chosen]
            self.which.value = self.chosen + 1
            self.place["x"].value, self.place["y"].value = x, y
        finally:
            self._quiet = before

    def _say(self, text: str) -> None:
        """A sentence above all, or none."""
        self.alert.object = (
            f'<p class="alert" role="alert">{escape(text)}</p>' if text else ""
        )
        self.alert.visible = bool(text)

    def ask(self) -> None:
        """Have what the state shows computed; pictures follow."""
        self.status.object = '<p role="status">computing …</p>'
        if self._wait:
            self._work(self.state)
        else:
            self._worker.ask(self.state)

    def _work(self, state: State) -> None:
        """Off the server's thread: compute, and hand over."""
        try:
            done = functools.partial(self._done, compute(state, self.given))
        except (NoMarginError, ValueError, TypeError) as error:
            done = functools.partial(self._failed, str(error))
        except Exception:
            logging.getLogger("penchant.explorer").exception("a page's computation")
            done = functools.partial(self._failed, "This could not be computed.")
        if self._document is None or self._wait:
            done()
        else:
            self._document.add_next_tick_callback(done)

    def _done(self, shown: Shown) -> None:
        self.shown = shown
        self._draw(shown)
        self._address()

    def _failed(self, why: str) -> None:
        self.shown = None
        self.status.object = ""
        self._say(why)

    def _draw(self, shown: Shown) -> None:
        at = {"state": shown.state.but(at=self.state.at)}
        self.shown = shown = dataclasses.replace(shown, **at)
        self._quiet = True
        try:
            table = self._draw_view(shown)
        finally:
            self._quiet = False
        self.numbers.object = f'<div class="wide">{table}</div>'
        self.status.object = f'<p role="status">computed in {_spent(shown.seconds)}</p>'
        self.python.object = (
            "<details><summary>The Python that makes it</summary>"
            f"<pre tabindex='0'>{escape(code(self.state))}</pre></details>"
        )

    def _draw_view(self, shown: Shown) -> str:
        if isinstance(shown, Features):
            self.plane.show(shown)
            self.paths.show(shown.steps, *shown.course, shown.record, shown.phases)
            return tables.features(shown)
        if isinstance(shown, Weights):
            if self.bars.show(shown):
                self._lay()
            self.paths.show(shown.steps, SHARE, shown.shares, shown.record)
            self.alignments.show(
                shown.steps, "alignment", shown.alignments, shown.record
            )
            return tables.weights(shown)
        assert isinstance(shown, Landscape)
        self.ground.show(shown)
        return tables.landscape(shown)

    def _address(self) -> None:
        """The address that shows this again."""
        location = panel.state.location
        if location is not None:
            query = self.state.query()
            location.search = f"?{query}" if query else ""


def _stops(name: str, value: float) -> dict[str, Any]:
    """Where a slider stops, in words, with the value among them."""
    stops = sorted({*LADDERS[name], value})
    return {"all" if (name, v) == ("batch", 0) else f"{v:,g}": v for v in stops}


def _start_of(view: str, state: State) -> dict[str, Any]:
    """What another view needs besides: a preset's settings, if these don't fit it."""
    first = next(p.state for p in PRESETS.values() if p.state.view == view)
    return {
        field.name: getattr(first, field.name)
        for field in dataclasses.fields(State)
        if field.name not in ("points", "bias", "view")
    } | {"data": state.data if view == "weights" else first.data}


def _spent(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _whole(plot: Any) -> Any:
    """A figure as wide as its column; what is none as it is."""
    if isinstance(plot, panel.viewable.Viewable):
        return plot
    return panel.pane.Bokeh(plot, sizing_mode=plot.sizing_mode)
