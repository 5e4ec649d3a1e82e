import math

import equinox as eqx

from penchant._checks import check_number
from penchant._types import Real, Scalar, Weights
from penchant.norms._base import AbstractNorm
from penchant.norms._entrywise import (
    conjugate_exponent,
    p_norm,
    p_project,
    p_steepest,
)


class AbstractLp(AbstractNorm):
    """The entry-wise norms; a member says its exponent `p`, the rest is shared."""

    p: eqx.AbstractVar[float]

    def __call__(self, w: Weights) -> Scalar:
        return p_norm(w, self.p)

    @property
    def conjugate(self) -> "AbstractLp":
        return lp(conjugate_exponent(self.p))

    @property
    def label(self) -> str:
        return "ℓ∞" if math.isinf(self.p) else f"ℓ{self.p:g}"

    def steepest(self, g: Weights) -> Weights:
        return p_steepest(g, self.p)

    def project(self, w: Weights, radius: Real = 1.0) -> Weights:
        return p_project(w, self.p, radius)


class Lp(AbstractLp):
    r"""Entry-wise $\ell_p$ norm $\|w\|_p = (\sum_i |w_i|^p)^{1/p}$, $1\le p\le\infty$.

    Dual to `Lp(q)`, $1/p+1/q=1$. The steepest direction is
    $\mathrm{sign}(g)\,|g|^{q-1}$ scaled to unit length, for $p=1$ the first of the
    largest coordinates, for $p=\infty$ the signs with $\mathrm{sign}(0)=0$.

    >>> import jax.numpy as jnp
    >>> Lp(3)(jnp.array([1.0, -2.0])).item()  # 9 ** (1 / 3)
    2.080083823051904

    Args:
        p: The exponent. It is part of the compiled code, so it can't be swept by vmap.

    Raises:
        ValueError: If `p` is below 1.
    """

    p: float = eqx.field(static=True, converter=float)

    def __check_init__(self):
        check_number("p", self.p, least=1.0)


class L1(AbstractLp):
    r"""Sum norm $\|w\|_1 = \sum_i |w_i|$; dual to [`Linf`][penchant.norms.Linf].

    Its steepest direction is one coordinate, the first of the largest: greedy
    coordinate descent.
    """

    p: float = eqx.field(static=True, repr=False)

    def __init__(self):
        self.p = 1.0


class L2(AbstractLp):
    r"""Euclidean norm $\|w\|_2 = \sqrt{\sum_i w_i^2}$; dual to itself."""

    p: float = eqx.field(static=True, repr=False)

    def __init__(self):
        self.p = 2.0


class Linf(AbstractLp):
    r"""Max norm $\|w\|_\infty = \max_i |w_i|$; dual to [`L1`][penchant.norms.L1].

    >>> import jax.numpy as jnp
    >>> Linf()(jnp.array([3.0, -4.0])).item()
    4.0
    """

    p: float = eqx.field(static=True, repr=False)

    def __init__(self):
        self.p = math.inf


def lp(p: float) -> AbstractLp:
    """The entry-wise norm of exponent `p`, under its own name where it has one."""
    named = {1.0: L1, 2.0: L2, math.inf: Linf}
    return named[p]() if p in named else Lp(p)
