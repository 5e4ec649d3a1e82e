"""From a question about a regression to its diagnosis."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from penchant import flows, measures, optimizers
from penchant._types import Parameters
from penchant.diagnosis._asked import Asked
from penchant.diagnosis._cautions import Caution, Kind, ended_early
from penchant.diagnosis.regression._diagnosis import (
    RegressionDiagnosis,
    SharpnessRow,
    SharpnessTable,
    signed,
)
from penchant.flows import MonitorError, NotInterpolatingError, SlowFlow
from penchant.flows.slow import Metric
from penchant.measures import Estimate
from penchant.problems import Regression
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

FINE = 160
"""Records of the slow flow: its coordinates die early, and the clock runs long."""

LAGS = 50.0
"""Memories of the second moment in a run from which it is taken to have no lag: what it
lags behind is then some per cent of the way, and coordinates that die don't stop it."""

NEAR = 0.25
"""A change within this share of what the flow foretells is as foretold."""


def diagnose_regression(asked: Asked) -> RegressionDiagnosis:
    """Train, measure along the run, and hold it against the slow flow."""
    asked.tell("training")
    run, settings = asked.train()
    warnings = ended_early(run, asked.steps)
    steps = int(run.steps[-1])
    ended = None if run.outcome is Outcome.DIVERGED else run.last
    told = _foretold(asked, steps, ended)
    asked.tell("sharpness along the run")
    points = () if run.outcome is Outcome.DIVERGED else _points(asked, run, told)
    if len(points) < 2:
        return _nowhere(told, run, warnings, settings)
    # how long a drift takes is a matter of where it begins
    told = _foretold(asked, steps, points[0][1])
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
    says = _judge(asked, told, table, times)
    return RegressionDiagnosis(
        headline=says.headline,
        explanation=says.why,
        table=table,
        winner=says.winner,
        predicted=told.measure,
        agrees=says.agrees,
        regime=says.regime,
        next=says.next,
        warnings=tuple(warnings),
        prediction=told,
        times=times,
        along=along,
        flow=flow,
        flow_along=beside,
        trajectory=run,
        settings=settings,
    )


def _foretold(
    asked: Asked, steps: int, weights: Parameters | None
) -> SharpnessPrediction:
    return foretell_sharpness(
        asked.problem,
        asked.optimizer,
        batching=asked.batching,
        step_size=asked.step_size,
        steps=steps,
        weights=weights,
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
    """A sharpness on the minimisers, where H is G, but for what projecting leaves."""
    fits = isinstance(told.problem, Regression)
    if name == told.measure:
        return told.at(w, gauss_newton=fits)
    exponent = 1.0 if name == "tr H" else 0.5
    return measures.power_trace(told.problem, w, exponent, gauss_newton=fits)


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
        rate = None if rate * (points[-1][0] - points[0][0]) > LAGS else rate
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
                record=FINE,
            ),
            "",
        )
    except (MonitorError, NotInterpolatingError, ValueError, TypeError) as error:
        return None, str(error)


@dataclasses.dataclass(frozen=True)
class _Verdict:
    """What is said of a run along its minimisers, and the calls that may change it."""

    regime: str
    headline: str
    why: str
    winner: str | None = None
    agrees: bool | None = None
    next: tuple[str, ...] = ()


def _judge(
    asked: Asked,
    told: SharpnessPrediction,
    table: SharpnessTable,
    times: tuple[float, ...],
) -> _Verdict:
    name = type(asked.optimizer).__name__
    if told.measure is None:
        measured = [row for row in table if row.after.valid and row.before.valid]
        if not measured:
            return _unmeasured(name, table.rows[0], told)
        fell = min(measured, key=lambda row: row.change)
        headline = f"{name}: {fell.label} changed by {signed(fell.change)}."
        return _Verdict("no potential", headline, told.statement)
    row = table[told.measure]
    if not (row.before.valid and row.after.valid):
        return _unmeasured(name, row, told)
    changed = f"{row.label} changed by {signed(row.change)}"
    if told.noise is None:
        return _Verdict(
            "no noise",
            f"{name} has nothing that drives it along the minimisers: {changed}.",
            "Without label noise no drift is foretold: it comes with the noise.",
            next=("pn.Regression(apply, start, X, y, label_noise=0.1)",),
        )
    longer = _longer(asked, told, times[-1])
    if told.begun is False or (row.flow is None and not row.resolved):
        needed = "" if told.needed is None else f" It takes about {told.needed:.2g}."
        return _Verdict(
            "too early",
            f"Too early to say: {changed} in a slow time of {times[-1]:.2g}.",
            f"{told.statement}{needed}",
            next=longer,
        )
    if row.flow is None:
        fell = row.change < 0
        word = "fell" if fell else "rose"
        return _Verdict(
            "along the minimisers",
            f"{name}: {row.label} {word}, by {signed(row.change)}; by how much it "
            "should have is not known.",
            told.statement,
            winner=row.label if fell else None,
            agrees=None if fell else False,
            next=longer,
        )
    foretold = row.flow / row.before.value - 1.0
    agrees = abs(row.change - foretold) <= max(NEAR * abs(foretold), 0.01)
    if abs(foretold) < 0.01 and agrees:
        headline = f"{name} rests: {changed}, as foretold."
        return _Verdict("at rest", headline, told.statement, row.label, True, longer)
    word = "as foretold" if agrees else "not as foretold"
    why = told.statement
    if not agrees:
        why += (
            " Steps that are large against the curvature may do that, and a second "
            "moment off the slow clock: a smaller step size over the same slow time "
            "tells."
        )
    return _Verdict(
        "along the minimisers",
        f"{name} changed {row.label} by {signed(row.change)} along its minimisers, "
        f"{word}: the slow flow has {signed(foretold)}.",
        why,
        winner=row.label if agrees and row.change < 0 else None,
        agrees=agrees,
        next=longer if agrees else (_finer(asked),),
    )


def _unmeasured(name: str, row: SharpnessRow, told: SharpnessPrediction) -> _Verdict:
    bad = row.before if not row.before.valid else row.after
    headline = f"{name}: {row.label} could not be measured along the run."
    return _Verdict("not measured", headline, f"Why: {bad.why}. {told.statement}")


def _longer(asked: Asked, told: SharpnessPrediction, T: float) -> tuple[str, ...]:
    """The call that takes the slow clock to where a drift has run its course."""
    if told.needed is None or told.needed <= T:
        return ()
    steps = asked.steps * told.needed / max(T, 1e-300)
    return (_call(asked, steps, asked.step_size),)


def _finer(asked: Asked) -> str:
    """Half the step size over the same slow time."""
    size = asked.step_size
    half = 0.5 * size if isinstance(size, (int, float)) else "HALF"
    return _call(asked, 4.0 * asked.steps, half)


def _call(asked: Asked, steps: float, size: Any) -> str:
    typed = optimizers.as_options(asked.optimizer)
    rule = "optimizer" if typed is None or " " in typed else repr(typed)
    shown = f"{size:g}" if isinstance(size, (int, float)) else size
    count = f"{float(f'{steps:.2g}'):.0f}" if math.isfinite(steps) else "steps"
    return f"pn.diagnose(problem, {rule}, steps={count}, step_size={shown})"


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
