"""The page of a reading, and its small multiples."""

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from penchant import pages, plotting
from penchant.diagnosis._figures import NARROW
from penchant.diagnosis.probe._findings import lags
from penchant.diagnosis.probe._recording import Recording
from penchant.flows.modified import LEVELS, VALID

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from penchant.diagnosis.probe._reading import Reading

Draw = Callable[["Axes"], Any]

GROUPS = 4
"""Most groups that one panel draws; of more the largest."""


@dataclasses.dataclass(frozen=True)
class Panel:
    """A small multiple: what it is, and its lines."""

    title: str
    ylabel: str
    lines: dict[str, tuple[Any, Any]]
    bands: dict[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    levels: dict[str, float] = dataclasses.field(default_factory=dict)
    logy: bool = True


def panels(seen: Recording, width: float) -> "Axes":
    """All panels in one figure.

    Raises:
        ValueError: If nothing was recorded.
    """
    found = all_panels(seen)
    if not found:
        raise ValueError("the recording must have records to draw; it has none.")
    with plotting.house_style(8.5):
        from matplotlib.figure import Figure

        across = 2 if width > 5 else 1
        down = -(-len(found) // across)
        figure = Figure(figsize=(width, 2.25 * down), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False)
        for ax, panel in zip(grid.flat, found, strict=False):
            draw(ax, panel)
        for ax in list(grid.flat)[len(found) :]:
            ax.set_visible(False)
    return grid[0, 0]


def _alone(panel: Panel) -> str:
    """A panel as a picture of its own: pages lay them out in columns."""
    with plotting.house_style(8.5):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(NARROW, 2.25), layout="constrained")
        ax = figure.subplots()
        draw(ax, panel)
    return plotting.themed_svg(ax, f"{panel.title}: {panel.ylabel}")


def draw(ax: "Axes", panel: Panel) -> None:
    """A panel on its axes."""
    drawn = {
        name: (np.asarray(x, float), np.asarray(y, float))
        for name, (x, y) in panel.lines.items()
    }
    positive = any(np.any(y > 0) for _, y in drawn.values())
    bands = panel.bands
    if panel.logy and positive:
        # a band that reaches 0 has no lower end on a logarithmic axis
        least = 0.1 * min(
            float(np.min(y[y > 0], initial=np.inf)) for _, y in drawn.values()
        )
        bands = {k: (np.maximum(low, least), high) for k, (low, high) in bands.items()}
    plotting.curves(
        drawn,
        bands=bands or None,
        levels={k: v for k, v in panel.levels.items() if math.isfinite(v)} or None,
        xlabel="step",
        ylabel=panel.ylabel,
        logy=panel.logy and positive,
        dots=all(len(x) < 12 for x, _ in drawn.values()),
        ax=ax,
    )
    from matplotlib.ticker import NullLocator

    ax.xaxis.set_minor_locator(NullLocator())
    low, high = ax.get_ylim()
    if ax.get_yscale() == "log" and high > 30 * low:
        ax.yaxis.set_minor_locator(NullLocator())
    ax.set_title(panel.title, fontsize="medium", loc="left")
    legend = ax.get_legend()
    if legend is not None:
        legend.remove()
    if list(drawn) != [""]:
        ax.legend(frameon=False, fontsize="x-small", ncols=2, loc="best")


def all_panels(seen: Recording) -> list[Panel]:
    """Those that the records have something for."""
    found: list[Panel | None] = []
    for side in seen.run.get("sides", [None]):
        of = "" if side is None else f" ({side})"
        found += [
            _loss(seen, side, of),
            _edge(seen, side, of),
            _sharpness(seen, side, of),
            _stale(seen, side, of),
            _validity(seen, side, of),
            _margins(seen, side, of),
        ]
    found += [
        _groups(seen, "applied_decay", "Weight decay applied", "λ"),
        _groups(seen, "swallowed", "Steps swallowed by rounding", "share", logy=False),
        _groups(seen, "signal", "Signal: |m̂|/(√v̂ + ε)", "1: no noise"),
        _groups(seen, "throttled", "Below ε", "share of weights", logy=False),
        _groups(seen, "spread", "Spread of √v̂", "90 over 10 %"),
        _groups(seen, "step_rms", "Size of a step", "root mean square"),
    ]
    return [panel for panel in found if panel is not None]


def _line(
    seen: Recording, name: str, group: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    steps, values, errors = seen.series(name, group)
    return (np.maximum(steps, 1), values, errors) if steps.size else None


def _loss(seen: Recording, side: str | None, of: str) -> Panel | None:
    found = _line(seen, "loss", side)
    if found is None:
        return None
    x, y, e = found
    e = np.nan_to_num(e)
    return Panel(
        f"Loss on the probe set{of}", "loss", {"": (x, y)}, {"": (y - e, y + e)}
    )


def _edge(seen: Recording, side: str | None, of: str) -> Panel | None:
    found, level = _line(seen, "largest", side), _line(seen, "threshold", side)
    if found is None:
        return None
    x, high, wide = found
    low = high - wide
    if level is None:
        return Panel(f"Largest curvature{of}", "λ₁", {"": (x, high)}, {"": (low, high)})
    at = np.interp(x, level[0], level[1])
    return Panel(
        f"Curvature over the edge's{of}",
        "λ₁ / threshold",
        {"": (x, high / at)},
        {"": (low / at, high / at)},
        {"edge": 1.0},
    )


def _sharpness(seen: Recording, side: str | None, of: str) -> Panel | None:
    lines, bands = {}, {}
    for name, words in (("trace", "tr G"), ("root_trace", "tr Diag(G)^½")):
        found = _line(seen, name, side)
        if found is not None:
            x, y, e = found
            lines[words] = (x, y)
            bands[words] = (y - 2 * e, y + 2 * e)
    return Panel(f"Which sharpness{of}", "± 2 s.e.", lines, bands) if lines else None


def _stale(seen: Recording, side: str | None, of: str) -> Panel | None:
    lines = {}
    for lag in lags(seen, side):
        found = _line(seen, f"stale_{lag}", side)
        if found is not None:
            lines[f"{lag}"] = found[:2]
    if not lines:
        return None
    return Panel(
        f"A gradient has changed, by lag{of}", "of itself", lines, {}, {"stale": 0.5}
    )


def _validity(seen: Recording, side: str | None, of: str) -> Panel | None:
    rows = {
        line["step"]: line["validity"]
        for line in seen.records
        if line["group"] == side and isinstance(line.get("validity"), list)
    }
    rows = {s: v for s, v in rows.items() if None not in v}
    if not rows:
        return None
    steps = sorted(rows)
    table = np.array([rows[s] for s in steps])
    middle = LEVELS.index(0.5)
    return Panel(
        f"Validity of memory's correction{of}",
        "V, 5 to 95 %",
        {"": (steps, table[:, middle])},
        {"": (table[:, 0], table[:, -1])},
        {f"{VALID}": VALID},
    )


def _margins(seen: Recording, side: str | None, of: str) -> Panel | None:
    rows = {
        line["step"]: (line["margin_least"], line["margins"])
        for line in seen.records
        if line["group"] == side and isinstance(line.get("margins"), list)
    }
    if not rows:
        return None
    steps = sorted(rows)
    table = np.array([rows[s][1] for s in steps], float)
    least = [rows[s][0] for s in steps]
    return Panel(
        f"Margins of the probe set{of}",
        "margin",
        {"median": (steps, table[:, 2]), "least": (steps, least)},
        {"median": (table[:, 0], table[:, -1])},
        {"0": 0.0},
        logy=False,
    )


def _groups(
    seen: Recording, name: str, title: str, ylabel: str, *, logy: bool = True
) -> Panel | None:
    sizes = {g["name"]: g.get("parameters", 0) for g in seen.run.get("groups", ())}
    largest = sorted(seen.groups, key=lambda group: -sizes.get(group, 0))[:GROUPS]
    lines, bands = {}, {}
    for group in largest:
        found = _line(seen, name, group)
        if found is None:
            continue
        x, y, e = found
        label = "" if len(seen.groups) == 1 else group
        lines[label] = (x, y)
        if np.isfinite(e).all():
            bands[label] = (y - e, y + e)
    if not lines or all(np.all(np.nan_to_num(y) == 0) for _, y in lines.values()):
        return None  # nothing but 0 is said in the table
    return Panel(title, ylabel, lines, bands, logy=logy)


def page(says: "Reading") -> str:
    """The report of a reading."""
    drawn = [_alone(panel) for panel in all_panels(says.recording)]
    run = says.recording.run
    spent = run.get("measured_overhead") or {}
    plan = run.get("plan") or {}
    shown = [
        ("model", f"{run.get('model', '?')}, {run.get('parameters', 0):,} parameters"),
        ("device", run.get("device")),
        ("probe set", _probe_set(run)),
        ("mode", run.get("mode")),
        ("curvature after steps", ", ".join(f"{s:,}" for s in plan.get("steps", []) if s <= run.get("last_step", 0))),  # noqa: E501
        ("plan", plan.get("why")),
        ("overhead", "; ".join(f"{k} {v:.2%}" for k, v in spent.items())),
        ("versions", f"penchant {run.get('penchant')}, {run.get('framework')}, Python {run.get('python')}"),  # noqa: E501
        ("key", run.get("key")),
        ("lines that were torn", says.recording.torn or None),
    ]  # fmt: skip
    return pages.render(
        "probe.html.j2",
        says=says,
        run=run,
        drawn=drawn,
        settings=[(name, value) for name, value in shown if value not in (None, "")],
        isnan=math.isnan,
    )


def _probe_set(run: dict[str, Any]) -> str | None:
    if "probe_hash" not in run:
        return None
    return (
        f"{run['probe_examples']:,} examples in {run['probe_parts']} parts, the same "
        f"at every probe; hash {run['probe_hash']}"
    )
