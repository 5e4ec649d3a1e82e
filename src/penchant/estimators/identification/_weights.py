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
    `rate` being $\lambda$; "length", steps keep their direction and are as long as
    the weights; or "other". `misfit` is what is left over, as a share.
    """

    kind: str
    rate: float
    misfit: float


def of_weights(box: AbstractBox, scale: float, seed: int, tolerance: float) -> OfWeights:
    """Steps at random weights, beside those at 0."""
    rng = np.random.default_rng(seed)
    G = scale * generic(box.shape, seed)
    gradients = [G, 3.0 * scale * generic(box.shape, seed + 1), np.zeros(box.shape)]
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
    if moved <= max(floor, tolerance * float(np.linalg.norm(plain))):
        return OfWeights("none", 0.0, moved / max(float(np.linalg.norm(plain)), floor))
    rates = -np.sum(added * w, axis=tuple(range(1, added.ndim))) / np.sum(w * w)
    rate = float(rates[0])
    left = max(float(np.linalg.norm(x + rate * w)) for x in added) / moved
    if left <= within + floor / moved:
        return OfWeights("decoupled", rate, left)
    coupled = _coupled(box, w, gradients, seen)
    if coupled is not None and coupled.misfit <= within:
        return coupled
    twice = box.first(G, 2.0 * w)
    one = seen[0]
    ratio = float(np.sum(twice * one) / max(np.sum(one * one), 1e-300))
    off = float(np.linalg.norm(twice - ratio * one) / max(np.linalg.norm(one), 1e-300))
    if off <= 1e-6 and abs(ratio - 2.0) < 1e-3:
        return OfWeights("length", 1.0, off)
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


def dead(box: AbstractBox, scale: float, seed: int) -> str:
    """What a coordinate does whose gradient is always 0."""
    G = scale * generic(box.shape, seed)
    first = (0,) * G.ndim
    G[first] = 0.0
    seen = box.run([G, G, G])[(slice(None), *first)]
    if not np.isfinite(seen).all():
        return "is not finite (0/0)"
    return "stays" if np.all(seen == 0) else "moves"
