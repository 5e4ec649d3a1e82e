r"""Fan, Schmidt, Thrampoulidis (2025): normalised descent on separable classes.

Predictions here; the lemmas as inequalities, and the sums they add up to, are
`lemmas`, `guarantee` and `guarantee_along`; what is measured and not proved is in
`penchant.estimators.gap_law`.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from penchant._checks import check_instance, check_number
from penchant._types import Real, Scalar, StepSize, Weights
from penchant.norms import (
    L2,
    AbstractLp,
    AbstractNorm,
    AbstractSchatten,
    Linf,
    Spectral,
)
from penchant.optimizers import AbstractPolar, Muon, Shampoo
from penchant.problems import LinearClassification
from penchant.theory._prediction import Assumption, Prediction, Verdict
from penchant.theory._setting import Setting, longest_row
from penchant.theory.descent._guarantee import (
    Guarantee as Guarantee,
    guarantee as guarantee,
    guarantee_along as guarantee_along,
)
from penchant.theory.descent._lemmas import (
    Constants as Constants,
    Inequality as Inequality,
    dimension_free_constants as dimension_free_constants,
    lemmas as lemmas,
    log_proxy as log_proxy,
    paper_constants as paper_constants,
    sharp_constants as sharp_constants,
)
from penchant.theory.descent._rules import Descent
from penchant.training.schedules import Constant, Power, as_schedule


def normalized_descent(
    setting: Setting, norm: AbstractNorm, momentum: Real
) -> Prediction:
    r"""Normalised steepest descent, momentum or not: the max margin of `norm`.

    $$\gamma-\frac{\min_iq_i(W_t)}{\|W_t\|}\to0,\qquad
    \gamma=\max_{\|W\|\le1}\min_iq_i(W)$$

    Theorem 1 without momentum, Theorem 2 with it: Signum, Muon with exact polar
    factors. The bounds are $O(\log t/\sqrt t)$ for steps $\eta_t\propto t^{-1/2}$; what
    is measured is $1/\sum\eta$ (`gap_law`). A margin, not a direction: in the max and
    spectral norms several directions may attain it. Nesterov's momentum is not the
    paper's; it is steepest for another mean of the same gradients, and changed measured
    shares by less than .0003.

    Two classes are the case $k=2$, with $W=(-w,w)/2$.
    """
    beta = float(np.asarray(momentum))
    treated = isinstance(norm, (AbstractLp, AbstractSchatten))
    theorem = "Theorem 1" if beta == 0 else "Theorem 2"
    nesterov: tuple[Assumption, ...] = ()
    first = setting.character.first
    if first is not None and first.nesterov:
        nesterov = (
            Assumption(
                "the momentum is heavy-ball",
                Verdict.HOLDS if beta == 0 else Verdict.UNKNOWN,
                "Nesterov's is not treated",
            ),
        )
    return setting.predict(
        norm,
        f"fan2025spectral, {theorem}",
        f"Every step is the steepest in the {norm.label} norm, so the {norm.label} "
        "margin tends to its largest.",
        (
            setting.separable(),
            setting.every_sample(),
            setting.exponential_tail(),
            setting.decreasing_steps(norm),
            Assumption(
                "the norm is entry-wise or Schatten",
                Verdict.HOLDS if treated else Verdict.UNKNOWN,
                repr(norm),
            ),
            *nesterov,
        ),
    )


def muon(setting: Setting, optimizer: Muon) -> Prediction:
    r"""Muon: spectral with exact polar factors; with Newton--Schulz, no norm's.

    Newton--Schulz with the usual coefficients leaves singular values between about 0.7
    and 1.2. Measured on the paper's data at constant steps, five such steps end at .946
    of the spectral and .990 of the Frobenius margin; 15 cubic steps at .9996 and .945.
    What an approximate factor does guarantee is in `spectral_share`.
    """
    # one column, or gradients of two classes, which have rank one: a polynomial of a
    # matrix with one singular value is a multiple of it
    if setting.problem.classes == 2:
        return normalized_descent(setting, L2(), optimizer.b1)
    sure = "; ".join(
        f"{spectral_share(optimizer.polar, least):.3g} if none is below {least:g}"
        for least in (1e-1, 1e-3)
    )
    return setting.unknown(
        f"{optimizer.polar!r} gives no exact polar factor, and no theorem says which "
        "margin its steps maximise: between the spectral one and the Frobenius one. "
        "The least share of the spectral margin depends on the singular values of the "
        f"momentum, relative to its Frobenius length: {sure}.",
        candidates=(Spectral(), L2()),
    )


def shampoo(setting: Setting, optimizer: Shampoo) -> Prediction:
    r"""Shampoo: spectral descent without memory; with it, measured and not proved.

    $(GG^\top)^{-1/4}G(G^\top G)^{-1/4}$ is the polar factor of $G$. With moments that
    decay, a share of .967 of the spectral margin was measured after $10^4$ steps on the
    paper's data for $\beta_2=.9$ (spectral descent: .967), and .951 for .99.
    """
    b2 = float(np.asarray(optimizer.b2))
    norm = L2() if setting.problem.binary else Spectral()
    return setting.unknown(
        "No theorem here covers Shampoo with memory. Once a gradient hardly turns "
        f"within the memory of 1/(1 - b2) = {1 / (1 - b2):.3g} steps its moments are "
        f"those of spectral descent, and the {norm.label} margin was measured to rise "
        "alike; before that it is no norm's.",
        candidates=(norm,),
    )


def with_batches(setting: Setting, rule: Descent) -> Prediction:
    r"""Normalised descent on part of the samples: no theorem, with one exception.

    The mean of steepest steps is not the steepest step of the mean. With one sample a
    step and no momentum, the steps of two-class problems, and those of sign descent
    with several, do not depend on the weights at all: the direction tends to their mean
    over the samples (`mean_step`), whatever margin that has. Ours, and elementary.

    Else unknown. Measured on random labels: batches of 1 or 10 of 40 samples did not
    separate the data in $4\cdot10^4$ steps without momentum, and were close to full
    batches with $\beta_1=.999$.
    """
    norm = rule.norm
    size = setting.batching.size_of(setting.problem.samples)
    problem = setting.problem
    if size == 1 and rule.b1 == 0 and (problem.binary or isinstance(norm, Linf)):
        mean = mean_step(problem, norm)
        length = float(norm(mean))
        margin = float(jnp.min(problem.margins(mean))) / max(length, 1e-300)
        share = margin / float(setting.best(norm).margin)
        ends = (
            f"it has {share:.3g} of the largest {norm.label} margin"
            if share > 0
            else "it does not even separate the samples"
        )
        return setting.unknown(
            "With one sample a step and no memory every step is that of its sample, "
            "whatever the weights: the direction tends to the mean of these steps, "
            f"which maximises no norm's margin; {ends}.",
            candidates=(norm,),
        )
    memory = 1.0 / (1.0 - rule.b1)
    epoch = setting.batching.steps_per_epoch(problem.samples)
    return setting.unknown(
        f"No theorem here says where steepest descent in the {norm.label} norm ends "
        f"with batches of {size} of {problem.samples} samples: the mean of its steps "
        "over an epoch is not the step of the mean gradient. Momentum averages the "
        f"gradients first: its memory is {memory:.3g} steps, an epoch {epoch}. "
        "Measured: memories of several epochs come close to full batches, memories "
        "below one need not even separate the data.",
        candidates=(norm,),
    )


def mean_step(problem: LinearClassification, norm: AbstractNorm) -> Weights:
    r"""$\frac1n\sum_id_i$, $d_i$ the steepest ascent of the margins of sample $i$.

    From zero weights. Where $d_i$ does not depend on the weights (two classes; several
    in the max norm) one sample a step leads there, see `with_batches`.
    """
    check_instance("problem", problem, LinearClassification, "a LinearClassification")
    check_instance("norm", norm, AbstractNorm, "one of penchant.norms")
    zero = jnp.zeros(problem.weight_shape)

    def one(i: Any) -> Weights:
        return norm.steepest(-problem.scaled_gradient(zero, i[None]).direction)

    return jnp.mean(jax.lax.map(one, jnp.arange(problem.samples)), axis=0)


def spectral_share(polar: AbstractPolar, least: float) -> float:
    r"""The share of the spectral margin that an approximate polar factor guarantees.

    With steps whose singular values all lie in $[\ell,u]$, $\langle M,\Delta\rangle
    \ge\ell\|M\|_*$ while $\|\Delta\|\le u$: the loss falls at least $\ell$ times as
    fast as with exact steps, and weights grow at most $u$ times as fast, so that

    $$\liminf_t\frac{\min_iq_i(W_t)}{\gamma\|W_t\|}\ge\frac{\ell}{u} .$$

    Ours, from the paper's proof. It is for momenta whose singular values, but for exact
    zeros, are at least `least` of their Frobenius length; late in training a gradient
    may have smaller ones. It is a bound from below and no more: five usual
    Newton--Schulz steps have at most .6 by it and were measured at .946.

    >>> from penchant.optimizers import ExactPolar, NewtonSchulz, PolarExpress
    >>> [round(spectral_share(p, 0.1), 2) for p in (ExactPolar(), NewtonSchulz())]
    [1.0, 0.6]
    >>> 1 - spectral_share(PolarExpress(8), 1e-3) < 1e-9
    True

    Args:
        polar: How the factor is computed.
        least: In (0, 1).

    Raises:
        TypeError: If `polar` is no polar map.
        ValueError: If `least` is not in (0, 1).
    """
    check_instance("polar", polar, AbstractPolar, "one of penchant.optimizers' polars")
    check_number("least", least, above=0.0, below=1.0)
    s = jnp.geomspace(least, 1.0, 20_000)
    seen = jax.vmap(lambda s: _on_singular_value(polar, s))(s)
    return max(float(jnp.min(seen) / jnp.max(seen)), 0.0)


def _on_singular_value(polar: AbstractPolar, s: Scalar) -> Scalar:
    """What becomes of one singular value of a matrix of Frobenius length 1."""
    other = jnp.sqrt(jnp.maximum(1.0 - s**2, 0.0))
    return polar(jnp.diag(jnp.stack([s, other])))[0, 0]


def scale_free_step(
    problem: LinearClassification, norm: AbstractNorm, c: Real = 0.1
) -> float:
    r"""The constant step $c/R_*$, which means the same however data are scaled.

    $R_*$ is the largest dual norm of a row (`longest_row`): a step moves no margin by
    more than $c$. Measured: constant steps reach the limit for $c\lesssim.2$ in the
    max, spectral and nuclear norms, for any $c$ in the Frobenius norm; larger ones
    stall at a floor (`GapLaw.stalled`), on data of small margin from $c=.3$ on.

    Args:
        problem: Its data.
        norm: The norm of the steps.
        c: $>0$.

    Raises:
        ValueError: If `c` is not positive, or all data are 0.
    """
    check_number("c", c, above=0.0)
    R = longest_row(problem, norm)
    if R == 0:
        raise ValueError("X must not be all 0: its rows have no length to go by.")
    return float(np.asarray(c)) / R


class Rate(eqx.Module):
    r"""$O(t^{-p}(\log t)^{q})$: `power` $p$ and `logs` $q$, with where it is from."""

    power: float = eqx.field(static=True)
    logs: float = eqx.field(static=True)
    source: str = eqx.field(static=True)

    def __repr__(self) -> str:
        power = f"t^-{self.power:.4g}" if self.power else "1"
        logs = {0.0: "", 1.0: " log t", -1.0: " / log t"}[self.logs]
        return f"O({power}{logs}; {self.source})"


def proved_rate(exponent: Real, momentum: Real = 0.0) -> Rate:
    r"""How fast the gap $\gamma-\min_iq_i/\|W_t\|$ is proved to fall.

    Steps $\eta_t\propto t^{-a}$. Theorem 1 is $O(\log t/\sqrt t)$ at $a=\frac12$, with
    $n$ in the constant. Theorem 2, for momentum, has the same order with $d\log t+dn$;
    without the factor $d$ it is Corollary B.12 of `kim2026minibatch` (known from notes
    on it). The sums with their constants, for momentum too, are `guarantee`, by
    `paper_constants` and `dimension_free_constants`. For other $a$
    Lemma 5 adds up to $t^{-a}$ below $\frac12$, $t^{-(1-a)}$ above and $1/\log t$ at 1
    (our sums). What is measured is $t^{-(1-a)}$ for every $a$: the first branch is an
    artefact of the bound, and no factor of $n$ or $d$ is seen.

    Args:
        exponent: $a\in(0,1]$.
        momentum: $\beta_1\in[0,1)$.

    Raises:
        ValueError: If an argument is out of its range.
    """
    check_number("exponent", exponent, above=0.0, most=1.0)
    check_number("momentum", momentum, least=0.0, below=1.0)
    a = float(np.asarray(exponent))
    plain = float(np.asarray(momentum)) == 0
    source = "fan2025spectral, Theorem 1"
    if not plain:
        source = "fan2025spectral, Theorem 2; kim2026minibatch, Corollary B.12"
    if a == 0.5:
        return Rate(0.5, 1.0, source)
    source = "fan2025spectral, Lemma 5 summed by us"
    if a == 1.0:
        return Rate(0.0, -1.0, source)
    return Rate(a if a < 0.5 else 1.0 - a, 0.0, source)


def sign_phase_start(gamma: Real, step_size: StepSize, b2: Real) -> float:
    r"""$t_A$, from which steps of Adam without $\varepsilon$ are signs of the gradient.

    $$t_A\approx\Bigl(\frac{2\gamma\eta_0}{1-\beta_2}\Bigr)^{1/a},\qquad
    \gamma\eta_{t_A}=\frac{1-\beta_2}2 .$$

    Gradients fall by $e^{-\gamma\eta}$ a step, moments by no more than
    $\sqrt{\beta_2}$: before $t_A$ the moments are those of larger, earlier gradients
    and throttle the step (`adam_growth` has the rate). Ours; the crossovers measured
    agree with it. On the paper's data, $\eta_t=.1\,t^{-1/2}$ and $\beta_2=.999$, it is
    $9.5\cdot10^6$: a run of $10^4$ steps with the usual settings shows nothing of
    Adam's limit. A constant step above $(1-\beta_2)/(2\gamma)$ never gets there.

    Args:
        gamma: The $\ell_\infty$ max margin.
        step_size: A power law of `schedules.power`, or a number.
        b2: $\beta_2\in[0,1)$.

    Raises:
        TypeError: If the step size is neither.
        ValueError: If an argument is out of its range.
    """
    check_number("gamma", gamma, above=0.0)
    check_number("b2", b2, least=0.0, below=1.0)
    schedule = as_schedule(step_size)
    excess = 2.0 * float(np.asarray(gamma)) / (1.0 - float(np.asarray(b2)))
    if isinstance(schedule, Constant):
        return 0.0 if excess * float(np.asarray(schedule.scale)) <= 1 else math.inf
    if not isinstance(schedule, Power):
        raise TypeError(
            "step_size must be a number or schedules.power(...), for which there is a "
            f"formula; got {schedule!r}."
        )
    a = float(np.asarray(schedule.exponent))
    excess *= float(np.asarray(schedule.scale))
    if a == 0:
        return 0.0 if excess <= 1 else math.inf
    return max(excess ** (1.0 / a) - float(np.asarray(schedule.offset)), 0.0)
