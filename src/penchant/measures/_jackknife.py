"""Functions of a mean: bias and error by leaving parts out."""

import math
from collections.abc import Sequence

import numpy as np

from penchant._checks import check_count
from penchant._types import Numbers
from penchant.measures._estimate import Estimate


def jackknife(whole: float, left_out: Sequence[float], how: str = "") -> Estimate:
    r"""A function of the mean of $k$ parts, its bias of order $1/k$ removed.

    With $\theta$ of all and $\theta_{-i}$ without part $i$:
    $k\theta-(k-1)\bar\theta_-$, and its standard error
    $\sqrt{\frac{k-1}k\sum_i(\theta_{-i}-\bar\theta_-)^2}$.

    >>> import penchant as pn
    >>> x = [1.0, 2.0, 6.0]  # of a plain mean it is the mean and its standard error
    >>> pn.measures.jackknife(3.0, [4.0, 3.5, 1.5])
    3 ± 1.5

    Args:
        whole: The function of the mean of all parts.
        left_out: The same without each of them, at least two.
        how: What the parts are, for the result.

    Raises:
        ValueError: If there are fewer than two parts.
    """
    k = check_count("left_out", len(left_out), least=2)
    mean = sum(left_out) / k
    error = math.sqrt((k - 1) / k * sum((part - mean) ** 2 for part in left_out))
    return Estimate(k * whole - (k - 1) * mean, error, how=how, n=k)


def root_factor(draws: int) -> float:
    r"""$c_K=\sqrt{\tfrac2K}\,\Gamma(\tfrac{K+1}2)/\Gamma(\tfrac K2)$.

    The root of the mean of $K$ squares of Gaussians is too small by this factor:
    $.798$ for one, $.969$ for eight.

    >>> import penchant as pn
    >>> [round(pn.measures.root_factor(k), 3) for k in (1, 2, 8)]
    [0.798, 0.886, 0.969]
    """
    k = check_count("draws", draws)
    logs = math.lgamma((k + 1) / 2) - math.lgamma(k / 2)
    return math.sqrt(2.0 / k) * math.exp(logs)


def root_trace(parts: Numbers, draws: int = 1, scale: float = 1.0) -> Estimate:
    r"""$\operatorname{tr}\operatorname{Diag}(G)^{1/2}$ from draws of $G$'s diagonal.

    $\sum_j\sqrt{\bar h_j}$ of the mean over parts, pooled before the root is taken, and
    corrected by the delete-one-part jackknife, which removes the bias of few examples
    too. A root of each part before the mean is too small, and stays so. The
    correction by [`root_factor`][penchant.measures.root_factor] is exact for Gaussian
    gradients; the distance between the two counts as an error besides.

    >>> import numpy as np, penchant as pn
    >>> pn.measures.root_trace(np.ones((4, 3))).value
    3.0

    Args:
        parts: `(k, p)`, unbiased draws of the diagonal, $k\ge2$ independent parts.
        draws: How many draws are behind a part.
        scale: What the sum is multiplied by, where coordinates are a sample.

    Raises:
        ValueError: If there are fewer than two parts.
    """
    h = np.asarray(parts, float)
    total = h.sum(axis=0)
    k = len(h)
    whole = scale * float(np.sum(np.sqrt(total / k)))
    left_out = [
        # rounding can leave a coordinate that only one part has below 0
        scale * float(np.sum(np.sqrt(np.maximum(total - part, 0.0) / max(k - 1, 1))))
        for part in h
    ]
    how = f"{k} parts of {draws} draws, jackknife"
    found = jackknife(whole, left_out, how)
    # equal parts have no noise to correct for
    gaussian = whole / root_factor(k * draws) if found.error > 0 else found.value
    error = math.hypot(found.error, found.value - gaussian)
    return Estimate(found.value, error, how=how, n=k)
