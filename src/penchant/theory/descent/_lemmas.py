r"""Lemmas of `fan2025spectral` as inequalities, and the constants in them.

Everything is relative to the proxy $G$ and computed in the log domain, so that it holds
its digits at any loss. The paper bounds how far a step moves margins by $2B$,
$B=\max_i\|x_i\|_1$, which serves every norm at once; the dual norm $R_*$ of the longest
row (`longest_row`) does the same work for one norm, and is never larger.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from penchant._checks import check_instance, check_number
from penchant._types import Real, Scalar, Weights
from penchant.norms import AbstractLp, AbstractNorm, AbstractSchatten
from penchant.problems import LinearClassification, losses
from penchant.theory._setting import longest_row

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
    best = check_bound(problem, norm, gamma)
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


def check_bound(
    problem: LinearClassification, norm: AbstractNorm, gamma: Real
) -> float:
    check_instance("problem", problem, LinearClassification, "a LinearClassification")
    check_instance("norm", norm, AbstractNorm, "one of penchant.norms")
    check_number("gamma", gamma, above=0.0)
    return float(np.asarray(gamma))
