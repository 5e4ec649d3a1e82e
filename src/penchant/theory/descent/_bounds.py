r"""Lemmas of `fan2025spectral` as inequalities, and what they add up to.

Everything is relative to the proxy $G$ and computed in the log domain, so that it holds
its digits at any loss. The paper bounds how far a step moves margins by $2B$,
$B=\max_i\|x_i\|_1$, which serves every norm at once; the dual norm $R_*$ of the longest
row (`longest_row`) does the same work for one norm, and is never larger.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from penchant._checks import check_count, check_instance, check_number
from penchant._types import Real, Scalar, StepSize, Tree, Weights
from penchant.norms import AbstractLp, AbstractNorm, AbstractSchatten
from penchant.problems import LinearClassification, losses
from penchant.theory._setting import longest_row
from penchant.theory.descent._rules import as_descent
from penchant.training import Trajectory
from penchant.training.schedules import Schedule, as_schedule, values

LEAST_SHARE = 1.0 - 0.5 * math.log(2.0)
r"""$G/L$ is at least this once $L\le\log2/n$ (Lemma 3)."""


class Constants(eqx.Module):
    r"""$R$: a step of norm $\eta$ moves no margin by more than $\eta R$.

    `uniform` takes the growth $e^{R\eta}$ of $G$ within a step from the first and
    largest step for all, as the papers do, in place of each step's own.

    Momentum $\beta$ remembers gradients of earlier weights. What that costs a step, in
    units of $\eta G$, is

    $$P_t=2R\Bigl(f\,\frac{1-\beta}{1-\beta^{t+1}}\,S_t+\text{start}_t\Bigr),\qquad
    S_t=\sum_{s\le t}\beta^s\bigl(e^{r\sum_{\tau=1}^s\eta_{t-\tau}}-1\bigr),$$

    with $f$ = `factor`, $r$ = `reach` and no start where momentum's direction alone is
    compared, or with 1 for $1-\beta^{t+1}$ and $\text{start}_t=\beta^{at+b}$, $(a,b)$ =
    `start`. Where `start` is None the lesser of the former and of the latter with
    (1, 1) is taken.
    """

    R: float = eqx.field(static=True)
    uniform: bool = eqx.field(static=True)
    name: str = eqx.field(static=True)
    factor: float = eqx.field(static=True, default=1.0)
    reach: float | None = eqx.field(static=True, default=None)
    start: tuple[float, float] | None = eqx.field(static=True, default=None)


def paper_constants(problem: LinearClassification) -> Constants:
    r"""$R=2B$, $B=\max_i\|x_i\|_1$: one constant for every norm of the two families.

    With two classes $w$ and labels $\pm1$ it is $B$, as $W=(-w,w)/2$. For momentum
    there is a factor $d$, the number of features:
    $P_t=2(2B\beta^{t/2}+2dB(1-\beta)S_t)$ with $r=2B$ (Lemmas 6 to 8; their constant
    $c_2$ bounds $S_t/\eta_t$, which is computed here). The constants of its appendix
    are known from notes; they follow from ours.
    """
    B = float(jnp.max(jnp.sum(jnp.abs(problem.X), axis=1)))
    R = B if problem.binary else 2.0 * B
    return Constants(R, True, "2B", float(problem.X.shape[1]), R, (0.5, 0.0))


def dimension_free_constants(
    problem: LinearClassification, norm: AbstractNorm
) -> Constants:
    r"""$R=2\max_{ic}\|e_cx_i^\top\|_*$, without a factor $d$ for momentum.

    $P_t=2\bigl(2(1-\beta)R_\psi S_t+2R_\psi\beta^{t+1}\bigr)$ with $R_\psi=R/2$ and
    $r=R$: Proposition B.11 and Corollary B.12 of `kim2026minibatch`, known from notes
    on them. With two classes and labels $\pm1$, $R=\max_i\|x_i\|_*$.
    """
    if problem.binary:
        R = longest_row(problem, norm)
    else:
        zero = jnp.zeros(problem.weight_shape)
        row = lambda x: norm.dual(zero.at[0].set(x))
        R = 2.0 * float(jnp.max(jax.lax.map(row, problem.X)))
    return Constants(R, True, "2R", 1.0, R, (1.0, 1.0))


def sharp_constants(problem: LinearClassification, norm: AbstractNorm) -> Constants:
    r"""$R_*=\max_{ic}\|a_{ic}\|_*$, and every step's own growth. Ours, not the papers'.

    In the max norm $R_*=2B$; in the Frobenius and all Schatten norms it is
    $\sqrt2\max_i\|x_i\|_2$. The lemmas hold with it because a softmax variance is at
    most the second moment about the true class.

    With momentum $\|m/(1-\beta^{t+1})-\nabla L\|_*\le\frac12P_tG$ with $f=1$:
    $m$ is a mean of earlier gradients, and a slope of the loss changes by no more than
    $e^{R_*D}$ over a distance $D$. Nesterov's momentum, a mean of that and the
    gradient, is nearer still.
    """
    R = longest_row(problem, norm)
    # two wrong classes against each other: as two classes are, where names don't count
    alike = problem.binary or isinstance(norm, AbstractLp | AbstractSchatten)
    return Constants(R, False, "R*", 1.0, R if alike else 2.0 * R)


class Inequality(eqx.Module):
    """`left` is at most `right`. Vacuous where `right` says nothing: it says so."""

    name: str = eqx.field(static=True)
    statement: str = eqx.field(static=True)
    left: float = eqx.field(static=True)
    right: float = eqx.field(static=True)
    vacuous: bool = eqx.field(static=True)

    @property
    def holds(self) -> bool:
        """Whether it does, up to rounding."""
        return self.left <= self.right + 1e-9 * max(abs(self.left), abs(self.right))

    def __repr__(self) -> str:
        sign = "≤" if self.holds else "is NOT at most"
        note = ", vacuous" if self.vacuous else ""
        return f"{self.name}: {self.left:.6g} {sign} {self.right:.6g}{note}"


def log_proxy(problem: LinearClassification, weights: Weights) -> Scalar:
    r"""$\log G(W)$, $G=\frac1n\sum_i\sum_{c\ne y_i}(-\partial\ell_i/\partial m_{ic})$.

    For cross-entropy $G=\frac1n\sum_i(1-\mathbb S_{y_i}(Wx_i))$; for the exponential
    loss $G=L$; for the pairwise one the total sigmoid weight. $\gamma G\le\|\nabla
    L\|_*$ in every norm (Lemma 1), so $\|\nabla L\|_*/G$ bounds the largest margin from
    above.
    """
    slopes = problem.loss.scaled_slopes(problem.pair_margins(weights))
    return slopes.log_scale + jnp.log(jnp.mean(slopes.totals))


def lemmas(
    problem: LinearClassification,
    norm: AbstractNorm,
    weights: Weights,
    step_size: Real,
    *,
    gamma: Real,
    constants: Constants | None = None,
) -> tuple[Inequality, ...]:
    r"""Lemmas 1 to 4 and the descent lemma at `weights`, for the steepest step there.

    | | |
    |---|---|
    | L1 | $\gamma\le\|\nabla L\|_*/G$ |
    | L2 | $\frac12\nabla^2L[\Delta,\Delta]/G\le\frac12R^2$ |
    | L3 (i) | $\|\nabla L\|_*/G\le R$ |
    | L3 (ii) | $1-\frac{nL}2\le G/L\le1$ |
    | L4 | $\log G(W-\eta\Delta)-\log G(W)\le R\eta$ |
    | descent | $(L(W-\eta\Delta)-L(W))/G\le-\gamma\eta(1-\alpha\eta)$, $\alpha=\frac{R^2}{2\gamma}e^{R\eta}$ |

    The left side of L3 (ii) is vacuous above a loss of $2/n$, the descent lemma for
    $\eta\ge1/\alpha$, where it allows the loss to rise. For cross-entropy these are the
    paper's; the other two losses fulfil them for the same reasons.

    Args:
        problem: Data and loss.
        norm: The norm of the step.
        weights: $W$.
        step_size: $\eta$.
        gamma: The largest margin in `norm`.
        constants: `paper_constants` or `sharp_constants`; None for the latter.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range.
    """  # noqa: E501
    best = _check(problem, norm, gamma)
    check_number("step_size", step_size, above=0.0, below=math.inf)
    c = sharp_constants(problem, norm) if constants is None else constants
    W, eta = jnp.asarray(weights, dtype=float), float(np.asarray(step_size))
    R, n = c.R, problem.samples
    seen = _sides(problem, norm, W, jnp.asarray(eta))
    slope, bend, share, loss, moved, rise = (float(x) for x in seen)
    loss *= n
    alpha = 0.5 * R**2 * math.exp(min(R * eta, 700.0)) / best
    return (
        Inequality("L1", "γ ≤ ‖∇L‖*/G", best, slope, False),
        Inequality("L2", "½∇²L[Δ,Δ]/G ≤ R²/2", bend, 0.5 * R**2, False),
        Inequality("L3 (i)", "‖∇L‖*/G ≤ R", slope, R, False),
        Inequality("L3 (ii)", "G/L ≤ 1", share, 1.0, False),
        Inequality(
            "L3 (ii), lower", "1 − nL/2 ≤ G/L", 1.0 - 0.5 * loss, share, loss >= 2.0
        ),
        Inequality("L4", "log G(W−ηΔ)/G(W) ≤ Rη", moved, R * eta, False),
        Inequality(
            "descent",
            "(L(W−ηΔ) − L(W))/G ≤ −γη(1 − αη)",
            rise,
            -best * eta * (1.0 - alpha * eta),
            alpha * eta >= 1.0,
        ),
    )


@eqx.filter_jit
def _sides(
    problem: LinearClassification, norm: AbstractNorm, W: Weights, eta: Scalar
) -> tuple[Scalar, ...]:
    """What the lemmas compare: slope, curvature, G/L, L, and what a step changes."""
    gradient = problem.scaled_gradient(W)
    step = norm.steepest(gradient.direction)
    log_G, log_L = log_proxy(problem, W), problem.log_loss(W)
    after = W - eta * step
    share = jnp.exp(log_G - log_L)
    return (
        norm.dual(gradient.direction) * jnp.exp(gradient.log_scale - log_G),
        _second_order(problem, W, step) * jnp.exp(-log_G),
        share,
        jnp.exp(log_L),
        log_proxy(problem, after) - log_G,
        # relative to G: differences of logs, where the losses themselves underflow
        jnp.expm1(problem.log_loss(after) - log_L) / share,
    )


def _second_order(problem: LinearClassification, W: Weights, step: Weights) -> Scalar:
    r"""$\frac12\nabla^2L[\Delta,\Delta]$, in terms of the slopes of the loss."""
    margins = problem.pair_margins(W)
    own = jnp.isinf(margins)
    along = jnp.where(own, 0.0, problem.pair_margins(step))
    Q = jnp.exp(problem.loss.log_slopes(margins))
    if isinstance(problem.loss, losses.Exponential):
        bent = jnp.sum(Q * along**2, axis=1)
    elif isinstance(problem.loss, losses.PairLog):
        bent = jnp.sum(Q * (1.0 - Q) * along**2, axis=1)
    else:  # cross-entropy: the variance of the softmax, written about the true class
        bent = jnp.sum(Q * along**2, axis=1) - jnp.sum(Q * along, axis=1) ** 2
    return 0.5 * jnp.mean(bent)


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
    best = _check(problem, norm, gamma)
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
    best = _check(problem, norm, gamma)
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
    eta = np.asarray(values(schedule, jnp.arange(steps)))
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


def _check(problem: LinearClassification, norm: AbstractNorm, gamma: Real) -> float:
    check_instance("problem", problem, LinearClassification, "a LinearClassification")
    check_instance("norm", norm, AbstractNorm, "one of penchant.norms")
    check_number("gamma", gamma, above=0.0)
    return float(np.asarray(gamma))
