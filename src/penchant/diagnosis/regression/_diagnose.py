"""From a question about a regression to its diagnosis."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from penchant import flows, measures
from penchant._types import Parameters
from penchant.diagnosis._asked import Asked
from penchant.diagnosis._cautions import Caution, Kind, ended_early
from penchant.diagnosis.regression._diagnosis import (
    RegressionDiagnosis,
    SharpnessRow,
    SharpnessTable,
)
from penchant.flows import MonitorError, NotInterpolatingError, SlowFlow
from penchant.flows.slow import Metric
from penchant.measures import Estimate
from penchant.theory.sharpness import (
    SharpnessPrediction,
    foretell_sharpness,
    slow_time,
)
from penchant.training import Outcome, Trajectory

Points = tuple[tuple[float, Any], ...]
"""Slow times, and weights there, projected to the minimisers."""

RECORDS = 12
"""Records of a run at which its sharpness is measured."""

FLOW = 400
"""Most parameters for which the slow flow is run beside."""

NEAR = 0.25
"""A change within this share of what the flow foretells is as foretold."""


def diagnose_regression(asked: Asked) -> RegressionDiagnosis:
    """Train, measure along the run, and hold it against the slow flow."""
    problem, rule = asked.problem, asked.optimizer
    asked.tell("training")
    run, settings = asked.train()
    warnings = ended_early(run, asked.steps)
    steps = int(run.steps[-1])
    told = foretell_sharpness(
        problem,
        rule,
        batching=asked.batching,
        step_size=asked.step_size,
        steps=steps,
        weights=None if run.outcome is Outcome.DIVERGED else run.last,
    )
    asked.tell("sharpness along the run")
    points = () if run.outcome is Outcome.DIVERGED else _points(asked, run, told)
    if len(points) < 2:
        return _nowhere(told, run, warnings, settings)
    times = tuple(t for t, _ in points)
    asked.tell("the slow flow from there")
    flow, why = _flow(asked, told, points, steps)
    if flow is None:
        warnings.append(Caution(Kind.NO_FLOW, "The slow flow was not run.", why))
    names = dict.fromkeys(["tr H", "tr Diag(H)^0.5", *filter(None, [told.measure])])
    rows = tuple(
        SharpnessRow(
            label=name,
            before=_measure(told, name, points[0][1]),
            after=_measure(told, name, points[-1][1]),
            flow=None if flow is None else _measure(told, name, flow.last).value,
        )
        for name in names
    )
    main = told.measure or "tr H"
    along = tuple(_measure(told, main, w) for _, w in points)
    beside: tuple[tuple[float, float], ...] = ()
    if flow is not None:
        beside = tuple(
            (
                times[0] + float(t),
                _measure(told, main, jax.tree.map(lambda a: a[i], flow.weights)).value,  # noqa: B023
            )
            for i, t in enumerate(flow.times)
            if i % 4 == 0 or i == len(flow.times) - 1
        )
    for assumption in told.assumptions:
        if assumption.verdict.value == "fails" and "clock" not in assumption.statement:
            warnings.append(
                Caution(
                    Kind.ASSUMPTIONS,
                    f"Not so here: {assumption.statement}.",
                    f"{assumption.why[:1].upper()}{assumption.why[1:]}.",
                )
            )
    table = SharpnessTable(rows)
    winner, agrees, regime, headline, why = _judge(asked, told, table, times)
    return RegressionDiagnosis(
        headline=headline,
        explanation=why,
        table=table,
        winner=winner,
        predicted=told.measure,
        agrees=agrees,
        regime=regime,
        warnings=tuple(warnings),
        prediction=told,
        times=times,
        along=along,
        flow=flow,
        flow_along=beside,
        trajectory=run,
        settings=settings,
    )


def _points(asked: Asked, run: Trajectory, told: SharpnessPrediction) -> Points:
    """Slow times and projected weights of records from where the run first fits."""
    problem = asked.problem
    scale = max(float(run.recorded[0]), 1e-300)
    # fitted, as far as noise lets: a hundredth of the loss at the start
    fits = np.flatnonzero(np.asarray(run.recorded) <= 1e-2 * scale)
    if not fits.size:
        return ()
    chosen = np.unique(
        np.rint(np.linspace(fits[0], len(run.steps) - 1, RECORDS)).astype(int)
    )
    points = []
    for i in chosen:
        w = jax.tree.map(lambda a: a[i], run.weights)  # noqa: B023
        try:
            w = flows.project(problem, w, preconditioner=_S(asked, told, w))
        except (NotInterpolatingError, ValueError, TypeError):
            return ()
        points.append((slow_time(asked.step_size, int(run.steps[i])), w))
    return tuple(points)


def _S(asked: Asked, told: SharpnessPrediction, w: Parameters) -> Any:
    """What the rule multiplies gradients by there, quasi-static; None: the identity."""
    problem = asked.problem
    try:
        metric = Metric.of(asked.optimizer)
    except TypeError:
        return None
    if metric.kind in ("none", "factors") or problem.parameters > measures.DENSE:
        return None
    x = problem.flat(w)
    h = jnp.maximum(jnp.diag(measures.gauss_newton(problem, w)), 0.0)
    alpha = 1.0 if told.noise is None else told.noise
    second = metric.second
    assert second is not None
    v = jnp.maximum(alpha * h, 1e-8 * jnp.max(alpha * h))
    below = v**metric.exponent + second.outside
    return problem.unflat(jnp.ones_like(x) / below)


def _measure(told: SharpnessPrediction, name: str, w: Parameters) -> Estimate:
    if name == told.measure:
        return told.at(w)
    exponent = 1.0 if name == "tr H" else 0.5
    return measures.power_trace(told.problem, w, exponent)


def _flow(
    asked: Asked, told: SharpnessPrediction, points: Points, steps: int
) -> tuple[SlowFlow | None, str]:
    problem = asked.problem
    if told.noise is None:
        return None, "There is no label noise whose strength would drive it."
    if problem.parameters > FLOW:
        return None, (
            f"It takes matrices of {problem.parameters:,} parameters; at most "
            f"{FLOW} are followed here. penchant.flows.slow_flow has no such bound."
        )
    try:
        metric = Metric.of(asked.optimizer)
    except TypeError as error:
        return None, str(error)
    eta = None
    rate = None
    total = slow_time(asked.step_size, steps)
    typical = math.sqrt(total / steps)
    if metric.second is not None:
        rate = (1.0 - float(np.asarray(metric.second.decay))) / typical**2
        rate = None if rate * (points[-1][0] - points[0][0]) > 1e3 else rate
    if metric.decay > 0:
        eta = typical
    try:
        return (
            flows.slow_flow(
                problem,
                asked.optimizer,
                noise=told.noise,
                time=points[-1][0] - points[0][0],
                start=points[0][1],
                rate=rate,
                step_size=eta,
            ),
            "",
        )
    except (MonitorError, NotInterpolatingError, ValueError, TypeError) as error:
        return None, str(error)


def _judge(
    asked: Asked,
    told: SharpnessPrediction,
    table: SharpnessTable,
    times: tuple[float, ...],
) -> tuple[str | None, bool | None, str, str, str]:
    """Winner, agreement, regime, and the verdict in two sentences."""
    name = type(asked.optimizer).__name__
    T = times[-1]
    if told.measure is None:
        fell = min(table, key=lambda row: row.change)
        what = f"{fell.label} changed by {fell.change:+.1%}"
        return None, None, "no potential", f"{name}: {what}.", told.statement
    row = table[told.measure]
    if told.noise is None:
        headline = (
            f"{name} has nothing that drives it along the minimisers: {row.label} "
            f"changed by {row.change:+.1%}."
        )
        why = "Without label noise no drift is foretold. Add some, or use noisy labels."
        return None, None, "no noise", headline, why
    more = ""
    if told.needed is not None and told.needed > T:
        eta2 = T / max(asked.steps, 1)
        steps = (told.needed - T) / max(eta2, 1e-300)
        more = (
            f" About {steps:.2g} more steps at this step size, or a larger step size, "
            "would show it."
        )
    if told.begun is False or (row.flow is None and not row.resolved):
        headline = (
            f"Too early to say: {row.label} changed by {row.change:+.1%} in a slow "
            f"time of {T:.2g}."
        )
        needed = "" if told.needed is None else f" It takes about {told.needed:.2g}."
        return None, None, "too early", headline, f"{told.statement}{needed}{more}"
    if row.flow is None:
        fell = row.change < 0
        word = "fell" if fell else "did not fall"
        headline = f"{name}: {row.label} {word}, by {row.change:+.1%}."
        regime = "along the minimisers"
        return (row.label if fell else None), fell, regime, headline, told.statement
    foretold = row.flow / row.before.value - 1.0
    seen = row.change
    agrees = abs(seen - foretold) <= max(NEAR * abs(foretold), 0.01)
    if abs(foretold) < 0.01 and agrees:
        headline = f"{name} rests: {row.label} changed by {seen:+.1%}, as foretold."
        return row.label, True, "at rest", headline, told.statement + more
    word = "as foretold" if agrees else "not as foretold"
    headline = (
        f"{name} changed {row.label} by {seen:+.1%} along its minimisers, {word}: the "
        f"slow flow has {foretold:+.1%}."
    )
    why = told.statement + more
    if not agrees:
        why += (
            " Steps that are large against the curvature do that, and a second moment "
            "off the slow clock; halve the step size, four times the steps."
        )
    winner = row.label if agrees and seen < 0 else None
    return winner, agrees, "along the minimisers", headline, why


def _nowhere(
    told: SharpnessPrediction,
    run: Trajectory,
    warnings: list[Caution],
    settings: dict[str, Any],
) -> RegressionDiagnosis:
    name = type(run.rule.optimizer).__name__
    if run.outcome is Outcome.DIVERGED:
        headline, why = f"{name} diverged.", run.advice
    else:
        headline = f"{name} has not come to a manifold of minimisers."
        why = (
            f"The loss ended at {float(run.recorded[-1]):.3g}; which sharpness falls "
            "is a question for models that fit every sample, once they do. More "
            "steps, or more parameters."
        )
    return RegressionDiagnosis(
        headline=headline,
        explanation=why,
        table=SharpnessTable(()),
        winner=None,
        predicted=told.measure,
        agrees=None,
        regime="convergence",
        warnings=tuple(warnings),
        prediction=told,
        times=(),
        along=(),
        flow=None,
        flow_along=(),
        trajectory=run,
        settings=settings,
    )
