"""From a question about a state space model to its diagnosis."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from penchant.diagnosis._asked import Asked
from penchant.diagnosis._cautions import Caution, Kind, ended_early
from penchant.diagnosis.state_space._diagnosis import (
    ModelRow,
    ModelTable,
    StateSpaceDiagnosis,
)
from penchant.flows.state_space import LAGS
from penchant.problems.models import ssm
from penchant.theory.state_space import StateSpacePrediction, foretell_state_space

NEAR = 0.1
"""Relative distance of errors within which a run has come to the limit."""

FITTED = 1e-3
"""Share of the labels' mean square by which its loss may still be above the limit's."""


def diagnose_state_space(asked: Asked) -> StateSpaceDiagnosis:
    """Follow the flow, train, and hold the run against both."""
    problem: ssm.SequenceRegression = asked.problem
    asked.tell("gradient flow to its limit")
    told = foretell_state_space(
        problem,
        asked.optimizer,
        full_batch=asked.batching.covers(problem.samples) is True,
        start=asked.init,
    )
    run, settings = asked.train()
    warnings = ended_early(run, asked.steps)
    errors = _errors(problem, run.weights)
    loss = float(run.loss[-1])
    start = problem.start if asked.init is None else asked.init
    then = told.flow.error_at(loss) if loss > 0 else told.flow.limit_error
    rows = (
        _row(problem, "the start", start, float(problem.loss(start))),
        _row(problem, "the run", run.last, loss),
        ModelRow(
            label="gradient flow at its loss",
            loss=loss,
            error=then,
            rank=None,
            largest=None,
        ),
        _row(problem, "gradient flow's limit", told.flow.limit, told.flow.limit_loss),
    )
    for assumption in told.assumptions:
        if assumption.verdict.value == "fails":
            warnings.append(
                Caution(
                    Kind.ASSUMPTIONS,
                    f"Not so here: {assumption.statement}.",
                    f"{assumption.why[:1].upper()}{assumption.why[1:]}.",
                )
            )
    for note in told.flow.notes:
        warnings.append(Caution(Kind.NOT_CONVERGED, "Of the flow:", note))
    known = [row for row in rows[1:] if math.isfinite(row.error)]
    error = rows[1].error
    agrees = None
    if told.flow.settled and math.isfinite(error):
        limit = told.flow.limit_error
        fits = loss - told.flow.limit_loss <= FITTED * float(jnp.mean(problem.y**2))
        agrees = bool(fits and abs(error - limit) <= NEAR * max(limit, 1e-12))
    name = type(asked.optimizer).__name__
    headline, why = _judged(name, told, rows, agrees)
    return StateSpaceDiagnosis(
        headline=headline,
        explanation=why,
        table=ModelTable(rows),
        winner=min(known, key=lambda row: row.error).label if known else None,
        agrees=agrees,
        regime="fitted" if loss <= 1e-6 * rows[0].loss else "fitting",
        warnings=tuple(warnings),
        prediction=told,
        error=errors,
        trajectory=run,
        settings=settings,
    )


def _errors(
    problem: ssm.SequenceRegression, weights: ssm.AbstractSequenceModel
) -> np.ndarray:
    teacher = problem.teacher
    if isinstance(teacher, ssm.AbstractStateSpace) and isinstance(
        weights, ssm.AbstractStateSpace
    ):
        return np.asarray(weights.extrapolation_error(teacher, LAGS))
    return np.full(jax.tree.leaves(weights)[0].shape[0], np.nan)


def _row(
    problem: ssm.SequenceRegression,
    label: str,
    w: ssm.AbstractSequenceModel,
    loss: float,
) -> ModelRow:
    error = float(_errors(problem, jax.tree.map(lambda x: jnp.asarray(x)[None], w))[0])
    rank = largest = None
    if isinstance(w, ssm.AbstractStateSpace):
        a = np.abs(np.asarray(w.modes()[0]))
        if np.isfinite(a).all():
            rank, largest = float(ssm.effective_rank(a)), float(a.max())
    return ModelRow(label=label, loss=loss, error=error, rank=rank, largest=largest)


def _judged(
    name: str,
    told: StateSpacePrediction,
    rows: tuple[ModelRow, ...],
    agrees: bool | None,
) -> tuple[str, str]:
    _, run, _, limit = rows
    if not math.isfinite(run.loss):
        return (
            f"{name} diverged: its loss is {run.loss:.2e}. Smaller steps may follow "
            "the flow.",
            told.statement,
        )
    if agrees is None:
        return (
            f"{name} has come to a loss of {run.loss:.2e}; what it does beyond the "
            "data is not known.",
            told.statement,
        )
    headline = (
        f"{name} has come to a loss of {run.loss:.2e} with an error of {run.error:.3g} "
        f"over {LAGS} lags."
    )
    if agrees:
        why = "This is where gradient flow ends: training longer changes nothing."
    elif run.error > limit.error:
        why = (
            f"Gradient flow ends with {limit.error:.3g}: stopping here, or this rule, "
            f"costs a factor of {run.error / max(limit.error, 1e-300):.3g}."
        )
    else:
        why = (
            f"Gradient flow ends with {limit.error:.3g}: stopping here, or this rule, "
            f"gains a factor of {limit.error / max(run.error, 1e-300):.3g}."
        )
    return headline, f"{why} {told.excitation!r}."
