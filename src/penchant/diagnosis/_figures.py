"""Figures and badges that the pages of all diagnoses share."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penchant.diagnosis._cautions import WALLS
from penchant.diagnosis._result import AbstractDiagnosis, least_margin
from penchant.problems import losses

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE, NARROW = 7.2, 3.5
"""Widths of figures in inches, for a screen and for a telephone."""

Figures = list[dict[str, str]]


def add_figure(
    figures: Figures,
    name: str,
    heading: str,
    caption: str,
    draw: "Callable[[float], Axes]",
) -> None:
    """A figure, drawn wide and narrow, with its heading and caption."""
    from penchant import plotting

    drawn = {
        width: plotting.themed_svg(draw(inches), f"{heading}. {caption}")
        for width, inches in (("wide", WIDE), ("narrow", NARROW))
    }
    figures.append({"name": name, "heading": heading, "caption": caption, **drawn})


def add_loss(figures: Figures, diagnosis: AbstractDiagnosis) -> None:
    """The loss along the run, with the walls of ordinary precision."""
    from penchant import plotting

    run = diagnosis.trajectory
    walls = {n: at for n, at in _walls(diagnosis).items() if run.log_loss[-1] < at}
    caption = "Training loss, the mean over samples; both axes are logarithmic."
    if float(run.log_loss[-1]) < plotting.DEEP * math.log(10.0):
        caption = (
            "Training loss, the mean over samples. Down the axis the exponent grows "
            "tenfold from one tick to the next, and not the loss."
        )
    if walls:
        caption += f" Dashed: where training in {' and '.join(walls)} stops learning."
    add_figure(
        figures,
        "loss",
        "Loss",
        caption,
        lambda inches: plotting.loss_path(
            run.steps, run.log_loss, walls=walls, size=(inches, 2.4)
        ),
    )


def _walls(diagnosis: AbstractDiagnosis) -> dict[str, float]:
    problem = diagnosis.trajectory.rule.problem
    exponential = isinstance(problem.loss, losses.Exponential)
    return {
        precision: -(vanished if exponential else frozen)
        for precision, (frozen, vanished) in WALLS.items()
    }


def about(diagnosis: AbstractDiagnosis) -> dict[str, Any]:
    """What every page's template asks for."""
    run = diagnosis.trajectory
    return {
        "d": diagnosis,
        "settings": _settings(diagnosis),
        "last": int(run.steps[-1]),
        "log_loss": float(run.log_loss[-1]),
        "margin": least_margin(run),
        "isinf": math.isinf,
    }


def judged(diagnosis: AbstractDiagnosis, none: str) -> tuple[str, str, str]:
    """The badge where there is a margin: kind, sign and text; `none` where none won."""
    if diagnosis.agrees is True:
        return "good", "✓", "as theory foretold"
    if diagnosis.agrees is False:
        return "bad", "✗", "not what theory foretold"
    if diagnosis.winner is None:
        return "neutral", "…", none
    return "neutral", "○", "theory has no answer here"


def _settings(diagnosis: AbstractDiagnosis) -> list[tuple[str, str]]:
    shown = []
    for name, value in diagnosis.settings.items():
        if name in ("versions", "command", "notes") or value is None:
            continue
        if isinstance(value, bool):
            value = "yes" if value else "no"
        text = f"{value:,}" if isinstance(value, int) else str(value)
        shown.append((name.replace("_", " "), text))
    return shown
