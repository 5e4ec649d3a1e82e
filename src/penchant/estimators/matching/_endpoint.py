"""Which penalties balance the gradient where training ended."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from penchant._checks import check_instance
from penchant._types import Parameters, Tree
from penchant.estimators.matching._least_squares import (
    Solution,
    factor_of,
    solve,
)
from penchant.estimators.matching._match import (
    Kink,
    Match,
    collinear,
    no_gradient,
)
from penchant.estimators.matching._penalty_list import (
    Given,
    Listed,
    conventions,
    listed,
)
from penchant.estimators.matching._profile import profile
from penchant.estimators.penalties import AbstractPenalty, Free
from penchant.problems import AbstractClassification, AbstractProblem

ALTERNATIONS = 40
"""Projections in turn, where penalties of two kinds of kinks meet."""

ROUNDING = 1e-14
"""Of a gradient summed in float64, relative to it: no gap is said to be below."""

UNEXPLAINED = 0.1
"""Of the gradient of weights known to be stationary: more is another penalty's."""

SEPARATED = 1e-6
"""What a match may leave of the gradient of separated data and still be believed."""


def match(
    problem: AbstractProblem,
    w: Parameters,
    penalties: Given | AbstractPenalty | Free | Callable[..., Any],
    *,
    objective: AbstractProblem | None = None,
    nonnegative: bool = False,
) -> Match:
    r"""Which penalties balance the gradient of the training loss at `w`, and how well.

    If `w` minimises $\mathcal L+\sum_k\lambda_kP_k$, then
    $\sum_k\lambda_k\nabla P_k(w)=-\nabla\mathcal L(w)$: linear equations, one a weight,
    solved exactly (`rudoler2026estimating` has the equations, and iterates). Weights
    that are no minimiser leave $\varepsilon=\nabla(\mathcal L+R)(w)$, and then
    $|\hat\lambda_k-\lambda_k|\le\|\varepsilon\|\sqrt{[(B^\top B)^{-1}]_{kk}}$, which is
    the `error`. $\varepsilon$ is the gradient of what was trained: give it as
    `objective` and it is measured. Without, the error is a bound as long as no more of
    $\varepsilon$ lies along the penalties than across them.

    What balances the gradient is not thereby what *caused* the weights: any weights
    have a penalty that fits, and separated data have a ridge that fits without one.

    >>> import jax.numpy as jnp
    >>> import penchant as pn
    >>> model = lambda w, X: X @ w
    >>> problem = pn.Regression(model, jnp.zeros(2), jnp.eye(2), [1.0, 2.0])
    >>> w = jnp.array([0.5, 1.0])  # the minimiser with ridge ½
    >>> says = pn.estimators.match(problem, w, [pn.penalties.Ridge()])
    >>> says.coefficients.round(12).tolist(), says.identifiable
    ([0.5], True)

    Args:
        problem: The training loss *without* penalties, in evaluation mode.
        w: Weights where training ended.
        penalties: Of `penchant.penalties`, or functions of the weights; one may be
            `Free`.
        objective: What was trained, penalties included, to measure how far from
            stationary `w` is; None if it is not known.
        nonnegative: Require $\lambda_k\ge0$.

    Returns:
        A `Match`. Penalties that can't be told apart, and weights that are no
        minimiser, are no errors: `identifiable` is then False, and `reason` says why.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If `w` is of another shape or not finite, or there is no penalty.
    """
    check_instance("problem", problem, AbstractProblem, "a problem of penchant")
    w = problem.read(w, "w")
    wanted = listed(penalties)
    if objective is not None:
        check_instance("objective", objective, AbstractProblem, "a problem of penchant")
        objective.read(w, "w")
    g, log_scale = _gradient(problem, w)
    scale = math.exp(log_scale)
    shape = None
    if wanted.free is not None:
        shape = profile(
            wanted.free,
            lambda s: _projected(problem, wanted.at(s), w, g),
            wanted.place,
        )
    chosen = wanted.at(None if shape is None else shape.value)
    terms, target, whole = _projected(problem, chosen, w, g)
    solution = solve(factor_of(terms, target), nonnegative=nonnegative)
    equations = int(np.count_nonzero(whole))
    gap = _gap(objective, problem, chosen, w, solution.size, log_scale)
    measured = not math.isnan(gap)
    ratio = solution.ratio
    off = max(gap, ratio) if measured else ratio
    error = _error(solution, off + ROUNDING)
    kinks = _kinks(chosen, problem, w, g, solution, error, wanted.labels, scale)
    ok, reason = _judged(
        problem, w, wanted, solution, equations, gap, measured, log_scale
    )
    x = solution.coefficients
    with np.errstate(divide="ignore"):
        logs = np.log(np.abs(x)) + log_scale
    kind = (
        "bound from the gap measured"
        if measured
        else "bound if no more of the gap lies along the penalties than across them"
    )
    return Match(
        labels=wanted.labels,
        coefficients=x * scale,
        error=error * scale,
        error_kind=kind,
        r2=solution.r2,
        cosine=_cosine(solution),
        gap=gap if measured else ratio,
        gap_measured=measured,
        vif=solution.vif,
        cosines=solution.cosines,
        identifiable=ok,
        reason=reason,
        conventions=conventions(problem, chosen),
        log_coefficients=logs,
        equations=equations,
        shape=shape,
        kinks=kinks,
        notes=_notes(solution, gap, measured, log_scale),
    )


def _cosine(solution: Solution) -> float:
    if not solution.size > 0:
        return math.nan
    return math.sqrt(max(0.0, solution.r2))


def _gradient(problem: AbstractProblem, w: Parameters) -> tuple[np.ndarray, float]:
    """The gradient with its largest entry 1, and the logarithm of that entry."""
    direction, log_scale = _scaled(problem, w)
    flat = np.asarray(direction, dtype=float)
    largest = float(np.max(np.abs(flat), initial=0.0))
    if not largest > 0:
        return flat, 0.0
    return flat / largest, float(log_scale) + math.log(largest)


@eqx.filter_jit
def _scaled(problem: AbstractProblem, w: Parameters) -> tuple[Array, Array]:
    g = problem.scaled_gradient(w)
    return problem.flat(g.direction), g.log_scale


def _projected(
    problem: AbstractProblem,
    penalties: tuple[AbstractPenalty, ...],
    w: Parameters,
    g: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns `(p, k)` and the target on the smooth directions, and which these are."""
    columns, target, whole = _terms(problem, penalties, w, jnp.asarray(g))
    return np.asarray(columns).T, np.asarray(target), np.asarray(whole)


@eqx.filter_jit
def _terms(
    problem: AbstractProblem,
    penalties: tuple[AbstractPenalty, ...],
    w: Parameters,
    g: Array,
) -> tuple[Array, Array, Array]:
    kept = [t for p in penalties if (t := p.tangent(w)) is not None]
    turns = 1 if len(kept) < 2 else ALTERNATIONS

    def project(v: Array) -> Array:
        tree = problem.unflat(v)
        for _ in range(turns):
            for keep in kept:
                tree = keep(tree)
        return problem.flat(tree)

    # any vector without zeros shows which entries remain
    probe = 1.0 + jnp.arange(g.shape[0], dtype=float) / g.shape[0]
    columns = jnp.stack([problem.flat(p.gradient(w, problem)) for p in penalties])
    if not kept:
        return columns, -g, probe
    return jax.vmap(project)(columns), project(-g), project(probe)


def _gap(
    objective: AbstractProblem | None,
    problem: AbstractProblem,
    penalties: tuple[AbstractPenalty, ...],
    w: Parameters,
    size: float,
    log_scale: float,
) -> float:
    """The gradient of what was trained, relative to that of the loss.

    Both on the smooth directions: at a kink the former has no value.
    """
    if objective is None:
        return math.nan
    rest, log_rest = _gradient(objective, w)
    above = float(np.linalg.norm(_projected(problem, penalties, w, rest)[1]))
    if not size > 0:
        return math.inf if above > 0 else math.nan
    return above / size * math.exp(min(log_rest - log_scale, 700.0))


def _error(solution: Solution, off: float) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        error = off * solution.size * solution.bounds
    return np.where(np.isnan(error), np.inf, error)


def _kinks(
    penalties: tuple[AbstractPenalty, ...],
    problem: AbstractProblem,
    w: Parameters,
    g: np.ndarray,
    solution: Solution,
    error: np.ndarray,
    labels: tuple[str, ...],
    scale: float,
) -> tuple[Kink, ...]:
    found = []
    for k, penalty in enumerate(penalties):
        if penalty.tangent(w) is None:
            continue
        others = jnp.asarray(
            np.where(np.arange(len(labels)) == k, 0.0, solution.coefficients)
        )
        needed = float(_needed(problem, penalties, w, jnp.asarray(g), others, k))
        value = float(solution.coefficients[k])
        holds = needed <= value + float(error[k])
        found.append(Kink(labels[k], needed * scale, value * scale, holds))
    return tuple(found)


@eqx.filter_jit
def _needed(
    problem: AbstractProblem,
    penalties: tuple[AbstractPenalty, ...],
    w: Parameters,
    g: Array,
    others: Array,
    k: int,
) -> Array:
    force = problem.unflat(-g)
    for i, penalty in enumerate(penalties):
        part = penalty.gradient(w, problem)
        force = jax.tree.map(lambda f, b: f - others[i] * b, force, part)  # noqa: B023
    return penalties[k].needed(w, force)


def _judged(
    problem: AbstractProblem,
    w: Parameters,
    wanted: Listed,
    solution: Solution,
    equations: int,
    gap: float,
    measured: bool,
    log_scale: float,
) -> tuple[bool, str]:
    """Whether coefficients mean something, and why; the worst reason first."""
    labels, unknowns = wanted.labels, len(wanted.labels)
    if not solution.size > 0:
        return False, (
            "the gradient of the loss is 0 here, and there is nothing that a penalty "
            "would balance; match_dual reads what acted on the way."
        )
    if equations < unknowns + (wanted.free is not None):
        return False, (
            f"{equations} equations, one a weight that is not held at a kink, don't "
            f"fix {unknowns} coefficients."
        )
    why = no_gradient(solution, labels) or collinear(solution, labels)
    if why is not None:
        return False, why
    if _noisy(problem):
        return False, (
            "the loss can't be had without its noise, so the gradient is that of one "
            "draw, in training mode; give a problem whose losses take key=None."
        )
    if measured and gap >= 1.0:
        return False, (
            f"the gradient of what was trained is {gap:.3g} times that of the loss: "
            "these weights are no minimiser, and what remains of training outweighs "
            "what a penalty does."
        )
    ratio = solution.ratio
    off = max(gap, ratio) if measured else ratio
    worst = int(np.argmax(solution.vif))
    reach = off * math.sqrt(float(solution.vif[worst]))
    if reach >= 1.0:
        inflated = float(solution.vif[worst]) > 2.0
        return False, (
            f"the error of {labels[worst]} is {reach:.2g} times the coefficient with "
            "which it alone would balance the gradient"
            + (
                ": the penalties' gradients are too alike for weights this far from "
                "stationary."
                if inflated
                else "."
            )
        )
    falsified = measured and ratio > 2.0 * gap + UNEXPLAINED
    if solution.r2 < 0.5 or falsified:
        beyond = (
            f"where non-stationarity is {gap:.2g}: something else acts as well."
            if measured
            else "more than they explain: something else acts, or training had not "
            "come to rest. objective= tells which."
        )
        return False, f"these penalties leave {ratio:.2g} of the gradient, {beyond}"
    if not measured and ratio > SEPARATED**0.5 and _separated(problem, w):
        return False, (
            "the data are separated, where the gradient lines up with the weights "
            "without any penalty, as the direction of the largest margin does; give "
            "objective= to tell."
        )
    text = f"{equations} equations for {unknowns} coefficients, "
    return True, text + (
        f"each known to {reach:.1g} of what it alone would be, or better."
        if unknowns > 1
        else f"known to {reach:.1g} of itself, or better."
    )


def _noisy(problem: AbstractProblem) -> bool:
    """Whether only a draw of the loss can be had."""
    return problem.random and not getattr(problem, "takes_none", True)


def _separated(problem: AbstractProblem, w: Tree) -> bool:
    if not isinstance(problem, AbstractClassification):
        return False
    return bool(jnp.min(problem.margins(w)) > 0)


def _notes(
    solution: Solution, gap: float, measured: bool, log_scale: float
) -> tuple[str, ...]:
    notes = []
    if log_scale < -600:
        notes.append(
            f"The gradient is e^{log_scale:.0f}: read log_coefficients, since "
            "coefficients by value are at or below the least float."
        )
    if measured and solution.ratio > 2.0 * gap + 1e-10:
        notes.append(
            "No coefficients of these penalties balance the gradient: "
            f"{solution.ratio:.2g} of it is left where non-stationarity is {gap:.2g}."
        )
    return tuple(notes)
