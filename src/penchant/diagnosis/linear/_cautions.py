"""What a reader of a linear diagnosis must know besides its verdict."""

import math

import jax.numpy as jnp
import numpy as np

from penchant._words import count
from penchant.diagnosis._cautions import WALLS, Caution, Kind
from penchant.diagnosis.linear._measure import Row
from penchant.diagnosis.linear._progress import Progress
from penchant.diagnosis.linear._tightness import Tightness
from penchant.diagnosis.linear._verdict import ALIKE
from penchant.estimators import Convergence, share_of_eps
from penchant.pages import percent
from penchant.problems import LinearClassification, losses
from penchant.theory import Prediction, Verdict
from penchant.theory.regimes import RegimeName
from penchant.training import Trajectory

LOOSE = 1e-3
"""Relative width of a bracket of the best margin from which it is worth a word."""


BEYOND = 1e12
"""Steps past which an extrapolation says no more than that it is far."""

EPS_SHARE = 0.1
"""Share of the step that ε decides from which it is worth a word."""


def precision_wall(run: Trajectory) -> list[Caution]:
    """Where the user's own framework would have parted from this run."""
    problem = run.rule.problem
    least = np.asarray(jnp.min(run.margins, axis=1))
    exponential = isinstance(problem.loss, losses.Exponential)
    what = (
        "the loss is below the smallest number, and its gradient 0"
        if exponential
        else "the true class's probability rounds to 1 and gradients freeze (weights "
        "may go on growing)"
    )
    found = []
    for precision, (frozen, vanished) in WALLS.items():
        wall = vanished if exponential else frozen
        past = np.flatnonzero(least > wall)
        if past.size == 0:
            continue
        step = int(run.steps[past[0]])
        found.append(f"in {precision} at margin {wall:g}, passed here at step {step:,}")
    if not found:
        return []
    return [
        Caution(
            Kind.PRECISION,
            "Your own framework would stop learning before the end of this run:",
            f"{' and '.join(found)}. There {what}. This run works with logarithms of "
            "losses and has no such wall; compare with your own only up to there.",
        )
    ]


def reached_eps(run: Trajectory, prediction: Prediction | None) -> list[Caution]:
    """How far ε has taken over, measured from the moments at the end."""
    share = eps_share(run)
    if share is None or share < EPS_SHARE:
        return []
    crossing = ""
    if prediction is not None:
        last = [r for r in prediction.regimes if r.name is RegimeName.BELOW_EPS]
        if last and math.isfinite(last[0].start):
            crossing = f" Theory put the crossover near step {last[0].start:,.0f}."
    eps = float(np.asarray(getattr(run.rule.optimizer, "eps", 0.0)))
    return [
        Caution(
            Kind.EPS,
            f"ε = {eps:g} now decides {100 * share:.0f} % of the step.",
            "Entries of the gradient have fallen to its size, where the rule stops "
            "normalising and becomes gradient descent with step η/ε." + crossing,
        )
    ]


def eps_share(run: Trajectory) -> float | None:
    """As `share_of_eps`; None for rules without an ε, at rest or diverged."""
    try:
        share = share_of_eps(run)
    except TypeError:
        return None
    return share if math.isfinite(share) else None


def not_separated(
    run: Trajectory, state: Progress, tightness: Tightness
) -> list[Caution]:
    """Separable data that are not separated: tight, too short, or too large steps."""
    if state not in (Progress.SHORT, Progress.SWINGING):
        return []
    headline = (
        f"After {int(run.steps[-1]):,} steps some samples are still misclassified, "
        "though the data are separable."
    )
    if state is Progress.SWINGING:
        detail = (
            "The loss goes up nearly as much as down: steps overshoot. Try a step size "
            "several times smaller, or one that falls faster."
        )
    elif tightness.tight:
        detail = (
            f"They are so by a hair: the largest ℓ2 margin is {tightness.share:.1g} of "
            "the longest sample, and a perceptron may need the inverse square of that, "
            f"{count(tightness.share**-2)} corrections. "
        )
        detail += (
            f"Columns differ in scale up to {count(tightness.spread)}-fold; "
            "standardised, the data may be far easier (another question: norms of "
            "standardised weights)."
            if tightness.units
            else "Read what the weights imitate: it needs no separation."
        )
    else:
        detail = (
            "The loss still falls: the run is too short, or its steps are too small. "
            "Try more steps, or a step size ten times larger."
        )
    return [Caution(Kind.NOT_SEPARATED, headline, detail)]


def stalled(run: Trajectory, row: Row, state: Progress) -> list[Caution]:
    """A ratio that no longer rises, though weights grow."""
    if state is not Progress.STALLED:
        return []
    return [
        Caution(
            Kind.STALLED,
            f"The ratio stopped rising at {percent(row.ratio)} while weights grew.",
            "Steps this large keep overshooting the samples in turn: a floor, not a "
            "limit, which more steps don't lift. Try a step size several times "
            "smaller, or one that falls faster.",
        )
    ]


def alike(rows: tuple[Row, ...], close: tuple[Row, ...]) -> list[Caution]:
    """Optima so alike that hardly anything hangs on the norm."""
    if len(rows) < 2 or max(row.ratio for row in rows) <= 0.0:
        return []
    if min(row.ratio for row in rows) > ALIKE:
        return [
            Caution(
                Kind.TIE,
                f"All norms' shares are above {100 * ALIKE:g} %.",
                "On these data the optima in different norms are nearly one, so that "
                "little hangs on which of them is picked.",
            )
        ]
    if close:
        return [
            Caution(
                Kind.TIE,
                "More than one norm is as near as the nearest.",
                "Neither the weights nor what the second half of the run added tells "
                "them apart, so nothing is confirmed.",
            )
        ]
    return []


def not_converged(row: Row, fit: Convergence, state: Progress) -> list[Caution]:
    """The gap left, how fast it falls, and what the rest would cost."""
    if state is not Progress.RISING:
        return []
    gap = f"{100 * fit.gap:.2g} % below the best {row.label} margin"
    if math.isfinite(fit.error) and fit.exponent <= 0.0:
        detail = "Over the last decade of steps the gap has not fallen."
        return [Caution(Kind.NOT_CONVERGED, f"The run ends {gap}.", detail)]
    if not math.isfinite(fit.error):
        rate = "the run is too short to fit a rate"
    else:
        rate = (
            "the gap falls like steps to the power "
            f"−{fit.exponent:.2f} ± {fit.error:.1g}"
        )
    if fit.needed < BEYOND:
        low, high = (count(steps) for steps in sorted(fit.needed_range))
        between = "" if low == high else f" ({low} to {high})"
        cost = (
            f"at that rate {100 * fit.target:g} % takes about {count(fit.needed)} "
            f"steps{between}"
        )
    else:
        cost = f"at that rate {100 * fit.target:g} % is not in sight"
    detail = f"Over the last decade of steps {rate}; {cost}."
    if not fit.settled:
        detail += (
            " Margins are still below 30, where such fits describe a transient: take "
            "the figure as an order of magnitude at best."
        )
    return [Caution(Kind.NOT_CONVERGED, f"The run ends {gap}.", detail)]


def broken_assumptions(prediction: Prediction) -> list[Caution]:
    """Assumptions of the theorem that fail here."""
    failed = [a for a in prediction.assumptions if a.verdict is Verdict.FAILS]
    if not failed:
        return []
    listing = "; ".join(f"{a.statement}: {a.why}" for a in failed)
    number = "One assumption" if len(failed) == 1 else f"{len(failed)} assumptions"
    return [
        Caution(
            Kind.ASSUMPTIONS,
            f"{number} of {prediction.source} fail"
            f"{'s' if len(failed) == 1 else ''} here.",
            f"Needed — {listing}.",
        )
    ]


def loose_bounds(rows: tuple[Row, ...]) -> list[Caution]:
    """Best margins that are known to a few per cent only."""
    loose = [
        f"{row.label} ±{50 * (row.upper / row.best - 1):.1f} %"
        for row in rows
        if row.upper > row.best * (1.0 + LOOSE)
    ]
    if not loose:
        return []
    return [
        Caution(
            Kind.BOUNDS,
            "Some best margins are known within a bracket only:",
            f"{', '.join(loose)}. The problem is large, and a first-order method "
            "stopped at its limit of steps. Ratios are against the lower end.",
        )
    ]


def frozen_coordinates(problem: LinearClassification, run: Trajectory) -> list[Caution]:
    """AdaGrad's accumulators at 0."""
    log_v = run.rule.optimizer.log_second(run.state.optimizer)
    second = run.rule.optimizer.character().adaptive
    if log_v is None or second is None or second.kind != "sum":
        return []
    zero = int(jnp.sum(jnp.isneginf(problem.flat(log_v))))
    if zero == 0:
        return []
    return [
        Caution(
            Kind.FROZEN,
            f"{zero} weights never had a gradient.",
            "Their features are constant 0 or their gradients cancel exactly; they "
            "stay at their start.",
        )
    ]


def single_precision(problem: LinearClassification) -> list[Caution]:
    """Samples that came with fewer digits than the run computes with."""
    digits = {"float32": 7, "float16": 3, "bfloat16": 2}.get(problem.given)
    if digits is None:
        return []
    return [
        Caution(
            Kind.UPCAST,
            f"The samples came as {problem.given} and were converted to float64.",
            f"They have about {digits} digits; margins that hang on later ones are not "
            "theirs. All arithmetic is in float64: a run of your own in "
            f"{problem.given} meets walls of precision that this one does not.",
        )
    ]


def without_bias(problem: LinearClassification) -> list[Caution]:
    """Data that no weights separate may be separated by weights and a threshold."""
    if problem.bias:
        return []
    return [
        Caution(
            Kind.NO_BIAS,
            "The classifier has no bias.",
            "Its boundary passes through 0. With one (bias=True, --bias) the data may "
            "be separable; the bias then counts in every norm.",
        )
    ]
