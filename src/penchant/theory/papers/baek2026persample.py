"""Baek, Song, Yun (2026): Adam and Signum with batches of part of the samples."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from penchant._types import Real
from penchant.norms import L2, AbstractNorm, Linf
from penchant.problems import LinearClassification
from penchant.theory._prediction import Assumption, Prediction, Verdict
from penchant.theory._setting import Setting, longest_row
from penchant.theory.per_sample._adam_limit import AdamLimit, AdamLimits
from penchant.theory.per_sample._adam_limits import adam_limits
from penchant.theory.per_sample._mean_step import ORDERS, signed_rows
from penchant.theory.per_sample._signum_gap import signum_gap
from penchant.theory.regimes._adam_regimes import Pace, adam_regimes, course_of
from penchant.theory.regimes._course import RegimeName
from penchant.theory.regimes._decays import Decays
from penchant.training.schedules import Constant, host_values

HOLDS, FAILS, UNKNOWN = Verdict.HOLDS, Verdict.FAILS, Verdict.UNKNOWN

SOURCE = "baek2026persample, Theorem 4.8"

EXACT = 1e-7
"""A direction with all but this share of a norm's margin is that norm's limit."""

SEARCH_SECONDS = 10.0
"""For limits besides that of zero weights, which is always found: the answer tells
whether the search was `complete`, and `adam_limits` itself has no such end."""

UNDERFLOW = {"float32": 51.6, "float64": 372.0}
"""-log of the gradients whose squares are the smallest numbers there are."""


def signum(setting: Setting, b1: Real) -> Prediction:
    r"""Signum and sign descent with batches: $\ell_\infty$ if momentum is long enough.

    Theorem 5.1: for every $\delta$ some $\beta$ brings the margin to within $\delta$ of
    $\gamma_\infty$. `signum_gap` says what is certain of the $\beta$ given; where that
    is less than half, the answer is unknown. With $\beta=.9$ and single samples the
    limit was measured *nearer* $\ell_2$.
    """
    problem = setting.problem
    if not isinstance(setting.batching, ORDERS):
        return _unknown_order(setting)
    b = float(np.asarray(b1))
    gap = signum_gap(problem, b, setting.batching)
    certain = (
        f"b1 = {b:g}: the bound leaves "
        + ("nothing" if gap.vacuous else f"{100 * gap.share:.3g} %")
        + " of the largest ℓ∞ margin for certain"
    )
    if gap.share < 0.5:
        return setting.unknown(
            "Signs of batches' gradients average to no norm's geometry unless momentum "
            f"is long against an epoch. {certain}.{_mean_of_signs(setting, b)}",
            "baek2026persample, Theorem 5.1",
            (Linf(), L2()),
        )
    return setting.predict(
        Linf(),
        "baek2026persample, Theorem 5.1",
        "Momentum averages over the batches, so that its sign is nearly the full "
        f"gradient's: the ℓ∞ margin comes to at least {100 * gap.share:.3g} % of its "
        "largest.",
        (
            setting.separable(),
            setting.exponential_tail(),
            setting.decreasing_steps(Linf()),
            Assumption(
                "momentum is long against an epoch",
                HOLDS if gap.share >= 0.95 else UNKNOWN,
                certain,
            ),
            _small_against_memory(setting, b, "b1"),
        ),
    )


def _unknown_order(setting: Setting) -> Prediction:
    """A batching of somebody else's: averages of steps hang on what it draws."""
    return setting.unknown(
        f"The limit with batches hangs on which samples meet; {setting.batching!r} is "
        "none of Cyclic, Shuffled and WithReplacement, for which that is known.",
        SOURCE,
        (Linf(), L2()),
    )


def _mean_of_signs(setting: Setting, b1: float) -> str:
    """Without momentum and one sample a step the limit does not depend on losses."""
    problem = setting.problem
    if b1 > 0 or setting.batching.size_of(problem.samples) != 1:
        return ""
    rows = np.asarray(signed_rows(problem))
    margins = rows @ np.sign(rows).mean(axis=0)
    if margins.min() <= 0:
        return (
            " With single samples and no momentum steps average to Σ sign(y_i x_i) "
            "whatever the losses, and that does not separate these data."
        )
    return " With single samples and no momentum the limit is Σ sign(y_i x_i)."


def per_sample_adam(setting: Setting, decays: Decays) -> Prediction:
    r"""Adam and RMSProp with batches: a max margin in a norm that the data choose.

    Without $\varepsilon$ the limit is a fixed point of sample weights, computed and
    certified by [`adam_limits`][penchant.theory.adam_limits]: the $\ell_2$ max margin
    where entries of a row are all of one size, $\ell_\infty$ where one sample decides,
    else neither. With $\varepsilon>0$ it is a stage, and $\ell_2$ the end. That the
    direction converges at all is assumed (Assumption 4.4).
    """
    problem = setting.problem
    if not isinstance(setting.batching, ORDERS):
        return _unknown_order(setting)
    if not problem.binary:
        return setting.unknown(
            "With batches of part of the samples Adam's limit is known for two classes "
            "with labels -1 and +1; these are given in the multi-class form.",
            SOURCE,
        )
    if decays.b2 == 0:
        return setting.unknown(
            "b2 = 0 leaves v without memory: steps are those of batches' signs."
            f"{_mean_of_signs(setting, decays.b1)}",
            SOURCE,
            (Linf(), L2()),
        )
    found = adam_limits(
        problem,
        setting.optimizer,
        batching=setting.batching,
        step_size=setting.schedule,
        seconds=SEARCH_SECONDS,
        init=setting.init,
    )
    limit = found.reached
    if not limit.pace > 0 or not limit.converged:
        why = (
            "they do not separate the data: some sample's margin falls"
            if limit.converged
            else "the weights of the samples did not come to rest for b1 = "
            f"{decays.b1:g}, b2 = {decays.b2:g} (a gap of {limit.gap:.1e} where they "
            "were last followed)"
        )
        return setting.unknown(
            f"For these decays and batches no separating limit was found; {why}.",
            SOURCE,
            (L2(), Linf()),
            evidence=found,
        )
    norm = _known_norm(problem, setting, limit)
    pace = _pace(setting, limit, norm)
    regimes = adam_regimes(setting, decays, pace)
    assumptions = (
        setting.separable(),
        setting.exponential_tail(),
        _falling_or_constant(setting, limit),
        *decays.assumptions()[: 1 if decays.eps > 0 else 2],
        _one_limit(found),
        _small_against_memory(setting, decays.b2, "b2"),
        _representable(setting, decays, pace),
    )
    others = tuple(
        _told(setting, other, _known_norm(problem, setting, other), (), ())
        for other in found.limits
        if other is not limit
    )
    told = _told(setting, limit, norm, assumptions, regimes, others, found)
    if decays.eps == 0:
        return told
    best = setting.best(L2())
    return Prediction(
        L2(),
        best.weights,
        best.margin,
        "wang2021adaptive; nacson2019stochastic; baek2026persample on the way",
        "Gradients fall below ε, after which Adam is stochastic gradient descent: the "
        f"limit is the ℓ2 max margin. On the way: {told.statement}",
        assumptions,
        regimes,
        others,
        found,
    )


def _told(
    setting: Setting,
    limit: AdamLimit,
    norm: AbstractNorm | None,
    assumptions: tuple[Assumption, ...],
    regimes: tuple[Any, ...],
    alternatives: tuple[Prediction, ...] = (),
    evidence: AdamLimits | None = None,
) -> Prediction:
    problem = setting.problem
    weights = margin = None
    if norm is not None:
        length = norm(limit.direction)
        weights = limit.direction / length
        margin = jnp.min(problem.margins(weights))
    return Prediction(
        norm,
        weights,
        margin,
        SOURCE,
        _statement(setting, limit, norm),
        assumptions,
        regimes,
        alternatives,
        evidence,
    )


def _statement(setting: Setting, limit: AdamLimit, norm: AbstractNorm | None) -> str:
    problem = setting.problem
    near = []
    for other in (L2(), Linf()):
        best = setting.best(other)
        near.append(
            f"{100 * limit.ratio(problem, best):.4g} % of the largest {other.label} "
            f"margin (cosine {limit.cosine(best):.4f})"
        )
    if norm is None:
        kind = "a direction that is no norm's max margin, as features follow "
        kind += "different samples"
    elif limit.norm is None or not hasattr(norm, "M"):
        kind = f"the {norm.label} max margin on these data"
    else:
        weights = np.asarray(limit.norm.M)
        kind = "the max margin of a Euclidean norm that the samples' own gradients "
        kind += f"weigh, features by up to {weights.max() / weights.min():.3g}"
        if limit.norm_gap >= 5e-9:
            kind = f"{100 * (1.0 - limit.norm_gap):.9g} % of {kind}"
    told = (
        f"An unstable limit, that runs turn away from: {kind}"
        if limit.stable is False
        else f"With batches of part of the samples Adam tends to {kind}"
    )
    return f"{told}. It has {' and '.join(near)}."


def _known_norm(
    problem: LinearClassification, setting: Setting, limit: AdamLimit
) -> AbstractNorm | None:
    for norm in (L2(), Linf()):
        best = setting.best(norm)
        slack = EXACT + float(best.gap) + limit.standard_error**2
        if limit.ratio(problem, best) >= 1.0 - slack:
            return norm
    return limit.norm


def _pace(setting: Setting, limit: AdamLimit, norm: AbstractNorm | None) -> Pace:
    c = np.asarray(limit.c)
    rows = np.asarray(signed_rows(setting.problem))
    size = setting.batching.size_of(len(c))
    # a typical entry of √v: the root mean square of c_i x_i, up to a batch's averaging
    entries = (
        np.sqrt(((c[:, None] * rows) ** 2).mean(axis=0)) * len(c) / math.sqrt(size)
    )
    entry = float(np.median(entries[entries > 0]))
    why = (
        "√v holds the sizes of single batches' gradients, which need not be the mean's"
    )
    return Pace(RegimeName.DATA_ADAPTIVE, norm, limit.pace, entry, why)


def _falling_or_constant(setting: Setting, limit: AdamLimit) -> Assumption:
    """Constant steps have a limit of their own, which is the one computed."""
    if not isinstance(setting.schedule, Constant):
        return setting.decreasing_steps(Linf())
    return Assumption(
        "step sizes fall to 0, or are constant",
        HOLDS,
        f"constant: the limit is that of margins growing by {limit.growth:.3g} a step"
        if limit.growth > 0
        else "constant, and counted as small",
    )


def _one_limit(found: AdamLimits) -> Assumption:
    statement = "the limit does not depend on the start"
    stable = sum(limit.stable is not False for limit in found.limits)
    if stable > 1:
        return Assumption(statement, FAILS, f"{stable} stable limits were found")
    if found.limits[0].stable is False:
        why = "zero weights rest on an unstable limit; the order of samples tips them"
        return Assumption(statement, FAILS, why)
    return Assumption(statement, UNKNOWN, f"one was found from {found.starts} starts")


def _small_against_memory(setting: Setting, b: float, name: str) -> Assumption:
    r"""$\kappa=\eta\max_i\|x_i\|_1/(1-\beta)\ll1$, and from when on."""
    statement = f"steps are small against the memory of {name}"
    schedule = setting.schedule
    if schedule is None:
        return Assumption(statement, UNKNOWN, "no step size was given")
    longest = longest_row(setting.problem, Linf())
    if isinstance(schedule, Constant):
        kappa = float(schedule.scale) * longest / (1.0 - b)
        verdict = HOLDS if kappa < 0.1 else FAILS if kappa > 1 else UNKNOWN
        return Assumption(statement, verdict, f"κ = {kappa:.2g} at every step")
    t = np.concatenate([[0], np.unique(np.rint(np.geomspace(1, 1e9, 2000)))])
    kappa = host_values(schedule, t) * longest / (1.0 - b)
    large = np.flatnonzero(kappa >= 0.1)
    if large.size == 0:
        return Assumption(statement, HOLDS, f"κ = {kappa[0]:.2g} at the first step")
    if large[-1] == len(t) - 1:
        verdict = FAILS if kappa[-1] > 1 else UNKNOWN
        return Assumption(
            statement, verdict, f"κ = {kappa[-1]:.2g} at step {t[-1]:.0e}"
        )
    return Assumption(
        statement,
        HOLDS,
        f"κ = {kappa[0]:.2g} at the first step, below 0.1 from step "
        f"{t[large[-1] + 1]:,.0f} on",
    )


def _representable(setting: Setting, decays: Decays, pace: Pace) -> Assumption:
    """Squares of gradients underflow, without a NaN, in plain arithmetic."""
    told = []
    seen = None
    if setting.schedule is not None and decays.b1**2 < decays.b2:
        seen = course_of(setting, decays, pace, setting.schedule)
    for name, margin in UNDERFLOW.items():
        text = f"in plain {name} they are 0 from a margin of about {margin:.0f} on"
        if seen is not None:
            step = seen.reaches(margin)
            text += f" (step {step:,.0f})" if math.isfinite(step) else " (not by 1e9)"
        told.append(text)
    return Assumption(
        "squares of gradients do not underflow",
        HOLDS,
        "here, in the log domain; " + ", ".join(told) + ", and training stalls",
    )
