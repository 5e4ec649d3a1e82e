r"""Where in a run Adam and RMSProp are throttled, adaptive, or gradient descent.

Derived and measured for linear problems; no theorem's.
"""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from penchant.norms import L2, AbstractNorm, Linf
from penchant.theory._prediction import Regime
from penchant.theory._setting import Setting
from penchant.theory.regimes._course import HORIZON, Course, RegimeName, course
from penchant.theory.regimes._decays import Decays
from penchant.training.schedules import Schedule


class Pace(eqx.Module):
    r"""How a geometry grows margins, and where $\varepsilon$ ends it.

    `gamma` is the margin gained per unit of $\sum_t\eta_t$, `entry` a typical entry of
    $\sqrt v$ over the mean loss, `norm` the geometry (None where it is no norm's).
    """

    name: RegimeName = eqx.field(static=True)
    norm: AbstractNorm | None
    gamma: float = eqx.field(static=True)
    entry: float = eqx.field(static=True)
    why: str = eqx.field(static=True)


def sign_like(setting: Setting, decays: Decays) -> Pace:
    r"""Full batches: $m/\sqrt v$ is the gradient's sign.

    Near the $\ell_\infty$ max margin the gradient over the loss is the mixture of
    samples that certifies it, whose $\ell_1$ norm is $\gamma$.
    """
    best = setting.best(Linf())
    gamma = float(best.margin)
    why = "the moments are those of the present gradient: m/√v is its sign"
    pull = np.abs(np.asarray(setting.problem.pull(best.pairs)))
    entry = crossing_entry(pull.ravel(), decays.eps_inside)
    return Pace(RegimeName.SIGN_LIKE, Linf(), gamma, entry, why)


def crossing_entry(g: np.ndarray, inside: bool) -> float:
    r"""The $\varepsilon$ that has half a say among entries $|g_i|$, each weighed by it.

    $\sum_i|g_i|\kappa_i=\frac12\sum_i|g_i|$ with
    $\kappa_i=\varepsilon/(|g_i|+\varepsilon)$, squared all three inside: what
    [`share_of_eps`][penchant.estimators.share_of_eps] puts the crossover at.
    """
    g = g[g > 0]
    power = 2.0 if inside else 1.0
    low, high = math.log(g.min()), math.log(g.max())
    for _ in range(60):
        middle = 0.5 * (low + high)
        kappa = 1.0 / (1.0 + np.exp(power * (np.log(g) - middle)))
        over = float(g @ kappa) > 0.5 * float(g.sum())
        low, high = (low, middle) if over else (middle, high)
    return math.exp(0.5 * (low + high))


def adam_regimes(setting: Setting, decays: Decays, pace: Pace) -> tuple[Regime, ...]:
    r"""Throttled, then in its own geometry, then (where $\varepsilon>0$) descent.

    Throttled while $\gamma\eta_t>(1-\beta_2)/2$: weighed by the moments of large early
    gradients, which is no norm's geometry. Gradient descent once a typical entry of
    $\sqrt v$ is below $\varepsilon$. Steps are those of `course`.
    """
    schedule = setting.schedule
    if schedule is None or decays.b1**2 >= decays.b2:
        return _without_steps(decays)
    seen = course_of(setting, decays, pace, schedule)
    b2, eps = decays.b2, decays.eps
    regimes = []
    throttled = min(seen.throttled, seen.crossover)
    if throttled > 1:
        why = (
            f"steps gain more than (1 - b2)/2 = {(1 - b2) / 2:.2g} in margin, so the "
            "moments stay those of larger, earlier gradients"
        )
        regimes.append(Regime(RegimeName.THROTTLED, None, 0.0, throttled, why))
    if seen.crossover > throttled:
        regimes.append(
            Regime(pace.name, pace.norm, throttled, seen.crossover, pace.why)
        )
    if eps > 0:
        reached = seen.nats[
            np.searchsorted(seen.steps, seen.crossover).clip(max=len(seen.nats) - 1)
        ]
        margin = f" (nats {reached:.3g})" if math.isfinite(seen.crossover) else ""
        why = (
            f"gradient entries are below ε = {eps:.3g} from then on{margin}: Adam is "
            "gradient descent with step η/ε"
        )
        regimes.append(
            Regime(RegimeName.BELOW_EPS, L2(), seen.crossover, math.inf, why)
        )
    return tuple(regimes)


def course_of(
    setting: Setting, decays: Decays, pace: Pace, schedule: Schedule
) -> Course:
    """The course of a run from zero weights."""
    problem = setting.problem
    nats = -float(problem.log_loss(jnp.zeros(problem.weight_shape)))
    return course(decays, schedule, HORIZON, pace.gamma, entry=pace.entry, nats=nats)


def _without_steps(decays: Decays) -> tuple[Regime, ...]:
    if decays.eps == 0:
        return ()
    why = "gradient entries are below ε: Adam is gradient descent with step η/ε"
    return (Regime(RegimeName.BELOW_EPS, L2(), math.nan, math.inf, why),)
