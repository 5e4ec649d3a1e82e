import functools
import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from penchant import measures, optimizers
from penchant._checks import check_count, check_instance
from penchant._plain import plain
from penchant._types import Key, Parameters, StepSize
from penchant.flows.slow import Metric
from penchant.measures import Estimate
from penchant.optimizers import AbstractOptimizer
from penchant.problems import AbstractObjective, AbstractProblem, Regression
from penchant.theory._prediction import Assumption, Verdict
from penchant.theory.modified import FiniteStep, StepAt
from penchant.theory.sharpness._clock import slow_time
from penchant.training.batching import AbstractBatching, FullBatch
from penchant.training.schedules import Constant, Power, as_schedule

HOLDS, FAILS, UNKNOWN = Verdict.HOLDS, Verdict.FAILS, Verdict.UNKNOWN

FEW = measures.DENSE
"""Parameters up to which ranks and step sizes are checked by matrices."""

FITTED = 1e-2
"""Loss, as a share of that of answering 0, below which a model counts as fitting."""

BEGUN = 0.1
"""Share of the time that a coordinate takes, below which the drift has hardly begun."""


class SharpnessPrediction(eqx.Module):
    r"""Which sharpness noise has an optimizer lower along the minimisers.

    `measure` names it, None where there is none, or it is unknown; `exponent` is the
    $e$ of $\sum_jH_{jj}^e$, None for another form. `at(w)` evaluates it. `time` is the
    slow time $\sum\eta^2$ of the run asked about, `needed` about the time that the
    drift takes, by the start's size; None where not known. First order only: what is
    foretold is a point where the measure is stationary along the minimisers. `asked`
    is what `finite_step` is about.
    """

    measure: str | None = eqx.field(static=True)
    exponent: float | None = eqx.field(static=True)
    statement: str = eqx.field(static=True)
    source: str = eqx.field(static=True)
    assumptions: tuple[Assumption, ...]
    time: float | None
    needed: float | None
    noise: float | None
    problem: AbstractProblem
    optimizer: AbstractOptimizer
    asked: StepAt | None = None

    @functools.cached_property
    def finite_step(self) -> FiniteStep | None:
        """The term that the step size and memory add to the loss, and its worth.

        None without a step size, or with one that depends on the loss.
        """
        return None if self.asked is None else self.asked.answer()

    @property
    def holds(self) -> bool:
        """Whether no assumption is known to fail."""
        return all(a.verdict is not FAILS for a in self.assumptions)

    @property
    def begun(self) -> bool | None:
        """Whether the slow clock has come far enough to tell; None if unknown."""
        if self.time is None or self.needed is None:
            return None
        return self.time >= BEGUN * self.needed

    def at(
        self, w: Parameters, *, gauss_newton: bool = False, key: Key = 0
    ) -> Estimate:
        """The measure at some weights, with its error; of $G$ in place of $H$ if asked.

        Raises:
            ValueError: If there is no measure.
        """
        if self.measure is None:
            raise ValueError(f"no measure is foretold: {self.statement}")
        second = self.optimizer.character().second
        if self.exponent is not None:
            return measures.power_trace(
                self.problem, w, self.exponent, gauss_newton=gauss_newton, key=key
            )
        assert second is not None
        return measures.block_trace(
            self.problem, w, second.blocks, gauss_newton=gauss_newton, key=key
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything but arrays, in types that JSON has."""
        return plain({
            "measure": self.measure,
            "exponent": self.exponent,
            "statement": self.statement,
            "source": self.source,
            "assumptions": [
                {"statement": a.statement, "verdict": a.verdict.value, "why": a.why}
                for a in self.assumptions
            ],
            "time": self.time,
            "needed": self.needed,
            "noise": self.noise,
            "finite_step": None
            if self.finite_step is None
            else self.finite_step.to_dict(),
        })

    def __repr__(self) -> str:
        lines = [f"SharpnessPrediction({self.measure or 'none'}; {self.source})"]
        lines.append(f"  {self.statement}")
        if self.time is not None:
            lines.append(f"  slow time T = {self.time:.3g}{self._clock()}")
        lines += [f"  {a!r}" for a in self.assumptions]
        if self.finite_step is not None:
            lines += [f"  {line}" for line in repr(self.finite_step).splitlines()]
        return "\n".join(lines)

    def _clock(self) -> str:
        if self.needed is None:
            return ""
        about = f" of about {self.needed:.2g}"
        if not self.begun:
            return f"{about}: this has hardly begun"
        return (
            f"{about}: {'run its course' if self.time >= self.needed else 'under way'}"  # type: ignore[operator]
        )


def lowered(optimizer: AbstractOptimizer | str | object) -> str | None:
    r"""What label noise has a rule lower along the minimisers, in symbols; None if none.

    | rule | lowered |
    |---|---|
    | gradient descent | $\operatorname{tr}H$ |
    | Adam, RMSProp, NAdam, AdamW's own part | $\operatorname{tr}\operatorname{Diag}(H)^{1/2}$ |
    | AdamE, exponent $\lambda$ | $\operatorname{tr}\operatorname{Diag}(H)^{1-\lambda}$ |
    | Adam-mini, Adalayer | $\sum_B\sqrt{\lvert B\rvert\operatorname{tr}H_B}$ |
    | Shampoo | nothing: $\operatorname{tr}(S\,dH)$ is not closed |

    >>> import penchant as pn
    >>> pn.theory.sharpness.lowered("rmsprop")
    'tr Diag(H)^0.5'
    >>> pn.theory.sharpness.lowered("shampoo") is None
    True

    Source: `li2025sharpness`, `li2022what` for gradient descent.
    """  # noqa: E501
    rule = optimizers.read(optimizer)
    try:
        metric = Metric.of(rule)
    except TypeError:
        return None
    if metric.kind == "factors":
        return None
    if metric.kind == "blocks":
        return "Σ_B √(|B| tr H_B)" if metric.exponent == 0.5 else None
    if metric.exponent == 0.0:
        return "tr H"
    return f"tr Diag(H)^{1 - metric.exponent:g}"


def foretell_sharpness(
    problem: AbstractProblem,
    optimizer: AbstractOptimizer | str | object,
    *,
    batching: AbstractBatching = FullBatch(),
    step_size: StepSize | None = None,
    steps: int | None = None,
    weights: Parameters | None = None,
) -> SharpnessPrediction:
    r"""Which sharpness a rule lowers on a regression or an objective, and when.

    What [`predict`][penchant.predict] gives for these. Every assumption has a verdict
    for this input: that the model fits, that there is noise of the right kind, that the
    Hessian's rank is constant, that $\varepsilon$ is small, that $1-\beta_2$ is on the
    scale of $\eta^2$, and that $T=\sum\eta^2$ is long enough.

    >>> import jax.numpy as jnp, penchant as pn
    >>> apply = lambda w, X: X @ w**2
    >>> problem = pn.Regression(
    ...     apply, jnp.ones(2), [[1.0, 1.0]], [2.0], label_noise=0.1
    ... )
    >>> told = pn.predict(problem, "adam", step_size=1e-3)
    >>> told.measure, told.begun
    ('tr Diag(H)^0.5', None)

    Args:
        problem: A regression or an objective.
        optimizer: The update rule.
        batching: Which samples an update sees.
        step_size: As `train` takes it.
        steps: Number of updates asked about.
        weights: Where the assumptions are looked at; None for the problem's start.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a number is out of its range.
    """
    check_instance(
        "problem", problem, AbstractObjective, "a Regression or an Objective"
    )
    check_instance("batching", batching, AbstractBatching, "one of penchant.batching")
    batching.check(problem.samples)
    rule = optimizers.read(optimizer)
    w = problem.start if weights is None else problem.read(weights, "weights")
    measure = lowered(rule)
    alpha = _strength(problem, batching)
    time = None
    if step_size is not None and steps is not None:
        time = slow_time(step_size, check_count("steps", steps))
    asked = None
    if step_size is not None:
        asked = StepAt(problem, rule, step_size, steps, w)
    try:
        metric = Metric.of(rule)
    except TypeError as error:
        return SharpnessPrediction(
            None, None, f"No slow flow is known of {type(rule).__name__}: {error}",
            "none", (), time, None, alpha, problem, rule, asked,
        )  # fmt: skip
    needed = _needed(problem, metric, w, alpha)
    facts = (
        _fits(problem, w),
        _noise(problem, batching),
        _rank(problem, w),
        *_eps(problem, metric, w, alpha),
        *_memory(metric, step_size),
        *_decay(metric),
        _time(time, needed),
    )
    exponent = None
    if measure is not None and metric.kind in ("none", "entries"):
        exponent = 1.0 - metric.exponent
    name = type(rule).__name__
    if measure is None:
        statement = (
            f"{name} follows a slow flow that descends no function: tr(S dH) around a "
            "loop is not 0 (see penchant.flows.slow.loop_integral)."
        )
    else:
        statement = (
            f"Along the minimisers {name} lowers {measure}, to where it is stationary: "
            "a first-order statement, of a local minimum at best."
        )
    key = "li2022what" if metric.kind == "none" else "li2025sharpness"
    return SharpnessPrediction(
        measure,
        exponent,
        statement,
        key,
        facts,
        time,
        needed,
        alpha,
        problem,
        rule,
        asked,
    )


def _strength(problem: AbstractProblem, batching: AbstractBatching) -> float | None:
    r"""$\alpha=\delta^2/b$; None where noise is not that of labels."""
    if not isinstance(problem, Regression) or not problem.random:
        return None
    size = batching.size_of(problem.samples)
    return float(np.asarray(problem.label_noise)) ** 2 / size


def _fits(problem: AbstractProblem, w: Parameters) -> Assumption:
    loss = float(problem.recorded(w))
    statement = "the model fits every sample, and weights are near its minimisers"
    if isinstance(problem, Regression):
        scale = 0.5 * float(np.mean(np.asarray(problem.y) ** 2) + 1e-300)
        share = loss / scale
        why = f"loss {loss:.2g}, {share:.1g} of that of answering 0"
        return Assumption(statement, HOLDS if share < FITTED else UNKNOWN, why)
    return Assumption(statement, UNKNOWN, f"loss {loss:.2g}; its least is not known")


def _noise(problem: AbstractProblem, batching: AbstractBatching) -> Assumption:
    statement = "noise is fresh at every step, with covariance αH on the minimisers"
    if isinstance(problem, Regression) and problem.random:
        delta = float(np.asarray(problem.label_noise))
        return Assumption(statement, HOLDS, f"label noise {delta:g}")
    if problem.random:
        why = "the objective's own noise: measures.gradient_noise says how near it is"
        return Assumption(statement, UNKNOWN, why)
    if batching.covers(problem.samples):
        return Assumption(statement, FAILS, "there is no noise: nothing drives a drift")
    why = "without label noise the noise of batches ends where every sample is fitted"
    return Assumption(statement, FAILS, why)


def _rank(problem: AbstractProblem, w: Parameters) -> Assumption:
    statement = "the Hessian has constant rank along the minimisers"
    if problem.parameters > FEW:
        return Assumption(statement, UNKNOWN, f"more than {FEW} parameters")
    values = np.linalg.eigvalsh(np.asarray(measures.hessian(problem, w)))
    top = float(values[-1])
    if top <= 0:
        return Assumption(statement, FAILS, "the Hessian is 0 here")
    rank = int((values > 1e-7 * top).sum())
    want = None
    if isinstance(problem, Regression):
        want = min(problem.y.size, problem.parameters)
    why = f"rank {rank} of {problem.parameters} here"
    if rank == problem.parameters:
        return Assumption(statement, FAILS, f"{why}: the minimiser is a single point")
    if want is not None and rank < want:
        return Assumption(statement, FAILS, f"{why}, of {want} residuals")
    why += "; coordinates that die on the way lower it, and slow_flow says when"
    return Assumption(statement, UNKNOWN, why)


def _diagonal(problem: AbstractProblem, w: Parameters) -> np.ndarray | None:
    if problem.parameters > FEW:
        return None
    h = np.diag(np.asarray(measures.hessian(problem, w)))
    return np.maximum(h, 0.0)


def _eps(
    problem: AbstractProblem, metric: Metric, w: Parameters, alpha: float | None
) -> tuple[Assumption, ...]:
    if metric.second is None or metric.kind == "factors":
        return ()
    statement = "ε is small against the root of the second moment"
    eps = metric.second.outside
    h = _diagonal(problem, w)
    if eps == 0:
        dead = 0 if h is None else int((h == 0).sum())
        if dead:
            why = f"ε = 0, and {dead} coordinates have H_jj = 0: 0/0 there"
            return (Assumption(statement, FAILS, why),)
        return (Assumption(statement, HOLDS, "ε = 0"),)
    if h is None or alpha is None:
        return (Assumption(statement, UNKNOWN, f"ε = {eps:g}"),)
    typical = float(np.median(alpha * h)) ** metric.exponent
    verdict = HOLDS if eps < 0.1 * typical else FAILS
    why = f"ε = {eps:g}, v^{metric.exponent:g} typically {typical:.2g}"
    if verdict is FAILS:
        why += ": a mixture with tr H is lowered, which slow_flow's potential is"
    return (Assumption(statement, verdict, why),)


def _memory(metric: Metric, step_size: StepSize | None) -> tuple[Assumption, ...]:
    if metric.second is None:
        return ()
    statement = "1 - β2 is on the scale of η², or above it and small"
    rest = 1.0 - float(np.asarray(metric.second.decay))
    if step_size is None:
        return (Assumption(statement, UNKNOWN, "no step size was given"),)
    schedule = as_schedule(step_size)
    if not isinstance(schedule, (Constant, Power)):
        return (Assumption(statement, UNKNOWN, "an arbitrary function of the step"),)
    c = rest / float(np.asarray(schedule(jnp.zeros(())))) ** 2
    why = f"c = (1 - β2)/η² = {c:.3g}"
    if rest > 0.02:
        why += f"; 1 - β2 = {rest:.2g} shifts the end by about as much"
        return (Assumption(statement, FAILS, why),)
    if c < 0.05:
        why += ": the second moment lags behind the slow clock"
        return (Assumption(statement, FAILS, why),)
    return (Assumption(statement, HOLDS, why + (", quasi-static" * (c > 50))),)


def _decay(metric: Metric) -> tuple[Assumption, ...]:
    if metric.decay == 0:
        return ()
    why = f"decay {metric.decay:g}: slow_flow with step_size has its term"
    return (Assumption("there is no weight decay", FAILS, why),)


def _needed(
    problem: AbstractProblem, metric: Metric, w: Parameters, alpha: float | None
) -> float | None:
    r"""About the slow time of the drift: the weights' size over its speed.

    $|\zeta|^2/|\dot\zeta|$-like, coordinate by coordinate: for a diagonal network it is
    the extinction time of a typical coordinate.
    """
    if metric.kind == "factors" or alpha is None:
        return None
    x = np.abs(np.asarray(problem.flat(w)))
    h = _diagonal(problem, w)
    some = x > 0
    if h is None or not some.any() or not (h > 0).any():
        return None
    # |d theta/dt| ~ (alpha/4) s^2 dh/dtheta, with dh/dtheta ~ 2 h / theta
    v = alpha * h
    if metric.kind == "blocks":
        v = np.full_like(v, v.mean())
    power, eps = metric.exponent, metric.eps
    s = metric.gain / (np.where(v > 0, v, np.inf) ** power + eps)
    speed = 0.5 * alpha * s**2 * h / np.where(some, x, 1.0)
    ratio = x[some & (speed > 0)] / speed[some & (speed > 0)]
    return float(np.median(ratio)) if ratio.size else None


def _time(time: float | None, needed: float | None) -> Assumption:
    statement = "the slow clock has come far enough"
    if time is None:
        return Assumption(statement, UNKNOWN, "step size and number of steps not given")
    if needed is None or not math.isfinite(needed):
        return Assumption(statement, UNKNOWN, f"T = Ση² = {time:.3g}")
    why = f"T = Ση² = {time:.3g}, and a typical coordinate takes {needed:.2g}"
    if time < BEGUN * needed:
        return Assumption(statement, FAILS, why + ": this has hardly begun")
    return Assumption(statement, HOLDS if time >= needed else UNKNOWN, why)
