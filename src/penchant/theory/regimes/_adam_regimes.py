r"""Where in a run Adam and RMSProp are throttled, adaptive, or gradient descent.

Derived and measured for linear problems; no theorem's.
"""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from penchant._checks import check_number
from penchant._types import Real
from penchant.norms import L2, AbstractNorm, Linf
from penchant.theory._prediction import Assumption, Regime, Verdict
from penchant.theory._setting import Setting
from penchant.training.schedules import Constant, Schedule, values

HORIZON = 1e9
"""No regime is looked for past this many steps."""


class Decays(eqx.Module):
    r"""$\beta_1$, $\beta_2$ and $\varepsilon$, the last one as if outside the root."""

    b1: float = eqx.field(static=True)
    b2: float = eqx.field(static=True)
    eps: float = eqx.field(static=True)

    def assumptions(self) -> tuple[Assumption, ...]:
        """What theorems on Adam need of its decays."""
        b1, b2 = self.b1, self.b2
        why = f"b1 = {b1:g}, b2 = {b2:g}"
        if b1**2 > b2:
            why += "; b1² > b2 lets m/√v grow without bound, and early steps run away"
        return (
            Assumption(
                "b1 is at most b2", Verdict.HOLDS if b1 <= b2 else Verdict.FAILS, why
            ),
            Assumption(
                "ε is 0",
                Verdict.HOLDS if self.eps == 0 else Verdict.FAILS,
                f"ε = {self.eps:g} outside the root",
            ),
        )


def adam_growth(gamma: float, step_size: Real, b1: float, b2: float) -> np.ndarray:
    r"""Margin that full-batch Adam ($\varepsilon=0$) gains a step, $r(\eta)$.

    The positive root of

    $$r=\gamma_\infty\eta\;\frac{1-\beta_1}{1-\beta_1e^{r}}
      \sqrt{\frac{1-\beta_2e^{2r}}{1-\beta_2}} .$$

    Gradients fall by $e^{-r}$ a step, and the moments remember larger ones: steps
    shrink. Small steps gain $\gamma_\infty\eta$; no step gains more than
    $-\frac12\log\beta_2\approx(1-\beta_2)/2$, however large $\eta$ is.

    Args:
        gamma: The $\ell_\infty$ max margin.
        step_size: Step sizes $\eta$, a number or an array; the result has its shape.
        b1: $\beta_1$, with $\beta_1^2<\beta_2$, for else no such limit exists.
        b2: $\beta_2$, in (0, 1).

    Raises:
        ValueError: If an argument is out of its range.
    """
    check_number("gamma", gamma, above=0.0)
    check_number("b2", b2, above=0.0, below=1.0)
    check_number("b1", b1, least=0.0, below=math.sqrt(b2))
    given = np.asarray(step_size, dtype=float)
    eta = np.atleast_1d(given)

    def excess(z: np.ndarray) -> np.ndarray:  # of the right side, at z = 1 - b2 e^2r
        r = 0.5 * np.log((1.0 - z) / b2)
        damped = (1.0 - b1) / (1.0 - b1 * np.sqrt((1.0 - z) / b2))
        return gamma * eta * damped * np.sqrt(z / (1.0 - b2)) - r

    # in z, not r: strong throttles sit at z -> 0, where r has lost its digits
    low = np.full(eta.shape, -700.0)
    high = np.full(eta.shape, np.log1p(-b2))
    for _ in range(80):
        middle = 0.5 * (low + high)
        over = excess(np.exp(middle)) > 0
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    r = 0.5 * (np.log1p(-np.exp(high)) - math.log(b2))
    return r.reshape(given.shape)


class Pace(eqx.Module):
    r"""How a geometry grows margins, and where $\varepsilon$ ends it.

    `gamma` is the margin gained per unit of $\sum_t\eta_t$, `entry` a typical entry of
    $\sqrt v$ over the mean loss, `norm` the geometry (None where it is no norm's).
    """

    name: str = eqx.field(static=True)
    norm: AbstractNorm | None
    gamma: float = eqx.field(static=True)
    entry: float = eqx.field(static=True)
    why: str = eqx.field(static=True)


def sign_like(setting: Setting) -> Pace:
    r"""Full batches: $m/\sqrt v$ is the gradient's sign."""
    gamma = float(setting.best(Linf()).margin)
    why = "the moments are those of the present gradient: m/√v is its sign"
    entry = gamma / math.prod(setting.problem.weight_shape)
    return Pace("sign-like", Linf(), gamma, entry, why)


def adam_regimes(setting: Setting, decays: Decays, pace: Pace) -> tuple[Regime, ...]:
    r"""Throttled, then in its own geometry, then (where $\varepsilon>0$) descent.

    Throttled while $\gamma\eta_t>(1-\beta_2)/2$: weighed by the moments of large early
    gradients, which is no norm's geometry. Gradient descent once a typical entry of
    $\sqrt v$ is below $\varepsilon$. Steps are found from `adam_growth`; measured
    crossovers came within a few per cent for $\beta_2\ge.99$, 15 % for shorter
    memories.
    """
    schedule = setting.schedule
    b1, b2, eps = decays.b1, decays.b2, decays.eps
    if schedule is None or b1**2 >= b2:
        return _without_steps(decays)
    throttled = _throttled_until(schedule, pace.gamma, b2)
    crossover = math.inf
    problem = setting.problem
    margin = math.nan
    if eps > 0:
        zero = jnp.zeros(problem.weight_shape)
        margin = float(problem.log_loss(zero)) + math.log(pace.entry) - math.log(eps)
        crossover = reached_at(schedule, pace.gamma, decays, max(margin, 0.0))
    regimes = []
    throttled = min(throttled, crossover)
    if throttled > 1:
        why = (
            f"steps gain more than (1 - b2)/2 = {(1 - b2) / 2:.2g} in margin, so the "
            "moments stay those of larger, earlier gradients"
        )
        regimes.append(Regime("throttled", None, 0.0, throttled, why))
    if crossover > throttled:
        regimes.append(Regime(pace.name, pace.norm, throttled, crossover, pace.why))
    if eps > 0:
        why = (
            f"gradient entries are below ε = {eps:.3g} from a margin of about "
            f"{margin:.3g} on: Adam is gradient descent with step η/ε"
        )
        regimes.append(Regime("below ε", L2(), crossover, math.inf, why))
    return tuple(regimes)


def _without_steps(decays: Decays) -> tuple[Regime, ...]:
    if decays.eps == 0:
        return ()
    why = "gradient entries are below ε: Adam is gradient descent with step η/ε"
    return (Regime("below ε", L2(), math.nan, math.inf, why),)


def _throttled_until(schedule: Schedule, gamma: float, b2: float) -> float:
    """The first step with gamma * eta <= (1 - b2) / 2, or at which memory has faded."""
    bound = (1.0 - b2) / 2.0
    if isinstance(schedule, Constant):
        excess = gamma * float(schedule.scale) / bound
        if excess <= 1:
            return 0.0
        # frozen weights are forgotten after (excess)^2 memories
        return excess**2 / (1.0 - b2)
    t, eta, _ = _grid(schedule)
    calm = np.flatnonzero(gamma * eta > bound)
    if calm.size == 0:
        return 0.0
    last = calm[-1]
    return math.inf if last == len(t) - 1 else float(t[last + 1])


def reached_at(
    schedule: Schedule, gamma: float, decays: Decays, margin: float
) -> float:
    """The step by which so much margin is gained; infinite beyond the horizon."""
    t, eta, width = _grid(schedule)
    gained = np.cumsum(adam_growth(gamma, eta, decays.b1, decays.b2) * width)
    past = np.flatnonzero(gained >= margin)
    return float(t[past[0]]) if past.size else math.inf


def _grid(schedule: Schedule) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, their sizes, and how many steps each stands for: dense, then sparse."""
    later = np.unique(np.rint(np.geomspace(4096, HORIZON, 4000)))
    edges = np.concatenate([np.arange(4096.0), later]).astype(np.int64)
    eta = np.asarray(values(schedule, jnp.asarray(edges[:-1])))
    return edges[:-1].astype(float), eta, np.diff(edges)
