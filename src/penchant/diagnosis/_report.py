"""The page: one HTML file that needs nothing else."""

import functools
import math
from typing import Any

import numpy as np

from penchant.diagnosis._cautions import WALLS
from penchant.diagnosis._diagnosis import Diagnosis
from penchant.diagnosis._verdict import percent
from penchant.diagnosis.network._network import NetworkDiagnosis
from penchant.problems import losses

WIDE, NARROW = 7.2, 3.5
"""Widths of figures in inches, for a screen and for a telephone."""


def render(diagnosis: Diagnosis) -> str:
    """The report's HTML."""
    return _page("report.html.j2").render(
        d=diagnosis,
        figures=_figures(diagnosis),
        badge=_badge(diagnosis),
        settings=_settings(diagnosis),
        last=int(diagnosis.trajectory.steps[-1]),
        log_loss=float(diagnosis.trajectory.log_loss[-1]),
        margin=float(np.min(diagnosis.trajectory.margins[-1])),
        heaviest=_heaviest(diagnosis),
        isinf=math.isinf,
    )


def render_network(diagnosis: NetworkDiagnosis) -> str:
    """The report's HTML for a network."""
    run = diagnosis.trajectory
    figures: list[dict[str, str]] = []
    _add_loss(figures, diagnosis)
    return _page("network.html.j2").render(
        d=diagnosis,
        figures=figures,
        badge=_network_badge(diagnosis),
        settings=_settings(diagnosis),
        last=int(run.steps[-1]),
        log_loss=float(run.log_loss[-1]),
        margin=float(np.min(run.margins[-1])),
        isinf=math.isinf,
    )


def _page(template: str) -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("penchant.diagnosis", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["number"] = number
    return environment.get_template(template)


def number(value: float | int | None) -> str:
    """A number for a reader: six digits, thousands apart, a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.6g}"


def _figures(diagnosis: Diagnosis) -> list[dict[str, str]]:
    from penchant import plotting

    run = diagnosis.trajectory
    figures: list[dict[str, str]] = []
    add = functools.partial(_add, figures)
    rows = diagnosis.table.rows
    if rows:
        labels = [row.label for row in rows]
        add(
            "ratios",
            "How much of each norm's largest margin",
            "The larger of what the last weights and the increment of the second half "
            "of the run reach. 100 % is the largest margin any weights have in that "
            "norm. Pale: uncertain, where the largest is known within a bracket only.",
            lambda inches: plotting.ratio_bars(
                labels,
                [row.reading for row in rows],
                [row.reading * row.best / row.upper for row in rows],
                size=(inches, 0.9 + 0.32 * len(rows)),
            ),
        )
        marks = {} if diagnosis.prediction is None else _marks(diagnosis)
        add(
            "paths",
            "Along the run",
            "Margin of the weights over the largest margin in each norm. The shaded "
            "band reaches down to what the run's own weights prove without any solver "
            "(softmax duality).",
            lambda inches: plotting.ratio_paths(
                run.steps,
                {label: path.ratio for label, path in diagnosis.paths.items()},
                {label: path.proved for label, path in diagnosis.paths.items()},
                marks=marks,
                size=(inches, 3.3),
            ),
        )
    if diagnosis.minimiser is not None:
        excess = diagnosis.minimiser.excess
        add(
            "excess",
            "On the way to the minimiser",
            "Training loss minus the least loss there is, at every record of the run.",
            lambda inches: plotting.excess_path(run.steps, excess, size=(inches, 2.8)),
        )
    _add_loss(figures, diagnosis)
    return figures


def _add(
    figures: list[dict[str, str]], name: str, heading: str, caption: str, draw: Any
) -> None:
    """A figure, drawn wide and narrow, with its heading and caption."""
    from penchant import plotting

    drawn = {
        width: plotting.themed_svg(draw(inches), f"{heading}. {caption}")
        for width, inches in (("wide", WIDE), ("narrow", NARROW))
    }
    figures.append({"name": name, "heading": heading, "caption": caption, **drawn})


def _add_loss(
    figures: list[dict[str, str]], diagnosis: Diagnosis | NetworkDiagnosis
) -> None:
    from penchant import plotting

    run = diagnosis.trajectory
    _add(
        figures,
        "loss",
        "Loss",
        "Training loss, the mean over samples. Dashed: where cross-entropy in float32 "
        "and float64 stops learning.",
        lambda inches: plotting.loss_path(
            run.steps, run.log_loss, walls=_walls(diagnosis), size=(inches, 2.4)
        ),
    )


def _marks(diagnosis: Diagnosis) -> dict[str, float]:
    assert diagnosis.prediction is not None
    regimes = diagnosis.prediction.regimes
    return {r.name: r.start for r in regimes if r.start > 0 and math.isfinite(r.start)}


def _walls(diagnosis: Diagnosis | NetworkDiagnosis) -> dict[str, float]:
    problem = diagnosis.trajectory.rule.problem
    exponential = isinstance(problem.loss, losses.Exponential)
    return {
        precision: -(vanished if exponential else frozen)
        for precision, (frozen, vanished) in WALLS.items()
    }


def _badge(diagnosis: Diagnosis) -> tuple[str, str, str]:
    """Kind, sign and text of the short answer."""
    if diagnosis.separable is False:
        return "neutral", "○", "not separable"
    if diagnosis.separable is None:
        return "neutral", "?", "separability not decided"
    if diagnosis.agrees is True:
        return "good", "✓", "as theory foretold"
    if diagnosis.agrees is False:
        return "bad", "✗", "not what theory foretold"
    if diagnosis.winner is None:
        return "neutral", "…", "no norm has won yet"
    return "neutral", "○", "theory has no answer here"


def _network_badge(diagnosis: NetworkDiagnosis) -> tuple[str, str, str]:
    if not diagnosis.separated:
        return "neutral", "?", "not separated yet"
    if diagnosis.agrees is True:
        return "good", "✓", "as theory foretold"
    if diagnosis.agrees is False:
        return "bad", "✗", "not what theory foretold"
    if diagnosis.winner is None:
        return "neutral", "…", "no geometry has won"
    return "neutral", "○", "theory has no answer here"


def _settings(diagnosis: Diagnosis | NetworkDiagnosis) -> list[tuple[str, str]]:
    shown = []
    for name, value in diagnosis.settings.items():
        if name in ("versions", "command", "notes") or value is None:
            continue
        if isinstance(value, bool):
            value = "yes" if value else "no"
        text = f"{value:,}" if isinstance(value, int) else str(value)
        shown.append((name.replace("_", " "), text))
    return shown


def _heaviest(diagnosis: Diagnosis) -> list[tuple[int, float]]:
    """The samples of most weight in the certificate of inseparability."""
    if diagnosis.minimiser is None:
        return []
    weight = np.asarray(diagnosis.minimiser.certificate)
    order = np.argsort(-weight)[:8]
    return [(int(i), float(weight[i])) for i in order if weight[i] > 0]
