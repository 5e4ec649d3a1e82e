"""Every limit of Adam and RMSProp with batches of part of the samples, certified."""

import itertools
import math
import time
import warnings
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float

from penchant._checks import check_count, check_number
from penchant._types import Numbers, PerSample, Real, StepSize, Vector
from penchant.margins import LooseMarginWarning, max_margin
from penchant.norms import L2, Mahalanobis
from penchant.optimizers import AbstractOptimizer
from penchant.problems import LinearClassification
from penchant.theory.per_sample._adam_limit import AdamLimit, AdamLimits
from penchant.theory.per_sample._equilibrium import (
    Equilibrium,
    equilibrium,
    rates,
    respond,
)
from penchant.theory.per_sample._mean_step import (
    DRAWS,
    AbstractMeanStep,
    AdamCycle,
    AdamSampled,
    adam_proxy,
    adam_step,
    growth_limit,
    running_decays,
    signed_rows,
)
from penchant.training.batching import AbstractBatching, Cyclic
from penchant.training.schedules import Constant, as_schedule

SMALL = 200_000
"""Entries of the data up to which several starts, and T(c), are tried."""

TINY = 5_000
"""Entries up to which there are many starts."""

SAMPLED = 1_000_000
"""Entries up to which random orders are sampled, and not left at their proxy."""

WORK = 8e6
"""Numbers in all the batches drawn, of which there are 512 to 8192."""

SAME = 1e-9
"""1 - cosine up to which two limits are one."""


def adam_limits(
    problem: LinearClassification,
    optimizer: AbstractOptimizer,
    *,
    batching: AbstractBatching = Cyclic(1),
    step_size: StepSize | None = None,
    init: Numbers | None = None,
    starts: int | None = None,
    draws: int | None = None,
    key: int = 0,
    seconds: Real | None = None,
) -> AdamLimits:
    r"""Where Adam without $\varepsilon$ ends with batches of part of the samples.

    Every limit solves a variational inequality on the simplex of sample weights: those
    that weigh anything have the least margin under the mean step $\delta(c)$
    (see [`equilibrium`][penchant.theory.per_sample.equilibrium]).
    For $\beta_2\to1$ and single samples these are the fixed points of
    `baek2026persample` (Theorem 4.8, its form recalled); other batches, $\beta$s and
    constant steps are derived here and checked against simulation.

    | order | $\delta$ |
    |---|---|
    | `Cyclic` | exact for these $\beta_1,\beta_2$ |
    | `Shuffled`, `WithReplacement` | sampled, with a standard error |
    | the same, more than 1 000 000 entries | $\beta_2\to1$ |

    A constant `step_size` acts through the margin gained a step, `growth`; sizes that
    fall have none in the limit. Where entries are 0 this holds to first order in the
    step size: features that only samples ahead of the rest have fade faster.
    $\varepsilon>0$ leaves these limits behind at a margin of about
    $-\log\varepsilon$: `predict` knows when. An entry of the data that is 0 is
    no obstacle: each feature follows the samples that have it. Equal samples share a
    weight evenly.

    >>> import penchant as pn
    >>> problem = pn.datasets.bistable(6, 2, 1).problem()
    >>> found = adam_limits(problem, pn.optimizers.Adam(eps=0.0))
    >>> sorted(limit.stable for limit in found.limits)
    [False, True, True]

    Args:
        problem: Two classes, separable.
        optimizer: Its decays count, its $\varepsilon$ does not.
        batching: Which samples an update sees; not all of them.
        step_size: As `train` takes it.
        init: The weights that training starts from, `(d,)`; zeros if None.
        starts: Random starts besides; None for 8, 2 or 0 by the size of the data.
        draws: Batches drawn where the order is random; 0 to stay with $\beta_2\to1$,
            None for 512 to 8192 by their size.
        key: Seed of starts and draws.
        seconds: Look for no further limits once so many have passed. The first one is
            always found; 0 stops there. None for no such end. Ctrl-C after the first
            ends the search too.

    Raises:
        NotSeparableError: If no weights classify every sample.
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of range: `batching` must leave samples out, and
            $\beta_2$ be above 0.
    """
    rows = signed_rows(problem)
    running_decays(optimizer)
    small = rows.size <= SMALL
    usual = 8 if rows.size <= TINY else 2 if small else 0
    starts = usual if starts is None else _count("starts", starts)
    draws = _draws(batching, rows, draws)
    proxy = adam_proxy(problem, batching)
    step: AbstractMeanStep = proxy
    if draws or isinstance(batching, Cyclic):
        step = adam_step(problem, optimizer, batching, draws=max(draws, 1), key=key)
    eta = _constant(step_size)
    if seconds is not None:
        check_number("seconds", seconds, least=0.0)
    first = None if init is None else -np.asarray(rows @ _check_init(init, rows))

    begun = time.monotonic()
    rough = step if isinstance(batching, Cyclic) else proxy
    main = equilibrium(rough, first)
    if float(main.margin) <= 0:
        max_margin(problem, L2(), tol=1e-6)  # proves that no weights separate them
    limits, tried, complete = [], 0, True
    try:
        for at in _search(step, rough, main, _starts(rows, starts, key)):
            tried += 1
            if at is not None:
                limits.append(_limit(problem, step, proxy, at, eta, small))
            if seconds is not None and time.monotonic() - begun >= float(seconds):
                complete = tried > starts
                break
    except KeyboardInterrupt:
        if not limits:
            raise
        complete = False
    return AdamLimits(
        tuple(limits), min(tried, starts + 1), _kind(step, batching, draws), complete
    )


def _search(
    step: AbstractMeanStep,
    rough: AbstractMeanStep,
    main: Equilibrium,
    others: list[np.ndarray],
) -> Iterator[Equilibrium | None]:
    """Equilibria one by one, None where a start leads to one that is known.

    That of the start given comes first, whatever became of it; last those between.
    """
    roughs, known = [main], []

    def refined(at: Equilibrium) -> Equilibrium | None:
        end = at if rough is step else equilibrium(step, at.log_c)
        if known and not _fresh(end, known):
            return None
        known.append(end)
        return end

    yield refined(main)
    for start in others:
        at = equilibrium(rough, start, max_steps=300)
        if _fresh(at, roughs):
            roughs.append(at)
            yield refined(at)
        else:
            yield None
    for at in _between(rough, roughs) if len(roughs) > 1 else ():
        if _fresh(at, roughs):
            roughs.append(at)
            yield refined(at)


def _limit(
    problem: LinearClassification,
    step: AbstractMeanStep,
    proxy: AbstractMeanStep,
    at: Equilibrium,
    eta: float,
    small: bool,
) -> AdamLimit:
    growth, pace = 0.0, float(at.margin)
    if eta > 0 and isinstance(step, AdamCycle | AdamSampled) and float(at.margin) > 0:
        step, at, growth = _steady(step, at, eta)
    # where weights did not come to rest there is nothing to be stable
    spectrum = rates(step, at) if at.converged else None
    stable = None if spectrum is None else not len(spectrum) or float(spectrum[0]) > 0
    rate = None if spectrum is None else _slowest(step, at, np.asarray(spectrum))
    # on the host: tiny operations, each of which would be compiled for each shape
    rows, c = np.asarray(step.rows), np.asarray(at.c)
    direction = np.asarray(at.step) / np.linalg.norm(np.asarray(at.step))
    margins = rows @ direction
    M = _scaled(rows, np.asarray(_spread(step, at.log_c)))
    margin, norm_gap, kkt, fixed_point = margins.min(), math.nan, math.nan, None
    if M is not None:
        pull = c @ rows
        margin = margin / np.sqrt(M @ direction**2)
        norm_gap = float(1.0 - margin / np.sqrt(pull**2 @ (1.0 / M)))
        kkt = _kkt(M * direction, pull, c, margins)
        if small:
            fixed_point = float(np.abs(_dual(problem, M) - c).sum())
    near = equilibrium(proxy, at.log_c)
    return AdamLimit(
        direction=jnp.asarray(direction),
        c=at.c,
        norm=None if M is None else Mahalanobis(jnp.asarray(M)),
        margin=jnp.asarray(margin),
        pace=pace,
        growth=growth,
        gap=at.gap,
        drift=at.drift,
        norm_gap=norm_gap,
        kkt_residual=kkt,
        fixed_point=fixed_point,
        standard_error=_standard_error(step, at),
        proxy_angle=_angle(near.step, at.step),
        stable=stable,
        rate=rate,
        converged=at.converged,
    )


def _slowest(
    step: AbstractMeanStep, at: Equilibrium, spectrum: np.ndarray
) -> float | None:
    """The least rate, of the samples that count and of those that leave."""
    F = np.asarray(step.rows) @ np.asarray(at.step)
    leaving = (F - F.min())[np.asarray(at.c) < 1e-9]
    found = [*spectrum, *leaving]
    return float(min(found)) if found else None


def _steady(
    step: AdamCycle | AdamSampled, at: Equilibrium, eta: float
) -> tuple[AdamCycle | AdamSampled, Equilibrium, float]:
    """The travelling wave of a constant step size: growth r = eta * margin at r."""
    b1, b2 = float(step.b1), float(step.b2)
    if b1**2 >= b2:  # m/√v of a wave that large steps make has no bound
        return step, at, 0.0
    bound = growth_limit(b1, b2)
    seen = {0.0: (step, at)}

    def at_growth(r: float) -> Equilibrium:
        if r not in seen:
            grown = eqx.tree_at(lambda s: s.growth, step, jnp.asarray(r))
            seen[r] = (grown, equilibrium(grown, at.log_c))
        return seen[r][1]

    r, last = eta * float(at.margin), math.inf
    for _ in range(20):  # converges at once where steps are small against the memory
        if r >= 0.5 * bound:
            break
        r, last = eta * float(at_growth(r).margin), r
        if abs(r - last) <= 1e-13 * r:
            return *seen[last], last
    excess = lambda r: eta * float(at_growth(r).margin) - r
    highest = bound * (1.0 - 1e-9)
    r = highest
    if excess(highest) < 0:  # else the limit itself, to nine digits
        r = float(
            scipy.optimize.root_scalar(excess, bracket=(0.0, highest), rtol=1e-12).root
        )
    at_growth(r)
    return *seen[r], r


@eqx.filter_jit
def _spread(step: AbstractMeanStep, log_c: PerSample) -> Vector:
    return step.spread(log_c)


def _dual(problem: LinearClassification, M: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LooseMarginWarning)
        return np.asarray(max_margin(problem, Mahalanobis(jnp.asarray(M))).dual)


def _kkt(
    force: np.ndarray, pull: np.ndarray, c: np.ndarray, margins: np.ndarray
) -> float:
    r"""Of $\min\frac12\|w\|_M^2$, $\langle a_i,w\rangle\ge1$, with multipliers $c$."""
    along = force * (pull @ force) / (force @ force)
    stationarity = np.linalg.norm(pull - along) / np.linalg.norm(pull)
    least = margins.min()
    slack = c @ (margins - least) / max(abs(least), 1e-300)
    return float(max(stationarity, slack))


def _scaled(rows: np.ndarray, M: np.ndarray) -> np.ndarray | None:
    """Largest entry 1; None where a feature is used and has no weight."""
    used = (rows != 0).any(axis=0)
    if not (M[used] > 1e-12 * M.max()).all():
        return None
    # a feature that is always 0 has no weight, and any M will do for it
    return np.where(used, M / M.max(), 1.0)


def _standard_error(step: AbstractMeanStep, at: Equilibrium) -> float:
    """From how each chain of draws, by itself, would turn the limit."""
    if not isinstance(step, AdamSampled):
        return 0.0
    if not at.converged:
        return math.nan
    means = np.asarray(_means(step, at.log_c))
    delta = np.asarray(at.step)
    turned = respond(step, at, means - means.mean(axis=0))
    unit = delta / np.linalg.norm(delta)
    turned -= np.outer(turned @ unit, unit)
    variance = (turned**2).sum() / (len(means) - 1) / len(means)
    return float(np.sqrt(variance) / np.linalg.norm(delta))


@eqx.filter_jit
def _means(step: AdamSampled, log_c: PerSample) -> Float[Array, "r d"]:
    return step.means(log_c)


def _between(step: AbstractMeanStep, found: list[Equilibrium]) -> list[Equilibrium]:
    """Limits that runs turn away from, looked for by Newton's method half way."""
    pairs = itertools.islice(itertools.combinations(found, 2), 6)
    halves = (np.asarray(a.log_c + b.log_c) / 2.0 for a, b in pairs)
    tried = (equilibrium(step, half, newton=True, max_steps=60) for half in halves)
    return [end for end in tried if end.converged and float(end.margin) > 0]


def _fresh(end: Equilibrium, known: list[Equilibrium]) -> bool:
    apart = lambda other: _angle(end.step, other.step) ** 2 > 2.0 * SAME
    return end.converged and all(map(apart, known))


def _starts(rows: Array, count: int, key: int) -> list[np.ndarray]:
    """Log-weights of random weights: -Xw, with a spread of up to six."""
    rng = np.random.default_rng(key)
    starts = []
    for _ in range(count):
        log_c = np.asarray(rows) @ rng.normal(size=rows.shape[1])
        size = np.ptp(log_c) or 1.0
        starts.append(log_c * rng.uniform(1.0, 6.0) / size)
    return starts


def _angle(a: Vector, b: Vector) -> float:
    """Between two directions; accurate for small ones, unlike an arc cosine."""
    u, v = np.asarray(a), np.asarray(b)
    u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
    return float(2.0 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v)))


def _constant(step_size: StepSize | None) -> float:
    schedule = None if step_size is None else as_schedule(step_size)
    return float(schedule.scale) if isinstance(schedule, Constant) else 0.0


def _count(name: str, value: object) -> int:
    return check_count(name, value, least=0)


def _draws(batching: AbstractBatching, rows: Array, draws: int | None) -> int:
    if isinstance(batching, Cyclic):
        return 0
    if draws is None:
        if rows.size > SAMPLED:
            return 0
        copied = min(batching.size_of(rows.shape[0]) * rows.shape[1], rows.size)
        return int(np.clip(WORK / copied, 512, DRAWS))
    return _count("draws", draws)


def _kind(step: AbstractMeanStep, batching: AbstractBatching, draws: int) -> str:
    if isinstance(batching, Cyclic):
        return "exact for these decays"
    if not isinstance(step, AdamSampled):
        return "for b2 → 1"
    return f"sampled with {draws} batches"


def _check_init(init: Any, rows: Any) -> Vector:
    check_number("init", init)
    w = jnp.asarray(init, dtype=float)
    if w.shape != rows.shape[1:] or not bool(jnp.all(jnp.isfinite(w))):
        raise ValueError(
            f"init must be finite weights of shape {rows.shape[1:]}; got {w.shape}."
        )
    return w
