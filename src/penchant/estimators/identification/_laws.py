"""Ways to remember that are no pair of means: recurrences with fitted constants."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from penchant.estimators.identification._box import AbstractBox
from penchant.estimators.identification._replay import turning

Series = np.ndarray
"""Gradients, or what is made of them, `(t, …)`."""

AGREES = 1e-6
"""Steps of a law that differ by no more, as a share, are the rule's own."""

ROUNDING = 1e-8
"""Below this misfit constants are as exact as steps are, and no other law is tried."""


NEAR = 0.1
"""A fit that leaves over more is that of another law."""

SEEN = 1e-3
"""A relative change of steps by a change of a constant, below which it is not seen."""

REACH, POINTS = 0.3, 601
"""How far from a minimum a constant that jumps is looked for, in logarithms."""

STEP = 1e-5
"""Of central differences, in logarithms."""

ITERATIONS = 60
"""Of a fit; a few tell whether it gets near."""


@dataclasses.dataclass(frozen=True)
class Law:
    """Steps as a function of gradients and constants, up to a factor.

    `starts` are the constants' names and where their fit starts; those that are no
    `decay` are positive numbers of any size. `mean` says that the first constant is the
    decay of a mean of gradients, debiased, that makes the direction of steps, `jumps`
    that steps are no continuous function of the last one. `form`
    says the same in words.
    """

    form: str
    starts: dict[str, float]
    steps: Callable[..., Series]
    mean: bool = False
    jumps: bool = False


@dataclasses.dataclass(frozen=True)
class LawFit:
    """A law that was fitted: constants, their standard errors, and what is left over.

    `misfit` is the largest error of a step as a share of its own length, on gradients
    that the fit has not seen too.
    """

    law: Law
    constants: dict[str, float]
    errors: dict[str, float]
    factor: float
    misfit: float


def _means(x: Series, decay: float) -> Series:
    out, m = np.empty_like(x), np.zeros_like(x[0])
    for t, new in enumerate(x):
        m = decay * m + (1.0 - decay) * new
        out[t] = m
    return out


def _counts(x: Series) -> Series:
    """1, 2, … along the leading axis."""
    return np.arange(1.0, len(x) + 1).reshape(-1, *(1 for _ in x.shape[1:]))


def _debiased(x: Series, decay: float) -> Series:
    return _means(x, decay) / (1.0 - decay ** _counts(x))


def _root(v: Series) -> Series:
    return np.sqrt(np.where(v > 0, v, math.inf))


def _lengths(x: Series) -> Series:
    axes = tuple(range(1, x.ndim))
    return np.sqrt(np.sum(x**2, axis=axes, keepdims=True))


def _largest(g: Series, first: float, second: float) -> Series:
    sizes, size = np.empty_like(g), np.zeros_like(g[0])
    for t, new in enumerate(np.abs(g)):
        size = np.maximum(second * size, new)
        sizes[t] = size
    return _debiased(g, first) / sizes


def _largest_mean(g: Series, first: float, second: float) -> Series:
    return _debiased(g, first) / _root(np.maximum.accumulate(_debiased(g**2, second)))


def _largest_then_debiased(g: Series, first: float, second: float) -> Series:
    v = np.maximum.accumulate(_means(g**2, second)) / (1.0 - second ** _counts(g))
    return _debiased(g, first) / _root(v)


def _belief(g: Series, first: float, second: float) -> Series:
    apart = (g - _means(g, first)) ** 2
    return _debiased(g, first) / _root(_debiased(apart, second))


def _belief_before(g: Series, first: float, second: float) -> Series:
    before = np.concatenate([np.zeros_like(g[:1]), _means(g, first)[:-1]])
    v = _debiased((g - before) ** 2, second)
    return g / np.concatenate([np.ones_like(g[:1]), _root(v[:-1])])


def _centred(g: Series, second: float) -> Series:
    return g / _root(_means(g**2, second) - _means(g, second) ** 2)


def _additive(g: Series, first: float, second: float) -> Series:
    out, v = np.empty_like(g), np.zeros_like(g[0])
    for t, s in enumerate(g**2):
        v = v - (1.0 - second) * np.sign(v - s) * s
        out[t] = v
    return _debiased(g, first) / _root(out / (1.0 - second ** _counts(g)))


def _rectified(g: Series, first: float, second: float) -> Series:
    t = _counts(g)
    ends = 2.0 / (1.0 - second) - 1.0
    length = ends - 2.0 * t * second**t / (1.0 - second**t)
    share = (length - 4) * (length - 2) * ends / ((ends - 4) * (ends - 2) * length)
    m = _debiased(g, first)
    small = np.sqrt(np.where(length > 5.0, share, 1.0)) * m
    return np.where(length > 5.0, small / _root(_debiased(g**2, second)), m)


def _scheduled(g: Series, first: float, second: float, rate: float) -> Series:
    t = np.arange(1.0, len(g) + 2)
    mu = first * (1.0 - 0.5 * 0.96 ** (rate * t))
    kept = np.cumprod(mu)
    wide = lambda x: x.reshape(_counts(g).shape)
    new = wide((1.0 - mu[:-1]) / (1.0 - kept[:-1]))
    old = wide(mu[1:] / (1.0 - kept[1:]))
    ahead = new * g + old * _means(g, first)
    return ahead / _root(_debiased(g**2, second))


def _two_means(
    g: Series, first: float, second: float, slow: float, gain: float
) -> Series:
    both = _debiased(g, first) + gain / (1.0 - slow) * _means(g, slow)
    return both / _root(_debiased(g**2, second))


def _differences(g: Series, first: float, other: float, second: float) -> Series:
    apart = np.diff(g, axis=0, prepend=g[:1])
    ahead = _debiased(g, first) + (1.0 - other) * _debiased(apart, other)
    squares = (g + (1.0 - other) * apart) ** 2
    return ahead / _root(_debiased(squares, second))


def _past_steps(g: Series, decay: float) -> Series:
    out, v, x = np.empty_like(g), np.zeros_like(g[0]), np.zeros_like(g[0])
    for t, new in enumerate(g):
        v = decay * v + (1.0 - decay) * new**2
        out[t] = np.sqrt((x + 1.0) / np.where(v > 0, v, math.inf)) * new
        x = decay * x + (1.0 - decay) * out[t] ** 2
    return out


def _clipped(u: Series) -> Series:
    """Steps whose root mean square is at most 1."""
    size = _lengths(u) / math.sqrt(u[0].size)
    return u / np.maximum(1.0, size)


def _fading(x: Series, power: float) -> Series:
    """Means whose decay at step t is $1-t^{-p}$."""
    out, v = np.empty_like(x), np.zeros_like(x[0])
    for t, new in enumerate(x, start=1):
        v += (new - v) * t**-power
        out[t - 1] = v
    return out


def _growing(g: Series, power: float) -> Series:
    return _clipped(g / _root(_fading(g**2, power)))


def _factored(g: Series, power: float) -> Series:
    if g.ndim < 3:
        return _growing(g, power)
    rows = _fading(np.mean(g**2, axis=2, keepdims=True), power)
    columns = _fading(np.mean(g**2, axis=1, keepdims=True), power)
    v = rows * columns / np.mean(rows, axis=1, keepdims=True)
    return _clipped(g / _root(v))


def _lengths_first(g: Series, first: float, second: float) -> Series:
    squares = _lengths(g) ** 2
    v = squares.copy()
    for t in range(1, len(g)):
        v[t] = second * v[t - 1] + (1.0 - second) * squares[t]
    return _means(g / _root(v), first)


def _covers(g: Series, first: float) -> Series:
    out, axes = np.empty_like(g), range(g.ndim - 1)
    tops = [np.zeros(1) for _ in axes]
    for t, new in enumerate(g):
        least = tops[0]
        for top in tops[1:]:
            least = np.minimum(least, top)
        v = new**2 + least
        others = [tuple(a for a in axes if a != i) for i in axes]
        tops = [np.max(v, axis=o, keepdims=True) for o in others]
        out[t] = new / _root(v)
    return _means(out, first)


def _of_one_length(g: Series, first: float, second: float) -> Series:
    u = _debiased(g, first) / _root(_debiased(g**2, second))
    return u / _lengths(u)


def _after_the_first(g: Series, weight: float) -> Series:
    return g + weight * np.diff(g, axis=0, prepend=g[:1])


def _dampened(g: Series, decay: float, damping: float) -> Series:
    out = g.copy()
    for t in range(1, len(g)):
        out[t] = decay * out[t - 1] + (1.0 - damping) * g[t]
    return out


def _agreeing(g: Series, up: float, down: float) -> Series:
    out, size, old = np.empty_like(g), np.ones_like(g[0]), np.zeros_like(g[0])
    for t, new in enumerate(g):
        turn = np.sign(new * old)
        size = size * np.where(turn > 0, up, np.where(turn < 0, down, 1.0))
        old = np.where(turn < 0, 0.0, np.sign(new))
        out[t] = size * old
    return out


def _agreeing_late(g: Series, up: float, down: float) -> Series:
    held = _agreeing(g, up, down)
    out = np.zeros_like(g)
    turned = np.sign(g[1:] * held[:-1]) < 0
    out[1:] = np.where(turned, 0.0, held[:-1])
    return out


ADAM = {"first decay": 0.9, "second decay": 0.99}

LAWS = (
    Law(
        "divides by the largest of sizes that fade",
        ADAM,
        _largest,
        mean=True,
    ),
    Law(
        "divides by the largest of debiased means of squares",
        ADAM,
        _largest_mean,
        mean=True,
    ),
    Law(
        "divides by the largest of means of squares, debiased after",
        ADAM,
        _largest_then_debiased,
        mean=True,
    ),
    Law(
        "divides by a mean of squares of the gradient less its mean",
        ADAM,
        _belief,
        mean=True,
    ),
    Law(
        "divides by a mean of squares of the last gradient less the mean before it",
        ADAM,
        _belief_before,
    ),
    Law(
        "divides by a mean of squares less the square of the mean",
        {"second decay": 0.95},
        _centred,
    ),
    Law(
        "divides by sizes that change by a share of a square, up or down",
        ADAM,
        _additive,
        mean=True,
        jumps=True,
    ),
    Law(
        "divides by a mean of squares once the variance of that is small",
        ADAM,
        _rectified,
        mean=True,
    ),
    Law(
        "looks ahead by a momentum that grows with the steps",
        {**ADAM, "momentum rate": 0.01},
        _scheduled,
    ),
    Law(
        "steps along two means of gradients, a fast one and a slow one",
        {**ADAM, "slow decay": 0.999, "slow gain": 0.01},
        _two_means,
    ),
    Law(
        "steps along a mean of gradients and one of their differences",
        {"first decay": 0.95, "difference decay": 0.9, "second decay": 0.98},
        _differences,
    ),
    Law(
        "multiplies by a mean of squares of its own steps",
        {"second decay": 0.95},
        _past_steps,
    ),
    Law(
        "divides by means of squares whose memory grows with the steps",
        {"growth": 0.7},
        _growing,
    ),
    Law(
        "divides by row and column factors whose memory grows with the steps",
        {"growth": 0.7},
        _factored,
    ),
    Law(
        "divides by a mean of squared lengths that starts at the first, and remembers",
        {"first decay": 0.9, "second decay": 0.5},
        _lengths_first,
    ),
    Law(
        "divides by the least of row and column covers of squares, then remembers",
        {"first decay": 0.8},
        _covers,
    ),
    Law(
        "makes steps of Adam's direction and of one length",
        ADAM,
        _of_one_length,
    ),
    Law(
        "adds the change of the gradient, after the first",
        {"weight of the change": 0.5},
        _after_the_first,
    ),
    Law(
        "remembers from the whole first gradient on, those after it dampened",
        {"first decay": 0.8, "damping decay": 0.2},
        _dampened,
    ),
    Law(
        "makes steps larger where signs agree, smaller where not",
        {"growth": 1.1, "shrinkage": 0.6},
        _agreeing,
    ),
    Law(
        "makes steps larger where signs agree, smaller where not, one step late",
        {"growth": 1.1, "shrinkage": 0.6},
        _agreeing_late,
    ),
)
"""Those known: AdaMax, AMSGrad twice, AdaBelief, ACProp, centred RMSProp, Yogi, RAdam,
torch's NAdam, AdEMAMix, Adan, Adadelta, Adafactor, whole and factored, NovoGrad, SM3,
LAMB, optimistic descent, dampened momentum, and Rprop twice."""


def best_law(box: AbstractBox, scale: float, seed: int) -> LawFit | None:
    """Of all laws the one nearest to steps for gradients that turn; None without."""
    fitted, fresh = (turning(box, scale, s) for s in (seed, seed + 1))
    seen = -box.run(fitted)
    again = -box.run(fresh)
    if not (np.isfinite(seen).all() and np.isfinite(again).all() and np.any(seen)):
        return None
    best = None
    for law in LAWS:
        fit = _fit(law, fitted, seen, fresh, again)
        if fit is not None and (best is None or fit.misfit < best.misfit):
            best = fit
        if best is not None and best.misfit < ROUNDING:
            break
    return best


def _fit(
    law: Law,
    g: Series,
    seen: Series,
    fresh: Series,
    again: Series,
) -> LawFit | None:
    """Least squares, the factor eliminated."""
    names = tuple(law.starts)
    inside = np.array(["decay" in name for name in names])
    count = math.sqrt(len(seen))

    def constants(x: Series) -> Series:
        near = np.clip(x, -40.0, 40.0)
        return np.where(inside, 1.0 / (1.0 + np.exp(-near)), np.exp(near))

    def made(x: Series, of: Series) -> Series:
        with np.errstate(all="ignore"):
            steps = law.steps(of, *constants(x))
        return np.where(np.isfinite(steps), steps, 0.0)

    sizes = _floored(seen)

    def factor(steps: Series) -> float:
        near, wanted = steps / sizes, seen / sizes
        return float(np.sum(wanted * near) / max(np.sum(near**2), 1e-300))

    def left(x: Series) -> Series:
        steps = made(x, g)
        return ((seen - factor(steps) * steps) / sizes).ravel() / count

    near = np.array(list(law.starts.values()))
    x = np.where(inside, np.log(near / np.abs(1.0 - near)), np.log(near))
    x, rest, jac = _minimised(left, x)
    if law.jumps and ROUNDING**2 < rest @ rest < NEAR**2:
        x, rest, jac = _minimised(left, _scanned(left, x))
    scale = factor(made(x, g))
    misfit = max(
        _apart(scale * made(x, g), seen),
        _apart(scale * made(x, fresh), again),
    )
    if not math.isfinite(misfit):
        return None
    values = constants(x)
    slope = np.where(inside, values * (1.0 - values), values)
    spread = _errors(jac, rest, len(seen))
    errors = np.maximum(slope * spread, np.finfo(float).eps * values)
    if np.any(np.linalg.norm(jac, axis=0) < SEEN * slope):
        return None  # steps do not tell a constant
    return LawFit(
        law,
        dict(zip(names, (float(v) for v in values), strict=True)),
        dict(zip(names, (float(e) for e in errors), strict=True)),
        scale,
        misfit,
    )


def _minimised(
    left: Callable[[Series], Series], x: Series
) -> tuple[Series, Series, Series]:
    """Least squares by Levenberg and Marquardt, to rounding: where, the rest, slopes.

    Columns are scaled and solved for by a QR: valleys of two memories are narrow.
    """
    rest, damping = left(x), 1e-3
    jac = _slopes(left, x)
    for i in range(ITERATIONS):
        size = np.maximum(np.linalg.norm(jac, axis=0), 1e-300)
        for _ in range(10):
            block = np.concatenate([jac / size, math.sqrt(damping) * np.eye(len(x))])
            wanted = np.concatenate([-rest, np.zeros(len(x))])
            move = np.linalg.lstsq(block, wanted, rcond=None)[0] / size
            new = x + np.clip(move, -1.0, 1.0)
            fresh = left(new)
            if fresh @ fresh < rest @ rest:
                break
            damping *= 10.0
        else:
            break
        x, rest, damping = new, fresh, max(0.1 * damping, 1e-15)
        jac = _slopes(left, x)
        if rest @ rest < 1e-30 or (i > 5 and rest @ rest > NEAR**2):
            break
    return x, rest, jac


def _scanned(left: Callable[[Series], Series], x: Series) -> Series:
    """The best of a fine grid of the last constant about a minimum between jumps."""
    last = np.eye(len(x))[-1]
    grid = [x + shift * last for shift in np.linspace(-REACH, REACH, POINTS)]
    return min(grid, key=lambda y: float(np.sum(left(y) ** 2)))


def _slopes(left: Callable[[Series], Series], x: Series) -> Series:
    """Central differences, a column each."""
    moves = STEP * np.eye(len(x))
    return np.stack([(left(x + h) - left(x - h)) / (2.0 * STEP) for h in moves], axis=1)


def _floored(steps: Series) -> Series:
    """Lengths of steps, none of them 0: large ones are not to drown the others."""
    size = _lengths(steps)
    return np.maximum(size, 1e-9 * np.max(size))


def _apart(made: Series, seen: Series) -> float:
    """The largest error of a step as a share of its own length."""
    return float(np.max(_lengths(made - seen) / _floored(seen)))


def _errors(jac: Series, rest: Series, steps: int) -> Series:
    """Standard errors where what is left over is one thing a step, not one an entry."""
    inverse = np.linalg.pinv(jac.T @ jac)
    pulls = np.sum((jac * rest[:, None]).reshape(steps, -1, jac.shape[1]), axis=1)
    freedom = max(1, steps - jac.shape[1] - 1)
    of = inverse @ (pulls.T @ pulls) @ inverse * steps / freedom
    return np.sqrt(np.diagonal(of).clip(0.0))
