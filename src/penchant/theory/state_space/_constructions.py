"""What can be said in closed form of state space models and their poles."""

import numpy as np

from penchant._arrays import numbers
from penchant._checks import check_count, check_instance, check_number
from penchant._types import Numbers, Real
from penchant.problems.models.ssm import AbstractStateSpace, StateSpace


def fits_without_generalising(
    teacher: AbstractStateSpace, length: int, states: int, error: Real = 1.0
) -> StateSpace:
    r"""A model that fits every sequence of a length, and errs by any amount beyond.

    With more states than lags, $d\ge\kappa+1$, gains solve
    $\sum_jg_ja_j^l=h_l^*$ for $l<\kappa$ and $=h_\kappa^*+\epsilon$ at $l=\kappa$, for
    any distinct poles: fitting does not imply generalising (`slutzky2025poisoned`,
    Proposition 2; the construction is ours). Poles are Chebyshev's nodes, the gains of
    least norm.

    >>> import penchant as pn
    >>> teacher = pn.ssm.StateSpace([1.0], [1.0], [1.0])
    >>> bad = pn.theory.state_space.fits_without_generalising(teacher, 6, 10, 5.0)
    >>> bad.lag_errors(teacher, 7).round(9).tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0]

    Args:
        teacher: The model to be matched up to lag κ−1.
        length: κ.
        states: $d$, the number of poles.
        error: $\epsilon$, the error at lag κ.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If there are fewer than κ + 1 states.
    """
    check_instance("teacher", teacher, AbstractStateSpace, "a linear model")
    length = check_count("length", length)
    d = check_count("states", states)
    check_number("error", error, finite=True)
    if d < length + 1:
        raise ValueError(
            f"states must be at least length + 1 = {length + 1}, one a lag to be set; "
            f"got {d}."
        )
    a = np.cos(np.pi * (np.arange(d) + 0.5) / d)
    V = a[None, :] ** np.arange(length + 1)[:, None]
    h = np.array(teacher.impulse(length + 1))
    h[length] += float(np.asarray(error))
    g = np.linalg.lstsq(V, h, rcond=None)[0]
    g += np.linalg.lstsq(V, h - V @ g, rcond=None)[0]  # once more, against rounding
    return StateSpace(a, g, np.ones(d))


def second_pole(a0: Numbers, length: int) -> float:
    r"""How large the second pole ends, to leading order, on baseline sequences.

    $a_2(\infty)\approx\bigl(a_1(0)^{\kappa-2}/(p\Delta)\bigr)^{1/p}$ with $p=\kappa-3$
    and the gap $\Delta=a_1(0)-a_2(0)$, small against $a_1$: the smaller the gap, the
    worse the solution that clean data lead to. The error over all lags is about the sum
    of such terms.
    [`baseline_limit`][penchant.ssm.baseline_limit] is exact; this is its leading order,
    good to some per cent where the result is below .1.

    >>> import penchant as pn
    >>> approx = pn.theory.state_space.second_pole([1e-3, 1e-3 - 1e-8], 7)
    >>> exact = pn.ssm.baseline_limit([1e-3, 1e-3 - 1e-8], 7)[1]
    >>> bool(abs(approx / exact - 1) < 1e-3)
    True

    Args:
        a0: `(d,)` poles at the start, above 0.
        length: κ, at least 4.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If there are fewer than two poles, one is not above 0, or the two
            largest are equal.
    """
    a = np.sort(numbers("a0", a0, "(d,)").ravel())[::-1]
    if a.size < 2 or not (np.isfinite(a) & (a > 0)).all() or a[0] == a[1]:
        raise ValueError(
            "a0 must have two poles or more, above 0, the largest two apart; got "
            f"{a[:3].tolist()}."
        )
    p = check_count("length", length, least=4) - 3
    logs = (p + 1) * np.log(a[0]) - np.log(p * (a[0] - a[1]))
    return float(np.exp(logs / p))


def pole_invariants(a: Numbers, length: int) -> np.ndarray:
    r"""$a_j^{-p}-a_1^{-p}$, $p=\kappa-3$: what flow on baseline sequences conserves.

    `(d,)`, against the largest pole; ratios $\ln a_j-\ln a_1$ for $\kappa=3$. Of poles
    above 0, with $b_jc_j=1$ and one lag in the data.

    >>> import penchant as pn
    >>> before = pn.theory.state_space.pole_invariants([0.1, 0.09], 7)
    >>> end = pn.ssm.baseline_limit([0.1, 0.09], 7)
    >>> after = pn.theory.state_space.pole_invariants(end, 7)
    >>> bool(abs(after[1] / before[1] - 1) < 1e-12)
    True

    Args:
        a: `(d,)` poles, above 0.
        length: κ, at least 2.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a pole is not above 0.
    """
    poles = numbers("a", a, "(d,)").ravel()
    if poles.size == 0 or not (np.isfinite(poles) & (poles > 0)).all():
        raise ValueError(f"a must be above 0 and finite; got {poles[:3].tolist()}.")
    p = check_count("length", length, least=2) - 3
    top = poles.max()
    logs = np.log1p((poles - top) / top)
    if p == 0:
        return logs
    return top ** (-float(p)) * np.expm1(-p * logs)


def sign_descent_error(a0: Numbers, length: int, lags: int = 20) -> float:
    r"""Where sign descent ends on baseline sequences: all poles rise together.

    With one lag in the data every pole has the same sign of gradient, so that
    $a_j=a_j(0)+s$ with $\sum_j(a_j(0)+s)^{\kappa-1}=1$, up to the step size: the greedy
    bias is gone at once. Returns $\max_{1\le l<\text{lags}}|\sum_ja_j^l-1|$. Adam with
    ε well below the gradients ends nearby.

    >>> import penchant as pn
    >>> error = pn.theory.state_space.sign_descent_error([1e-3] * 10, 7)
    >>> round(error, 6)
    5.812921

    Args:
        a0: `(d,)` poles at the start, above 0.
        length: κ, at least 2.
        lags: How many lags to look at.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a pole is not above 0.
    """
    from scipy.optimize import brentq

    a = numbers("a0", a0, "(d,)").ravel()
    if a.size == 0 or not (np.isfinite(a) & (a > 0)).all():
        raise ValueError(f"a0 must be above 0 and finite; got {a[:3].tolist()}.")
    power = check_count("length", length, least=2) - 1
    lags = check_count("lags", lags, least=2)
    excess = lambda s: np.sum((a + s) ** power) - 1.0
    s = brentq(excess, -a.min(), 2.0, xtol=1e-15)
    errors = np.abs(np.sum((a + s)[None] ** np.arange(1, lags)[:, None], axis=1) - 1.0)
    return float(errors.max())
