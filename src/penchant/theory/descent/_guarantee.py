r"""What the lemmas of `fan2025spectral` add up to over a run."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from penchant._checks import check_count, check_instance, check_number
from penchant._types import Real, Scalar, StepSize, Tree
from penchant.norms import AbstractNorm
from penchant.problems import LinearClassification, losses
from penchant.theory.descent._lemmas import (
    LEAST_SHARE,
    Constants,
    check_bound,
    sharp_constants,
)
from penchant.theory.descent._rules import as_descent
from penchant.training import Trajectory
from penchant.training.schedules import Schedule, as_schedule, host_values


class Guarantee(eqx.Module):
    r"""What is proved of normalised steepest descent after so many steps.

    `margin` `(r,)` bounds $\min_iq_i(W_t)$ from below and `share` `(r,)` the ratio
    $\min_iq_i(W_t)/(\gamma\|W_t\|)$, both from above by nothing: where `vacuous`, they
    are at most 0 and promise not even that the data are separated. `separated` is the
    step from which $L\le\log2/n$, infinite where that is not shown.
    """

    steps: Int[Array, " r"]
    margin: Float[Array, " r"]
    share: Float[Array, " r"]
    separated: float = eqx.field(static=True)
    constants: Constants

    @property
    def vacuous(self) -> Bool[Array, " r"]:
        """Where nothing is promised."""
        return self.share <= 0

    def __repr__(self) -> str:
        last = (
            "vacuous"
            if bool(self.vacuous[-1])
            else f"margin at least {float(self.margin[-1]):.4g}, share of the largest "
            f"at least {float(self.share[-1]):.4g}"
        )
        return (
            f"Guarantee(after {int(self.steps[-1])} steps, with {self.constants.name}: "
            f"{last})"
        )


def guarantee(
    problem: LinearClassification,
    norm: AbstractNorm,
    step_size: StepSize,
    steps: int,
    *,
    gamma: Real,
    momentum: Real = 0.0,
    constants: Constants | None = None,
) -> Guarantee:
    r"""Theorems 1 and 2 with their constants, before any run: descent from 0.

    While $L>\log2/n$ the proxy is above $\log2/(2n)$, so every step with $\alpha\eta<1$
    gains at least $\gamma\eta(1-\alpha\eta)\log2/(2n)$; that shows when $L\le\log2/n$.
    From then on Lemma 5 adds up,

    $$\min_iq_i(W_t)\ge\gamma\sum_s\eta_s\frac{G(W_s)}{L(W_s)}
      -\sum_s(\alpha_s\eta_s+P_s)\eta_s,\qquad\alpha_s=\tfrac12R^2e^{R\eta_s},$$

    with $G/L\ge1-nL/2$ from the descent lemma's bound of $L$. $P_s$ is what momentum
    costs, 0 without it (see `Constants`); with it, a step gains at least
    $\gamma-\alpha_s\eta_s-P_s$ for every unit of $\eta_sG$. All sums are computed,
    none is estimated. They are large: on the paper's data nothing is promised within
    $10^4$ steps, and `vacuous` says so.

    Args:
        problem: Data and loss.
        norm: The norm of the steps.
        step_size: As `train` takes it.
        steps: The last step asked for, at most $10^8$; powers of ten before it too.
        gamma: The largest margin in `norm`.
        momentum: $\beta_1\in[0,1)$, heavy-ball or Nesterov's.
        constants: `paper_constants`, `dimension_free_constants` or `sharp_constants`;
            None for the last.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range.
    """
    best = check_bound(problem, norm, gamma)
    steps = check_count("steps", steps)
    if steps > MOST:
        raise ValueError(f"steps must be at most {MOST:g}; got {steps}.")
    check_number("momentum", momentum, least=0.0, below=1.0)
    c = sharp_constants(problem, norm) if constants is None else constants
    eta, lost = _step_constants(as_schedule(step_size), steps, c, momentum)
    gain = eta * (best - lost)  # per unit of G; alpha is the paper's times gamma
    n = problem.samples
    target = math.log(math.log(2.0) / n)
    log_L = float(problem.log_loss(jnp.zeros(problem.weight_shape)))
    rising = np.flatnonzero(gain <= 0)
    after = int(rising[-1]) + 1 if rising.size else 0
    log_L = _risen(problem, log_L, -gain[rising])
    at = np.unique(np.append(10 ** np.arange(int(math.log10(steps)) + 1), steps))
    if isinstance(problem.loss, losses.Exponential):  # G is L itself
        fallen = log_L + np.cumsum(np.log1p(-np.minimum(gain[after:], 1 - 1e-16)))
    else:
        fall = 0.5 * math.log(2.0) / n * np.cumsum(gain[after:])
        fallen = np.where(
            np.log(np.maximum(math.exp(min(log_L, 700.0)) - fall, 1e-300)) <= target,
            target,
            np.inf,
        )
    there = np.flatnonzero(fallen <= target)
    if log_L <= target and after < steps:
        separated = after
    else:
        separated = after + int(there[0]) + 1 if there.size else steps + 1
    late = np.arange(separated, steps)
    bound = target + np.cumsum(np.log1p(-np.minimum(LEAST_SHARE * gain[late], 0.999)))
    bound = np.concatenate([[target], bound])[: len(late)]
    share = 1.0 - 0.5 * n * np.exp(bound)
    summed = np.concatenate([
        [0.0],
        np.cumsum(eta[late] * (best * share - lost[late])),
    ])
    margin = np.where(
        at >= separated, summed[np.clip(at - separated, 0, len(late))], -np.inf
    )
    # before it is shown to separate, no margin is bounded
    length = np.cumsum(eta)[at - 1]
    return _guarantee(
        at,
        margin,
        margin / (best * length),
        math.inf if separated > steps else float(separated),
        c,
    )


def guarantee_along(
    run: Trajectory,
    norm: AbstractNorm,
    *,
    gamma: Real,
    constants: Constants | None = None,
) -> Guarantee:
    r"""Lemma 5 along a run: the same sums from the first record with $L\le\log2/n$ on.

    Between records $G/L\ge1-nL/2$ is taken at the loss of the record before, which the
    descent lemma bounds as long as no step can raise it, and 0 where that fails: what
    is returned is proved, however few the records. The run must be one of normalised
    steepest descent in `norm` on full batches, with momentum or without
    (`SteepestDescent`, `SignDescent`, `Signum`, `Muon` with exact polar factors);
    momentum costs what `Constants` says, from the first step on.

    Args:
        run: Such a run.
        norm: The norm of its steps.
        gamma: The largest margin in `norm`.
        constants: `paper_constants`, `dimension_free_constants` or `sharp_constants`;
            None for the last.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If `gamma` is not positive, or the run is of another rule.
    """
    check_instance("run", run, Trajectory, "a Trajectory of penchant.train")
    problem = run.rule.problem
    best = check_bound(problem, norm, gamma)
    descent = as_descent(run.rule.optimizer)
    if descent is None or not descent.norm.same(norm):
        raise ValueError(
            "run must be of normalised steepest descent in that norm; got "
            f"{run.rule.optimizer!r} and {norm!r}."
        )
    if not run.rule.batching.covers(problem.samples):
        raise ValueError(f"run must be of full batches; got {run.rule.batching!r}.")
    c = sharp_constants(problem, norm) if constants is None else constants
    steps, log_L = np.asarray(run.steps), np.asarray(run.log_loss)
    last, n = int(steps[-1]), problem.samples
    eta, lost = _step_constants(run.rule.schedule, last, c, descent.b1)
    low = np.flatnonzero(log_L <= math.log(math.log(2.0) / n))
    lengths = np.asarray(run.lengths(norm))
    if low.size == 0:
        none = np.full(len(steps), -np.inf)
        return _guarantee(steps, none, none, math.inf, c)
    begin = int(steps[low[0]])
    s = np.arange(begin, last)
    record = np.searchsorted(steps, s, side="right") - 1
    safe = lost <= best
    broken = np.concatenate([[0], np.cumsum(~safe)])
    since = broken[s] - broken[np.minimum(steps[record], last)]
    share = np.where(since == 0, 1.0 - 0.5 * n * np.exp(log_L[record]), 0.0)
    terms = eta[s] * (best * np.maximum(share, 0.0) - lost[s])
    summed = np.concatenate([[0.0], np.cumsum(terms)])
    margin = np.where(steps >= begin, summed[np.maximum(steps - begin, 0)], -np.inf)
    share = margin / (best * np.where(lengths > 0, lengths, 1.0))
    return _guarantee(steps, margin, share, float(begin), c)


MOST = 10**8


def _guarantee(
    steps: np.ndarray,
    margin: np.ndarray,
    share: np.ndarray,
    separated: float,
    constants: Constants,
) -> Guarantee:
    return Guarantee(
        jnp.asarray(steps),
        jnp.asarray(margin),
        jnp.asarray(share),
        separated,
        constants,
    )


def _step_constants(
    schedule: Schedule, steps: int, c: Constants, momentum: Real
) -> tuple[np.ndarray, np.ndarray]:
    r"""$\eta_s$ of every step, and $\alpha_s\eta_s+P_s$, at most about e^700."""
    eta = host_values(schedule, np.arange(steps))
    largest = np.full_like(eta, eta.max()) if c.uniform else eta
    alpha = 0.5 * c.R**2 * np.exp(np.minimum(c.R * largest, 700.0))
    beta = float(np.asarray(momentum))
    if beta == 0.0:
        return eta, alpha * eta
    lag = np.asarray(_lag(jnp.asarray(eta), beta, c.R if c.reach is None else c.reach))
    t = np.arange(float(steps))
    cost = c.factor * (1.0 - beta) * lag
    if c.start is None:
        forgotten = beta ** (t + 1.0)
        cost = np.minimum(cost / (1.0 - forgotten), cost + forgotten)
    else:
        cost = cost + beta ** (c.start[0] * t + c.start[1])
    return eta, np.minimum(alpha * eta + 2.0 * c.R * cost, 1e300)


@eqx.filter_jit
def _lag(eta: Float[Array, " t"], beta: float, reach: float) -> Float[Array, " t"]:
    r"""$S_t$ of `Constants` at every step, from $S_0=0$.

    $S_t=\beta\bigl(S_{t-1}+(e^{r\eta_{t-1}}-1)(S_{t-1}+g_{t-1})\bigr)$ with
    $g_t=\sum_{s\le t}\beta^s$.
    """

    def one(carry: Tree, step: Scalar) -> Any:
        S, g = carry
        grown = jnp.expm1(jnp.minimum(reach * step, 700.0))
        after = jnp.minimum(beta * (S + grown * (S + g)), 1e300)
        return (after, 1.0 + beta * g), S

    start = (jnp.zeros(()), jnp.ones(()))
    return jax.lax.scan(one, start, eta)[1]


def _risen(problem: LinearClassification, log_L: float, rise: np.ndarray) -> float:
    """The log-loss after steps that may raise it, each by at most `rise` of G."""
    if isinstance(problem.loss, losses.Exponential):
        return log_L + float(np.log1p(rise).sum())
    most = problem.classes - 1 if isinstance(problem.loss, losses.PairLog) else 1
    return float(np.logaddexp(log_L, np.log(max(max(most, 1) * rise.sum(), 1e-300))))
