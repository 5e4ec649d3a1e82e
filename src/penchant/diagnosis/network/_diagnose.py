"""Which geometry a network's run is heading for: residuals now and at its limit."""

import math
from typing import Any

import numpy as np

from penchant._types import Tree
from penchant.diagnosis._asked import Asked
from penchant.diagnosis._cautions import Caution, Kind, ended_early
from penchant.diagnosis.network._diagnosis import (
    NetworkDiagnosis,
    NetworkRow,
    NetworkTable,
    label_of,
)
from penchant.estimators import share_of_eps
from penchant.flows import Limit, ZeroGradientError, limit
from penchant.margins import KKT, kkt, normalized_margin
from penchant.norms import L2, AbstractNorm, Layerwise, Linf, Spectral
from penchant.problems import AbstractClassification
from penchant.theory import Prediction, predict
from penchant.training import Trajectory

NEAR = 1e-2
"""A KKT gap below which a limit counts as a KKT point of a norm."""


def diagnose_network(asked: Asked) -> NetworkDiagnosis:
    """The diagnosis of what was asked of a network."""
    problem, steps, tell = asked.problem, asked.steps, asked.tell
    run, settings = asked.train()
    prediction = predict(
        problem,
        asked.optimizer,
        batching=asked.batching,
        step_size=asked.step_size,
        trajectory=run,
    )
    w = run.last
    name = type(run.rule.optimizer).__name__
    q = np.asarray(problem.margins(w))
    warnings = ended_early(run, steps)
    share = None
    second = run.rule.optimizer.character().adaptive
    if second is not None and second.kind == "mean":
        share = share_of_eps(run)
    regime = prediction.at(int(run.steps[-1])).name
    common = {
        "predicted": prediction.norm,
        "regime": regime,
        "prediction": prediction,
        "share_of_eps": share,
        "trajectory": run,
        "settings": settings,
    }
    separated = bool(q.min() > 0)
    if not separated or problem.degree is None:
        if separated:
            headline = f"{name} has separated the data with a network without a degree."
            why = "Margins of such a network cannot be compared across norms."
        elif not np.isfinite(q).all():
            headline = f"{name} diverged: its margins are not finite."
            why = "Lower the step size."
        else:
            headline = f"{name} has not separated the data."
            why = (
                f"{int((q <= 0).sum())} of {len(q)} samples are on the wrong side "
                f"after {int(run.steps[-1]):,} steps; until none is, there is no "
                "margin to pick."
            )
        return NetworkDiagnosis(
            headline=headline,
            explanation=why,
            separable=separated or None,
            table=NetworkTable(()),
            winner=None,
            agrees=None,
            limit=None,
            now=None,
            warnings=tuple(warnings),
            next=(),
            **common,
        )
    found: Limit | None = None
    tell("following the run to infinite time")
    try:
        found = limit(problem, run)
    except (TypeError, ZeroGradientError) as error:
        warnings.append(
            Caution(Kind.NO_LIMIT, "The run was not continued.", str(error))
        )
    tell("KKT gaps in each norm")
    rows = tuple(_row(problem, norm, w, found) for norm in _norms(problem, run, found))
    expected = found.norm if found is not None else prediction.norm
    now = None if expected is None else kkt(problem, w, expected)
    winner, agrees, headline, why = _judge(rows, found, prediction, name, now)
    if found is not None and not found.settled:
        warnings.append(
            Caution(
                Kind.STILL_TURNING,
                "The direction had not stopped turning",
                "The limit's margin and residual are those at log-norm "
                f"{float(found.log_norm):.3g}; slow modes and kinks of ReLU units do "
                "that. penchant.limit(..., log_norm=400) goes further, which may help.",
            )
        )
    return NetworkDiagnosis(
        headline=headline,
        explanation=why,
        separable=True,
        table=NetworkTable(rows),
        winner=winner,
        agrees=agrees,
        limit=found,
        now=now,
        warnings=tuple(warnings),
        next=(),
        **common,
    )


def _norms(
    problem: AbstractClassification, run: Trajectory, found: Limit | None
) -> tuple[AbstractNorm, ...]:
    norms: list[AbstractNorm] = [L2(), Linf(), Layerwise(Spectral())]
    second = run.rule.optimizer.character().adaptive
    sums = second is not None and second.kind == "sum"
    if sums and found is not None:
        norms.insert(0, found.norm)
    return tuple(norms)


def _row(
    problem: AbstractClassification,
    norm: AbstractNorm,
    w: Tree,
    found: Limit | None,
) -> NetworkRow:
    here = kkt(problem, w, norm, draws=4)
    there = None if found is None else kkt(problem, found.weights, norm)
    return NetworkRow(
        label=label_of(norm),
        norm=norm,
        margin=float(normalized_margin(problem, w, norm)),
        gap=float(here.gap),
        limit_margin=None if there is None else float(there.margin),
        limit_gap=None if there is None else float(there.gap),
    )


def _judge(
    rows: tuple[NetworkRow, ...],
    found: Limit | None,
    prediction: Prediction,
    name: str,
    now: KKT | None,
) -> tuple[Any, bool | None, str, str]:
    foretold = "Theory names no geometry here."
    if prediction.norm is not None:
        foretold = (
            f"Theory foretells a KKT point of the {prediction.norm.label} margin."
        )
    if found is None:
        nearest = min(rows, key=lambda row: row.gap)
        headline = (
            f"{name} is nearest a KKT point of the {nearest.label} margin, with a gap "
            f"of {nearest.gap:.1%}."
        )
        return None, None, headline, foretold
    # a gap that is missing is none to win by
    gap_of = lambda row: math.inf if row.limit_gap is None else row.limit_gap
    best = min(rows, key=gap_of)
    gap = gap_of(best)
    if gap > NEAR:
        headline = (
            f"{name}'s limit is no KKT point of any norm compared; the nearest is "
            f"{best.label}, with a gap of {gap:.1%}."
        )
        return None, None, headline, foretold
    agrees = (
        None if prediction.norm is None else best.norm.label == prediction.norm.label
    )
    residual = (
        "" if now is None else f" The run itself is {float(now.residual):.2g} off."
    )
    headline = (
        f"{name} is heading for a KKT point of the {best.label} margin: its limit has "
        f"a residual of {float(found.kkt_residual):.1e}."
    )
    if agrees is not None:
        foretold += f" The limit {'confirms' if agrees else 'refutes'} it."
    return best.norm, agrees, headline, foretold + residual
