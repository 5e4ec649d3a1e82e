"""What one kind of noise adds to the loss: at any weights, stationary or not."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from penchant._checks import check_count, check_instance
from penchant._keys import as_key
from penchant._types import Key, Parameters
from penchant.estimators.matching._least_squares import Solution, factor_of, solve
from penchant.estimators.matching._match import Match, collinear, no_gradient
from penchant.estimators.matching._penalty_list import (
    Given,
    conventions,
    listed,
)
from penchant.estimators.penalties import AbstractPenalty
from penchant.problems import AbstractProblem


def match_interventions(
    problem: AbstractProblem,
    w: Parameters,
    penalties: Given | AbstractPenalty | Callable[..., Any],
    *,
    clean: AbstractProblem | None = None,
    pairs: int = 16,
    key: Key = 0,
) -> Match:
    r"""Which penalties the noise of a loss amounts to, at weights of any kind.

    $r=\mathbb E_\xi\nabla\mathcal L(w;\xi)-\nabla\mathcal L(w)$ is the gradient of what
    the noise adds: of dropout, label noise, augmentation, mixup or noise on weights.
    It needs no minimiser, and sees this mechanism alone. Draws are made in two
    independent halves: what one half is fitted to is scored on the other, so that
    the draws' own scatter is never counted as explained,
    $R^2=\left(2\langle\hat r_A,r_B\rangle-\|\hat r_A\|^2\right)/\langle r_A,r_B\rangle$
    and the same with halves exchanged. `cross_fitted` and `r2` are both that;
    it may be negative.

    What noise amounts to at given weights is not what it did to a run that got there.

    >>> import jax, jax.numpy as jnp
    >>> import penchant as pn
    >>> def losses(w, batch, key):  # noise on the weights, of variance .01
    ...     x, y = batch
    ...     noise = 0.0 if key is None else 0.1 * jax.random.normal(key, w.shape)
    ...     return 0.5 * (x @ (w + noise) ** 3 - y) ** 2
    >>> data = (jnp.eye(3), jnp.zeros(3))
    >>> problem = pn.Objective(losses, jnp.ones(3), data, random=True)
    >>> fourth = lambda w: jnp.sum(15.0 * w**4) / 6.0
    >>> says = pn.estimators.match_interventions(
    ...     problem, jnp.array([1.0, 0.8, 1.2]), [fourth], pairs=2000
    ... )
    >>> bool(abs(says.coefficients[0] - 0.01) < 4 * says.error[0])
    True

    Args:
        problem: The loss with its noise: one that draws from a key.
        w: The weights.
        penalties: Of `penchant.penalties`, or functions of the weights.
        clean: The loss without noise; None for that of `problem` at key=None.
        pairs: How many pairs of draws, each over all samples.
        key: A seed, or a JAX key.

    Raises:
        TypeError: If an argument is of the wrong kind, or `problem` draws nothing.
        ValueError: If shapes differ, `pairs` is below 2, `clean` is None and
            `problem` can't do without a key, or a penalty has a free shape.
    """
    check_instance("problem", problem, AbstractProblem, "a problem of penchant")
    pairs = check_count("pairs", pairs, least=2)
    if not problem.random:
        raise TypeError(
            f"problem must draw noise from a key (random=True); {problem!r} does not."
        )
    if clean is None and not getattr(problem, "takes_none", True):
        raise ValueError(
            "clean must be given: the losses of problem can't be had at key=None."
        )
    if clean is not None:
        check_instance("clean", clean, AbstractProblem, "a problem of penchant")
    w = problem.read(w, "w")
    wanted = listed(penalties)
    if wanted.free is not None:
        raise ValueError("penalties: a free shape is for match and match_dual.")
    chosen = wanted.at(None)
    base = problem if clean is None else clean
    keys = jax.random.split(as_key(key), 2 * pairs)
    draws, columns = _drawn(problem, base, chosen, w, keys)
    return _result(
        np.asarray(draws), np.asarray(columns).T, wanted.labels, chosen, problem
    )


@eqx.filter_jit
def _drawn(
    problem: AbstractProblem,
    base: AbstractProblem,
    penalties: tuple[AbstractPenalty, ...],
    w: Parameters,
    keys: Array,
) -> tuple[Array, Array]:
    """The noise's gradient for each draw `(2m, p)`, and each penalty's `(k, p)`."""
    quiet = problem.flat(base.scaled_gradient(w).value())

    def one(key: Array) -> Array:
        g = problem.scaled_gradient(w, None, None, key).value()
        return problem.flat(g) - quiet

    columns = jnp.stack([problem.flat(p.gradient(w, base)) for p in penalties])
    return jax.lax.map(one, keys), columns


def _result(
    draws: np.ndarray,
    columns: np.ndarray,
    labels: tuple[str, ...],
    penalties: tuple[AbstractPenalty, ...],
    problem: AbstractProblem,
) -> Match:
    half = len(draws) // 2
    first, second = draws[:half].mean(axis=0), draws[half:].mean(axis=0)
    both = 0.5 * (first + second)
    solution = solve(factor_of(columns, both))
    x = solution.coefficients
    # linear in r, so every draw has coefficients of its own, whose spread is the error
    each = draws @ columns @ solution.inverse
    error = each.std(axis=0, ddof=1) / math.sqrt(len(draws))
    error = np.where(np.isfinite(solution.vif), error, np.inf)
    square = float(first @ second)
    scored = 0.0
    for fitted, other in ((first, second), (second, first)):
        told = columns @ solve(factor_of(columns, fitted)).coefficients
        scored += 0.5 * float(2.0 * told @ other - told @ told)
    noise = draws.std(axis=0, ddof=1) / math.sqrt(half)
    # ⟨r_A, r_B⟩ is unbiased for |r|²; its own scatter, to leading order
    scatter = math.sqrt(
        float(np.sum(noise**4) + 2.0 * np.sum((noise * both) ** 2)) + 1e-300
    )
    seen = square > 2.0 * scatter
    r2 = scored / square if square > 0 else math.nan
    told = columns @ x
    cosine = _cosine_without_noise(told, both, square)
    ok, reason = _judged(solution, labels, len(columns), seen, square, scatter)
    correlation = square / max(
        float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-300
    )
    with np.errstate(divide="ignore"):
        logs = np.log(np.abs(x))
    return Match(
        labels=labels,
        coefficients=x,
        error=error,
        error_kind=f"standard error over {len(draws)} draws",
        r2=r2,
        cosine=cosine,
        gap=math.nan,
        gap_measured=False,
        vif=solution.vif,
        cosines=solution.cosines,
        identifiable=ok,
        reason=reason,
        conventions=conventions(problem, penalties),
        log_coefficients=logs,
        equations=len(columns),
        clusters=len(draws),
        cross_fitted=r2,
        notes=(
            f"Two halves of {half} draws have a correlation of {correlation:.3f}; the "
            f"mean gradient of the noise has length {math.sqrt(max(square, 0.0)):.3g}.",
        ),
    )


def _cosine_without_noise(told: np.ndarray, both: np.ndarray, square: float) -> float:
    """With the mean noise gradient's length by the halves, not by their scatter."""
    length = float(np.linalg.norm(told))
    if not (square > 0 and length > 0):
        return math.nan
    return min(1.0, float(told @ both) / (length * math.sqrt(square)))


def _judged(
    solution: Solution,
    labels: tuple[str, ...],
    equations: int,
    seen: bool,
    square: float,
    scatter: float,
) -> tuple[bool, str]:
    if equations < len(labels):
        return False, f"{equations} equations don't fix {len(labels)} coefficients."
    why = no_gradient(solution, labels) or collinear(solution, labels)
    if why is not None:
        return False, why
    if not seen:
        return False, (
            f"the noise's mean gradient is within its scatter (squares {square:.2g} "
            f"against {scatter:.2g}): more pairs are needed."
        )
    return True, f"{equations} equations; the noise's mean gradient is seen."


def marginal(with_it: Match, without: Match) -> Match:
    r"""Coefficients of a run with a mechanism, less those of the same without it.

    An estimate at an endpoint holds everything that acted, also what acts without the
    mechanism: stopping early, the geometry of the rule, the margin. Only the
    difference is the mechanism's, and it may have the other sign. Standard errors are
    combined as of independent runs, bounds are added.

    Args:
        with_it: The match of the run with the mechanism.
        without: That of a run that differs in the mechanism alone, of the same
            penalties.

    Raises:
        TypeError: If an argument is no match.
        ValueError: If they are of other penalties.
    """
    for name, value in (("with_it", with_it), ("without", without)):
        check_instance(name, value, Match, "a Match")
    if with_it.labels != without.labels:
        raise ValueError(
            "without must be a match of the same penalties, "
            f"{', '.join(with_it.labels)}; got {', '.join(without.labels)}."
        )
    bounds = with_it.error_kind.startswith("bound")
    error = (
        with_it.error + without.error
        if bounds
        else np.hypot(with_it.error, without.error)
    )
    x = with_it.coefficients - without.coefficients
    both = with_it.identifiable and without.identifiable
    worse = without if with_it.identifiable else with_it
    with np.errstate(divide="ignore"):
        logs = np.log(np.abs(x))
    return Match(
        labels=with_it.labels,
        coefficients=x,
        error=error,
        error_kind=f"of the difference; each a {with_it.error_kind}",
        r2=min(with_it.r2, without.r2),
        cosine=min(with_it.cosine, without.cosine),
        gap=max(with_it.gap, without.gap),
        gap_measured=with_it.gap_measured and without.gap_measured,
        vif=np.maximum(with_it.vif, without.vif),
        cosines=with_it.cosines,
        identifiable=both,
        reason="both are." if both else worse.reason,
        conventions=with_it.conventions,
        log_coefficients=logs,
        equations=min(with_it.equations, without.equations),
        clusters=min(with_it.clusters, without.clusters),
        notes=("The coefficients are differences: with the mechanism less without.",),
    )
