"""The page of a linear diagnosis."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from penchant import pages
from penchant.diagnosis._figures import Figures, about, add_figure, add_loss, judged
from penchant.diagnosis._result import AbstractDiagnosis
from penchant.diagnosis.linear._chosen import Chosen
from penchant.diagnosis.linear._held_out import PICTURED, HeldOut
from penchant.diagnosis.linear._measure import MarginPath
from penchant.diagnosis.linear._minimiser import Minimiser
from penchant.estimators import Imitation
from penchant.theory import Prediction

FEW = 10
"""Steps from which a figure that leaves the first ones out says so."""


def render(
    diagnosis: AbstractDiagnosis,
    paths: dict[str, MarginPath],
    minimiser: Minimiser | None,
    seen: Imitation | None,
    chosen: Chosen,
    held_out: HeldOut | None,
) -> str:
    """The report's HTML."""
    return pages.render(
        "report.html.j2",
        figures=_figures(diagnosis, paths, minimiser, seen),
        badge=_badge(diagnosis),
        heaviest=_heaviest(minimiser),
        **chosen_parts(chosen, held_out),
        **about(diagnosis),
    )


def chosen_parts(chosen: Chosen, held_out: HeldOut | None) -> dict[str, Any]:
    """What the page's parts on weights and on samples held out ask for."""
    weights: Figures = []
    draw = lambda inches: chosen.plot(width=inches)
    if chosen.plane and held_out is not None:
        others = held_out.problem
        draw = lambda inches: chosen.plane_with(others, width=inches)
    heading = "Where each draws the line" if chosen.plane else "The weights themselves"
    add_figure(weights, "chosen", heading, chosen.caption, draw)
    held: Figures = []
    if held_out is not None:
        add_figure(
            held,
            "accuracy",
            "On samples that no training saw",
            "Share of held-out samples that each classifier has right; lines are exact "
            f"95 % intervals. All were trained on the other {held_out.trained:,} "
            "samples.",
            lambda inches: held_out.accuracies(width=inches),
        )
        if held_out.problem.image is not None and len(held_out.flips):
            count = min(PICTURED, len(held_out.flips))
            of = f"{len(held_out.flips):,} held-out samples that not all call the same"
            add_figure(
                held,
                "flips",
                "Samples that flip",
                f"{count} of the {of}, most divided first. Above: the label, and the "
                "row, from 0. Below: who says what.",
                lambda inches: held_out.plot(width=inches),
            )
    entries = () if chosen.plane or chosen.image else chosen.top()
    return {"chosen": chosen, "weights": weights, "entries": entries} | {
        "held_out": held_out,
        "held": held,
    }


def _figures(
    diagnosis: AbstractDiagnosis,
    paths: dict[str, MarginPath],
    minimiser: Minimiser | None,
    seen: Imitation | None,
) -> Figures:
    """The figures in the order of the page."""
    from penchant import plotting

    run = diagnosis.trajectory
    figures: Figures = []
    add = functools.partial(add_figure, figures)
    rows = diagnosis.table.rows
    separated = bool(rows) and rows[0].reached > 0
    if seen is not None and not separated:
        _add_imitation(add, seen)
    if separated:
        labels = [row.label for row in rows]
        add(
            "ratios",
            "How much of each norm's largest margin",
            "What the last weights have; 100 % is the largest margin any weights have "
            "in that norm. Pale: uncertain, where the largest is known within a "
            "bracket only.",
            lambda inches: plotting.ratio_bars(
                labels,
                [row.ratio for row in rows],
                [row.lowest_ratio for row in rows],
                size=(inches, 0.9 + 0.32 * len(rows)),
            ),
        )
        if seen is not None:
            _add_imitation(add, seen)
        marks = {} if diagnosis.prediction is None else _marks(diagnosis)
        leader = _leader(diagnosis)
        first = int(run.steps[np.argmax(np.asarray(paths[leader].ratio) > 0)])
        begun = (
            f" It begins where all samples are first classified, at step {first:,}."
            if first > FEW
            else ""
        )
        add(
            "paths",
            "Along the run",
            f"The share of each norm's largest margin, step by step.{begun} The shaded "
            f"band below {leader} is what the run's own weights leave open; its lower "
            "edge is proved by them, without any solver.",
            lambda inches: plotting.ratio_paths(
                run.steps,
                {label: path.ratio for label, path in paths.items()},
                {leader: paths[leader].proved},
                marks=marks,
                size=(inches, 3.3),
            ),
        )
    if minimiser is not None:
        excess = minimiser.excess
        add(
            "excess",
            "On the way to the minimiser",
            "Training loss minus the least loss there is, at every record of the run.",
            lambda inches: plotting.excess_path(run.steps, excess, size=(inches, 2.8)),
        )
    add_loss(figures, diagnosis)
    return figures


def _add_imitation(add: Callable[..., None], seen: Imitation) -> None:
    from penchant import plotting

    rows = list(seen.rows)
    labels = [row.norm.label for row in rows]
    if seen.own is not None:
        rows.append(seen.own)
        labels.append("own divisor")
    add(
        "imitation",
        "What the weights imitate now",
        "1 where no weights of the same size in that norm have less loss: the run then "
        "has what a penalty on that norm would choose. Gradients are averaged over "
        f"{seen.steps:,} steps that follow the run; lines are 95 % intervals."
        + (
            " Own divisor: the Euclidean norm weighed by what the rule divides by, "
            "read off the run itself."
            if seen.own is not None
            else ""
        ),
        lambda inches: plotting.alignment_bars(
            labels,
            [row.alignment for row in rows],
            [row.error for row in rows],
            size=(inches, 0.9 + 0.32 * len(rows)),
        ),
    )


def _marks(diagnosis: AbstractDiagnosis) -> dict[str, float]:
    assert isinstance(diagnosis.prediction, Prediction)
    regimes = diagnosis.prediction.regimes
    if len(regimes) < 2:
        return {}
    return {r.name: r.start for r in regimes if math.isfinite(r.start)}


def _leader(diagnosis: AbstractDiagnosis) -> str:
    """The label of the norm that won, or of the largest share."""
    if diagnosis.winner is not None:
        return diagnosis.table[diagnosis.winner].label
    return max(diagnosis.table, key=lambda row: row.ratio).label


def _badge(diagnosis: AbstractDiagnosis) -> tuple[str, str, str]:
    if diagnosis.separable is False:
        return "neutral", "○", "not separable"
    if diagnosis.separable is None:
        return "neutral", "?", "separability not decided"
    return judged(diagnosis, "no norm has won yet")


def _heaviest(minimiser: Minimiser | None) -> list[tuple[int, float]]:
    """The samples of most weight in the certificate of inseparability."""
    if minimiser is None:
        return []
    weight = np.asarray(minimiser.certificate)
    order = np.argsort(-weight)[:8]
    return [(int(i), float(weight[i])) for i in order if weight[i] > 0]
