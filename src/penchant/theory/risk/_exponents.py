"""Exponents of the papers' bounds, whose constants are unknown, beside what is so."""

import math

import equinox as eqx
import numpy as np

from penchant._checks import check_count, check_instance
from penchant.datasets import Mixture
from penchant.theory.risk._mixture_risk import mixture_risk


class Exponent(eqx.Module):
    r"""A bound $R\le\exp(-C\cdot\text{value})$ as far as it is known: without its C.

    `implied` is $\rho^2/2$ over `value`: the constant with which the bound would meet
    the predicted $\log R\simeq-\rho^2/2$. It is of order one where the expression is
    the right one, and large where the expression is loose by that factor.
    """

    name: str = eqx.field(static=True)
    expression: str = eqx.field(static=True)
    value: float = eqx.field(static=True)
    implied: float = eqx.field(static=True)

    def __repr__(self) -> str:
        return (
            f"Exponent({self.name}: {self.expression} = {self.value:.4g}, times an "
            f"unknown constant; it would have to be {self.implied:.3g})"
        )


class Condition(eqx.Module):
    r"""A sufficient condition $\text{tr}\,\Sigma\ge C\cdot\text{term}$ without its C.

    `ratio` is $\text{tr}\,\Sigma$ over the term: it holds for every C below that.
    """

    term: str = eqx.field(static=True)
    ratio: float = eqx.field(static=True)

    def __repr__(self) -> str:
        return f"Condition(tr Σ / {self.term} = {self.ratio:.4g})"


def exponents(mixture: Mixture, n: int) -> tuple[Exponent, ...]:
    r"""The bounds' exponents, and how loose they are here.

    The upper bound of `cao2021mixtures` has
    $n\|\mu\|^4/(n\|\mu\|_\Sigma^2+\|\Sigma\|_F^2+n\|\Sigma\|_2^2)$; its lower one lacks
    the last term, which is also the leading order of the deterministic equivalent with
    constant ½. Where Σ has a few large eigenvalues and μ avoids them that term is
    loose: interpolation projects their noise out. For $\Sigma=I$ `chatterji2021finite`
    has $\|\mu\|^4/d$.

    The expressions are recalled, not checked against the papers, and are written
    without constants, which are unknown: no number of this function is a bound.

    >>> import penchant as pn
    >>> mixture = pn.datasets.Mixture.rare_weak(2000, 1, 4.0)
    >>> [round(e.implied, 2) for e in pn.theory.risk.exponents(mixture, 40)]
    [0.5, 0.49, 14.85]

    Args:
        mixture: Without flips, as the bounds are.
        n: How many rows to train on.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If the mixture has flips, or `n` is below 2.
    """
    told, n = _asked(mixture, n)
    lam, mu = mixture.variances, mixture.mean
    signal, aligned = float(mu @ mu), float((mu**2) @ lam)
    square, top = float(lam @ lam), float(lam.max())
    half = 0.5 * told**2
    rows = [
        (
            "upper bound",
            "n‖μ‖⁴ / (n‖μ‖_Σ² + ‖Σ‖_F² + n‖Σ‖₂²)",
            n * signal**2 / (n * aligned + square + n * top**2),
        ),
        (
            "lower bound",
            "n‖μ‖⁴ / (n‖μ‖_Σ² + ‖Σ‖_F²)",
            n * signal**2 / (n * aligned + square),
        ),
    ]
    if np.ptp(lam) == 0:
        rows.append((
            "earlier upper bound, isotropic",
            "‖μ‖⁴ / d",
            (signal / top) ** 2 / len(lam),
        ))
    return tuple(
        Exponent(name, text, value, half / value if value > 0 else math.nan)
        for name, text, value in rows
    )


def conditions(mixture: Mixture, n: int) -> tuple[Condition, ...]:
    r"""What `cao2021mixtures` asks for every row to be a support vector.

    $\text{tr}\,\Sigma\ge C\max\{n^{3/2}\|\Sigma\|_2,\ n\|\Sigma\|_F,
    \ n\sqrt{\log n}\,\|\mu\|_\Sigma\}$, recalled, and C unknown. It is sufficient; that
    all rows are supports sets in far earlier, which
    [`mixture_risk`][penchant.theory.mixture_risk] says with a probability.

    >>> import penchant as pn
    >>> mixture = pn.datasets.Mixture.rare_weak(2500, 1, 1.0)
    >>> pn.theory.risk.conditions(mixture, 25)[0]
    Condition(tr Σ / n^(3/2) ‖Σ‖₂ = 20)

    Args:
        mixture: Without flips.
        n: How many rows to train on.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If the mixture has flips, or `n` is below 2.
    """
    _, n = _asked(mixture, n)
    lam, mu = mixture.variances, mixture.mean
    trace = float(lam.sum())
    aligned = float(np.sqrt((mu**2) @ lam))
    third = n * math.sqrt(math.log(n)) * aligned
    return (
        Condition("n^(3/2) ‖Σ‖₂", trace / (n**1.5 * float(lam.max()))),
        Condition("n ‖Σ‖_F", trace / (n * float(np.sqrt(lam @ lam)))),
        Condition("n √(log n) ‖μ‖_Σ", trace / third if third > 0 else math.inf),
    )


def _asked(mixture: Mixture, n: int) -> tuple[float, int]:
    check_instance("mixture", mixture, Mixture, "a datasets.Mixture")
    n = check_count("n", n, least=2)
    if mixture.flip > 0:
        raise ValueError(
            "mixture must have no flips, as the bounds have none; got "
            f"{mixture.flip:g}."
        )
    return mixture_risk(mixture, n).rho, n
