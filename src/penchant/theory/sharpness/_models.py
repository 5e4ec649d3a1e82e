"""What lowering a sharpness means for models that can be solved by hand."""

import math
from typing import Any

import numpy as np
import scipy

from penchant import optimizers
from penchant._checks import check_count, check_number
from penchant._types import Real
from penchant.flows.slow import Metric
from penchant.optimizers import AbstractOptimizer


def power_of(optimizer: AbstractOptimizer | str | object) -> float:
    r"""$e=1-\lambda$ of the $\sum_jH_{jj}^e$ that a rule lowers at $\varepsilon=0$.

    Raises:
        TypeError: If the rule divides by something else than powers of entries.
    """
    rule = optimizers.read(optimizer)
    metric = Metric.of(rule)
    if metric.kind not in ("none", "entries"):
        raise TypeError(
            "optimizer must divide by a power of the squares of single entries, or by "
            f"nothing; got {rule!r}."
        )
    return 1.0 - metric.exponent


def sparsity_power(optimizer: AbstractOptimizer | str | object) -> float:
    r"""$q$ of the $\|\beta\|_q$ that label noise minimises on a diagonal network.

    For $\beta=u^2-v^2$ and inputs $\pm1$, $\operatorname{diag}H=4w^2$, so that
    $\sum_jH_{jj}^e$ is least, among factorisations of one $\beta$, at $u_jv_j=0$, where
    it is $4^e\|\beta\|_e^e$ (`li2025sharpness`). Adam: $\ell_{1/2}$. For $e<1$ this is
    not convex, and the flow ends at one of many local minima.

    >>> import penchant as pn
    >>> pn.theory.sharpness.sparsity_power("adam")
    0.5
    >>> pn.theory.sharpness.sparsity_power("gd")
    1.0

    Raises:
        TypeError: If the rule divides by something else than powers of entries.
    """
    return power_of(optimizer)


def schatten_power(optimizer: AbstractOptimizer | str | object) -> float:
    r"""$q$ of the Schatten quasi-norm minimised on $W_2W_1$ with Gaussian measurements.

    There $H_{jj}$ of an entry of $W_1$ is the squared length of a column of $W_2$, and
    the other way round, up to the noise of the measurements; so
    $\sum_jH_{jj}^e\propto d_0\sum_k\|W_2[:,k]\|^{2e}+d_L\sum_k\|W_1[k,:]\|^{2e}$, whose
    least value over factorisations is a multiple of $\sum_i\sigma_i^e$
    (`test_schatten_power_by_minimisation`). Gradient descent: nuclear, as
    `gatmiry2023inductive` have it; Adam: Schatten ½, which promotes low rank more. Two
    layers only.

    >>> import penchant as pn
    >>> pn.theory.sharpness.schatten_power(pn.optimizers.AdamE(exponent=0.25))
    0.75

    Raises:
        TypeError: If the rule divides by something else than powers of entries.
    """
    return power_of(optimizer)


def extinction_time(
    optimizer: AbstractOptimizer | str | object, size: Real, *, noise: Real = 1.0
) -> float:
    r"""Slow time after which a free coordinate of a diagonal network is 0.

    Quasi-static, $\varepsilon=0$: $\dot\theta=-\frac12(4\alpha)^{1-2\lambda}
    \theta^{1-4\lambda}$, so $\theta_0^{4\lambda}/(2\lambda(4\alpha)^{1-2\lambda})$; for
    Adam $\theta_0^2$, that is $\theta_0^2/\eta^2$ steps. Infinite for gradient descent,
    whose coordinates fall like $e^{-2\alpha T}$. Coordinates that the data hold up live
    longer.

    >>> import penchant as pn
    >>> pn.theory.sharpness.extinction_time("adam", 0.3)
    0.09

    Args:
        optimizer: A rule that divides by a power of entries.
        size: $\theta_0$.
        noise: $\alpha$, which Adam's time does not depend on.

    Raises:
        TypeError: If the rule divides by something else.
        ValueError: If a number is out of its range.
    """
    check_number("size", size, above=0.0, finite=True)
    check_number("noise", noise, above=0.0, finite=True)
    power = 1.0 - power_of(optimizer)
    if power == 0.0:
        return math.inf
    theta, alpha = float(np.asarray(size)), float(np.asarray(noise))
    return theta ** (4 * power) / (2 * power * (4 * alpha) ** (1 - 2 * power))


def statistical_dimension(d: int, k: int) -> float:
    r"""Gaussian measurements at which $\ell_1$ recovers `k` of `d` entries, half-time.

    $\min_t\,k(1+t^2)+(d-k)\,E(|g|-t)_+^2$ (`amelunxen2014living`): the width of the
    descent cone. What minimises $\ell_1$ at its best, as label-noise gradient descent
    on a diagonal network does given time, can't do better.

    >>> import penchant as pn
    >>> round(pn.theory.sharpness.statistical_dimension(10_000, 50), 1)
    354.2

    Raises:
        TypeError: If an argument is no whole number.
        ValueError: If `k` is not below `d`.
    """
    d, k = check_count("d", d, least=2), check_count("k", k)
    if k >= d:
        raise ValueError(f"k must be below d; got {k} and {d}.")

    def width(t: float) -> float:
        beyond, density = scipy.stats.norm.sf(t), scipy.stats.norm.pdf(t)
        excess = 2 * ((1 + t * t) * beyond - t * density)
        return float(k * (1 + t * t) + (d - k) * excess)

    best: Any = scipy.optimize.minimize_scalar(
        width, bounds=(0.0, 40.0), method="bounded", options={"xatol": 1e-10}
    )
    return float(best.fun)
