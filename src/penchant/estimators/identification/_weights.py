"""What a step has to do with the weights: decay, beside the step or in the gradient."""

import dataclasses
import math

import numpy as np

from penchant.estimators.identification._box import AbstractBox
from penchant.estimators.identification._gradients import generic

SAME = 1e-6
"""Relative differences that count as none."""


@dataclasses.dataclass(frozen=True)
class OfWeights:
    r"""How steps depend on weights.

    `kind`: "none"; "decoupled", $-\lambda w$ is added whatever the gradient, `rate`
    being $\lambda$ times the step size; "coupled", the gradient is $g+\lambda w$,
    `rate` being $\lambda$; "both", the two at once, `through` being what goes through
    the gradient; "length", steps are as long as the weights, `rate`
    of which each step takes away; or "other". `misfit` is the share left over.
    """

    kind: str
    rate: float
    misfit: float
    through: float = 0.0


def of_weights(
    box: AbstractBox, scale: float, seed: int, tolerance: float, degree: float | None
) -> OfWeights:
    """Steps at random weights, beside those at 0; and along a path of weights."""
    found = _at_once(box, scale, seed, tolerance, degree)
    if found.kind in ("length", "other"):
        return found
    rng = np.random.default_rng(seed + 3)
    gradients = scale * np.stack([generic(box.shape, seed + i) for i in range(5)])
    size = max(1.0, float(np.sqrt(np.mean(box.run(gradients[:1]) ** 2))))
    # as after progress, which rules that measure it take note of
    path = -size * np.sign(gradients) * np.abs(rng.standard_normal(gradients.shape))
    path[0] = 0.0
    seen = box.run(gradients, path)
    through = {"coupled": found.rate, "both": found.through}.get(found.kind, 0.0)
    beside = found.rate if found.kind in ("decoupled", "both") else 0.0
    made = box.run(gradients + through * path) - beside * path
    error = float(np.linalg.norm(made - seen) / max(np.linalg.norm(seen), 1e-300))
    if error <= max(SAME, tolerance):
        return found
    return OfWeights("path", math.nan, error)


def _at_once(
    box: AbstractBox, scale: float, seed: int, tolerance: float, degree: float | None
) -> OfWeights:
    rng = np.random.default_rng(seed)
    G = scale * generic(box.shape, seed)
    gradients = [G, 3.0 * scale * generic(box.shape, seed + 1), np.zeros(box.shape)]
    plain = box.run(gradients)
    if not np.isfinite(plain).all():  # a rule that divides 0 by 0
        gradients[-1] = scale * generic(box.shape, seed + 2)
        plain = box.run(gradients)
    size = max(1.0, float(np.sqrt(np.mean(plain[0] ** 2))))
    w = size * rng.standard_normal(box.shape)
    seen = box.run(gradients, w)
    added = seen - plain
    floor = 1e-13 * (np.linalg.norm(w) + np.linalg.norm(plain[0]))
    if not np.isfinite(seen).all():
        return OfWeights("other", math.nan, math.nan)
    within = max(SAME, tolerance)
    moved = max(float(np.linalg.norm(x)) for x in added)
    share = float(moved / max(np.linalg.norm(plain), floor))
    if moved <= floor:
        return OfWeights("none", 0.0, share)
    rates = -np.sum(added * w, axis=tuple(range(1, added.ndim))) / np.sum(w * w)
    rate = float(rates[0])
    left = max(float(np.linalg.norm(x + rate * w)) for x in added) / moved
    if left <= within + floor / moved:
        return OfWeights("decoupled", rate, left)
    if share <= tolerance:
        return OfWeights("none", 0.0, share)
    coupled = _coupled(box, w, gradients, seen)
    if coupled is not None and coupled.misfit <= within:
        return coupled
    if degree is not None and abs(degree) < 1e-6:
        both = _both(box, w, scale)
        if both is not None and both.misfit <= within:
            return both
    twice = box.first(G, 2.0 * w)
    one = seen[0]
    ratio = float(np.sum(twice * one) / max(np.sum(one * one), 1e-300))
    off = float(np.linalg.norm(twice - ratio * one) / max(np.linalg.norm(one), 1e-300))
    if off <= 1e-6 and abs(ratio - 2.0) < 1e-3:
        return OfWeights("length", 0.0, off)
    return OfWeights("other", math.nan, left)


def _coupled(
    box: AbstractBox, w: np.ndarray, gradients: list[np.ndarray], seen: np.ndarray
) -> OfWeights | None:
    r"""The $\lambda$ at which a gradient of $-\lambda w$ makes no step."""

    def towards(log_x: float) -> float:
        return float(np.sum(box.first(-math.exp(log_x) * w, w) * w))

    low, high = math.log(1e-12), math.log(1e6)
    if not (towards(low) < 0 < towards(high)):
        return None
    for _ in range(48):
        middle = 0.5 * (low + high)
        value = towards(middle)
        if value == 0:
            low = high = middle
            break
        low, high = (middle, high) if value < 0 else (low, middle)
    rate = math.exp(0.5 * (low + high))
    again = box.run([g + rate * w for g in gradients])
    size = float(np.linalg.norm(seen))
    return OfWeights("coupled", rate, float(np.linalg.norm(again - seen)) / size)


def _both(box: AbstractBox, w: np.ndarray, scale: float) -> OfWeights | None:
    r"""Decay beside the step and through the gradient, of a normalised rule.

    Steps for gradients far larger than the weights, one way and the other, have what is
    beside them as their mean; the rest turns where $\lambda w$ is cancelled.
    """
    far = 1e12 * max(scale, 1.0) * np.sign(w)
    beside = -0.5 * (box.first(far, w) + box.first(-far, w))
    rate = float(np.sum(beside * w) / np.sum(w * w))
    left = float(
        np.linalg.norm(beside - rate * w) / max(np.linalg.norm(beside), 1e-300)
    )

    def towards(log_x: float) -> float:
        return float(np.sum((box.first(-math.exp(log_x) * w, w) + rate * w) * w))

    low, high = math.log(1e-12), math.log(1e6)
    if not (towards(low) < 0 < towards(high)):
        return None
    for _ in range(48):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if towards(middle) < 0 else (low, middle)
    return OfWeights("both", rate, left, through=math.exp(0.5 * (low + high)))


def dead(box: AbstractBox, scale: float, seed: int) -> str:
    """What a coordinate does whose gradient is always 0."""
    G = scale * generic(box.shape, seed)
    first = (0,) * G.ndim
    G[first] = 0.0
    seen = box.run([G, G, G])[(slice(None), *first)]
    if not np.isfinite(seen).all():
        return "is not finite (0/0)"
    return "stays" if np.all(seen == 0) else "moves"
