r"""Where baseline sequences take the poles: an exact limit, one root away."""

import warnings

import numpy as np
import scipy

from penchant._arrays import numbers
from penchant._checks import check_count, check_number
from penchant._types import Numbers, Real


class UnresolvedGapWarning(UserWarning):
    """Leading poles are equal, so that no flow can tell them apart."""


def baseline_limit(a0: Numbers, length: int, *, target: Real = 1.0) -> np.ndarray:
    r"""The exact limit of gradient flow on poles alone, with one lag in the data.

    With sequences that are 0 but for their first entry, $b_jc_j=1$ and $p=\kappa-3$,
    all poles obey $\dot a=K(t)a^{\kappa-2}$, so that $a_i^{-p}-a_j^{-p}$ is conserved:
    $$a_j(\infty)=(s+c_j)^{-1/p},\quad c_j=a_j(0)^{-p}-a_1(0)^{-p},\quad
    \sum_ja_j(\infty)^{\kappa-1}=h_{\kappa-1}^*.$$
    For $\kappa=3$ ratios are conserved, for $\kappa=2$ differences. Exact to rounding,
    also of gaps far below it: $c_j$ is formed from $a_j-a_1$, not from two powers.

    It says nothing of data with a second lag, or of trained $B$ and $C$: see
    [`flow`][penchant.ssm.flow].

    >>> from penchant import ssm
    >>> [round(float(a), 6) for a in ssm.baseline_limit([0.1, 0.09], 7)]
    [1.0, 0.117521]

    Args:
        a0: `(d,)` poles at the start, all above 0.
        length: κ, the length of the sequences.
        target: $h_{\kappa-1}^*>0$, the teacher's response at the one lag seen.

    Returns:
        `(d,)` poles, in the order of `a0`.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a pole is not above 0, or `length` is below 2.
    """
    a = np.atleast_1d(numbers("a0", a0, "(d,)"))
    if a.ndim != 1 or a.size == 0:
        raise ValueError(f"a0 must have shape (d,), d >= 1; got {a.shape}.")
    if not (np.isfinite(a) & (a > 0)).all():
        raise ValueError(
            f"a0 must be above 0 and finite; got {a.min():g} as its least entry. With "
            "entries of both signs use penchant.ssm.flow."
        )
    length = check_count("length", length, least=2)
    check_number("target", target, above=0.0, finite=True)
    lead = int(np.sum(a == a.max()))
    if lead > 1:
        warnings.warn(
            f"the {lead} largest entries of a0 are equal in float64: they stay so, and "
            f"the limit has {lead} leading poles. A gap smaller than their spacing, "
            f"{np.spacing(a.max()):.2g}, can't be represented.",
            UnresolvedGapWarning,
            stacklevel=2,
        )
    return baseline_limits(a[None], length, float(np.asarray(target)))[0]


def baseline_limits(a0: np.ndarray, length: int, target: float = 1.0) -> np.ndarray:
    r"""As [`baseline_limit`][penchant.ssm.baseline_limit] for many starts, `(m, d)`.

    No warnings: a start whose leaders are equal keeps them so.

    >>> import numpy as np
    >>> from penchant import ssm
    >>> ssm.baseline_limits(np.array([[0.1, 0.1]]), 7).round(6).tolist()
    [[0.890899, 0.890899]]
    """
    a = np.asarray(a0, dtype=float)
    p = length - 3
    if p == 0:
        return a * np.sqrt(target / np.sum(a**2, axis=1, keepdims=True))
    top = a.max(axis=1, keepdims=True)
    with np.errstate(over="ignore"):
        # a^-p - top^-p as top^-p ((a/top)^-p - 1), the gap taken before any power
        c = top ** (-float(p)) * np.expm1(-p * np.log1p((a - top) / top))
    if p < 0:  # κ = 2: all poles move by the same amount
        return a + (target - a.sum(axis=1, keepdims=True)) / a.shape[1]
    power = -(length - 1) / p

    # Σ (s + c)^power falls in s, and lies between s^power and d s^power
    def excess(log_s: np.ndarray) -> np.ndarray:
        return np.log(np.sum((np.exp(log_s)[:, None] + c) ** power, axis=1) / target)

    low = np.full(len(a), np.log(target) / power)
    high = low - np.log(a.shape[1]) / power
    if len(a) == 1:
        ends = excess(low)[0], excess(high)[0]
        root = (
            low[0]
            if ends[0] <= 0
            else high[0]
            if ends[1] >= 0
            else scipy.optimize.brentq(
                lambda u: excess(np.array([u]))[0],
                low[0],
                high[0],
                xtol=1e-15,
            )
        )
        roots = np.array([root])
    else:
        roots = _bisected(excess, low, high)
    return (np.exp(roots)[:, None] + c) ** (-1.0 / p)


def _bisected(function, low: np.ndarray, high: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Roots of falling functions, all at once."""
    for _ in range(60):
        middle = 0.5 * (low + high)
        above = function(middle) > 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return 0.5 * (low + high)
