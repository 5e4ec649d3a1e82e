"""What a rule makes of gradients that are noise alone."""

import dataclasses
import math

import numpy as np

from penchant.estimators.identification._box import AbstractBox
from penchant.estimators.identification._replay import Form

LENGTH = 50
"""Gradients of a run; what fades within half of it has."""


@dataclasses.dataclass(frozen=True)
class Noise:
    r"""Steps for independent normal gradients of mean 0, one a step.

    `size` is the root mean square of a step over that for gradients which all agree,
    and `persistence` the correlation of one step with the next: an average over $n$
    gradients makes them $\approx n^{-1/2}$ and $1-1/n$, a rule without memory 1 and 0.
    `size_error` and `persistence_error` are standard errors over coordinates.
    """

    size: float
    size_error: float
    persistence: float
    persistence_error: float


def noise(box: AbstractBox, scale: float, seed: int) -> Noise:
    """A run of noise, and one of gradients that agree, over their second halves.

    Both have entries of one size in the mean of squares.
    """
    rng = np.random.default_rng(seed + 11)
    draws = rng.standard_normal((LENGTH, *box.shape))
    signs = np.sign(draws[0])
    u = box.run(scale * draws).reshape(LENGTH, -1)[LENGTH // 2 :]
    still = box.run(scale * np.broadcast_to(signs, draws.shape))
    level = float(np.sqrt(np.mean(still[LENGTH // 2 :] ** 2)))
    if not (np.isfinite(u).all() and level > 0 and np.any(u)):
        return Noise(*(math.nan,) * 4)
    return Noise(*_sizes(u, level), *_persistence(u))


def _sizes(u: np.ndarray, level: float) -> tuple[float, float]:
    squares = np.mean(u**2, axis=0) / level**2
    size = float(np.sqrt(np.mean(squares)))
    error = float(np.std(squares, ddof=1)) / math.sqrt(squares.size)
    return size, error / (2.0 * size)


def _persistence(u: np.ndarray) -> tuple[float, float]:
    products = np.mean(u[1:] * u[:-1], axis=0)
    squares = np.mean(0.5 * (u[1:] ** 2 + u[:-1] ** 2), axis=0)
    ratio = float(np.mean(products) / np.mean(squares))
    left = products - ratio * squares
    error = float(np.std(left, ddof=1)) / math.sqrt(left.size)
    return ratio, error / float(np.mean(squares))


def foretold(form: Form, signs: bool) -> float:
    r"""The persistence that a first memory foretells, $\sum c_kc_{k+1}/\sum c_k^2$.

    With `signs` that of the sign of a normal series with this correlation,
    $\frac2\pi\arcsin$. What divides is taken to be constant, as it nearly is over the
    memory of the first.
    """
    impulse = np.zeros(400)
    impulse[0] = 1.0
    plain = dataclasses.replace(form, ahead="")
    c = plain.memory(impulse)
    ratio = float(c[1:] @ c[:-1] / (c @ c))
    return 2.0 / math.pi * math.asin(ratio) if signs else ratio
