"""Risks under noise that is not Gaussian, each with its error."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from penchant._checks import check_instance
from penchant._types import Numbers
from penchant.datasets import Mixture
from penchant.datasets.noises import Gaussian, Rademacher, StudentT, Uniform
from penchant.measures import Estimate

Array = np.ndarray

BERRY_ESSEEN = 0.56
"""The constant of `shevtsova2010improvement`, for independent summands of any laws."""

FEW_SIGNS = 16
"""Signs whose 2^16 sums are listed."""

NEGLIGIBLE = 1e-15
"""Of the largest coefficient: below it a coordinate is left out."""

Law = Callable[[Any], Array]

CHUNK = 2_000_000
"""Values of a characteristic function that are held together."""

ROUNDING = 1e-14


def tail_risk(mixture: Mixture, weights: Numbers) -> Estimate:
    r"""The risk of weights on a mixture of any noise, with an error that holds.

    Gaussian: exact, $\Phi(-\rho)$. Uniform and Student t: their characteristic
    function is inverted by the midpoint rule; the error is a bound on what is cut off
    and what the step folds in (Student t: the change when the step is halved, no
    bound). Rademacher with up to 16 coordinates that count: all sums, exact. Else, and
    for noise of your own: the central limit $\Phi(-\rho)$, whose error is that of
    Berry and Esseen, $.56\,\sum|a_i|^3\mathbb E|u|^3$ with $\sum a_i^2=1$; it is
    absolute, and says nothing of risks far below it.

    >>> import penchant as pn
    >>> noise = pn.datasets.noises.Uniform()
    >>> mixture = pn.datasets.Mixture([1.0, 0.0], 1.0, noise=noise)
    >>> pn.theory.risk.tail_risk(mixture, [1.0, 0.0]).value  # (√3 - 1)/(2√3)
    0.2113...

    Args:
        mixture: With any noise.
        weights: `(d,)`.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If the weights' shape is another, or they are 0 or not finite.
    """
    check_instance("mixture", mixture, Mixture, "a datasets.Mixture")
    rho = mixture.rho(weights)
    if np.ndim(rho):
        raise ValueError(
            f"weights must have shape ({mixture.dimension},); got a batch."
        )
    rho = float(rho)
    w = np.asarray(weights, dtype=float)
    a = np.abs(w / np.abs(w).max()) * np.sqrt(mixture.variances)
    a = a[a > NEGLIGIBLE * a.max()]
    a /= np.linalg.norm(a)
    noise = mixture.noise
    if isinstance(noise, Gaussian):
        return Estimate(float(special.ndtr(-rho)), 0.0, exact=True, how="Φ(-ρ)")
    if isinstance(noise, Rademacher) and len(a) <= FEW_SIGNS:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(a))))
        return Estimate(
            float(np.mean(signs @ a < -rho)), 0.0, exact=True, how="all sums of signs"
        )
    if isinstance(noise, Uniform):
        return _uniform(a, rho)
    if isinstance(noise, StudentT):
        return _student(a, rho, noise.df)
    error = BERRY_ESSEEN * float((a**3).sum()) * noise.third
    return Estimate(
        float(special.ndtr(-rho)), min(error, 1.0), how="central limit, Berry-Esseen"
    )


def _uniform(a: Array, rho: float) -> Estimate:
    root = 3.0**0.5
    law = lambda t: np.sinc(root * t / np.pi)
    # a sum of these is below a Gaussian in every exponential moment
    reach = 2.0 * (abs(rho) + 9.0)
    step = 2.0 * np.pi / reach
    folded = 2.0 * float(np.exp(-0.5 * (reach - abs(rho)) ** 2))
    # where |sin x / x| <= 1/x binds all coordinates that it binds
    end, left = _end(lambda t: np.minimum(1.0, 1.0 / (root * a * t)), step)
    value = _invert(law, a, rho, step, end)
    return Estimate(
        value,
        folded + left + ROUNDING,
        how="characteristic function, rest bounded",
    )


def _student(a: Array, rho: float, df: float) -> Estimate:
    scale = (df - 2.0) ** 0.5  # √df t of unit variance
    half = 0.5 * df
    log_norm = special.gammaln(half) + (half - 1.0) * np.log(2.0)

    def law(t: Array) -> Array:
        x = scale * np.abs(t)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            log = half * np.log(x) + np.log(special.kve(half, x)) - x - log_norm
        return np.where(x > 0, np.exp(np.minimum(log, 0.0)), 1.0)

    step = 2.0 * np.pi / (2.0 * abs(rho) + 100.0)
    end, left = _end(lambda t: law(a * t), step)
    coarse = _invert(law, a, rho, step, end)
    value = _invert(law, a, rho, 0.5 * step, 2 * end)
    return Estimate(
        value,
        abs(value - coarse) + left + ROUNDING,
        how="characteristic function, step halved",
    )


def _end(bound: Law, step: float, most: int = 200_000) -> tuple[int, float]:
    """How many nodes until the characteristic function is negligible, and the rest."""
    count = 64
    while True:
        sizes = bound(count * step)
        left = float(np.exp(np.log(np.maximum(sizes, 1e-300)).sum())) / np.pi
        if left < 1e-16 or count >= most:
            # every coordinate whose bound falls, falls like 1/t at least
            falling = max(int((sizes < 1.0).sum()), 1)
            return count, left / falling
        count *= 2


def _invert(law: Law, a: Array, rho: float, step: float, count: int) -> float:
    total = 0.5
    wide = max(1, CHUNK // len(a))
    for first in range(0, count, wide):
        j = np.arange(first, min(first + wide, count)) + 0.5
        phi = np.prod(law(np.outer(j * step, a)), axis=1)
        total -= float((phi * np.sin(j * step * rho) / (np.pi * j)).sum())
    return min(max(total, 0.0), 1.0)
