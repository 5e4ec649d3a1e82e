"""Penalties that are sums over entries."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from penchant._checks import check_number, is_traced
from penchant._leaves import as_leaf
from penchant._types import Parameters, Real, Scalar, Tree
from penchant.estimators.penalties._base import (
    AbstractPenalty,
    Kept,
    largest_entry,
    total,
)
from penchant.problems import AbstractProblem


def as_optional_leaf(value: Real | None) -> Any:
    """A number as an array leaf, so that another one compiles nothing; None stays."""
    return None if value is None else as_leaf(value)


ZERO = 1e-9
"""Entries below this part of the largest count as 0: where a kink is met."""


class Ridge(AbstractPenalty):
    r"""$\tfrac12\|w\|_2^2$, whose gradient is $w$: weight decay.

    The $\lambda\|w\|^2$ of some papers has half the coefficient.

    >>> import jax.numpy as jnp
    >>> import penchant as pn
    >>> float(pn.penalties.Ridge()(jnp.array([3.0, 4.0])))
    12.5
    """

    formula = "½‖w‖²"

    def __call__(self, w: Parameters) -> Scalar:
        return 0.5 * total(jax.tree.map(lambda x: jnp.sum(x**2), w))

    def gradient(self, w: Parameters, problem: AbstractProblem | None) -> Parameters:
        return w


class ScaledRidge(AbstractPenalty):
    r"""$\tfrac12\sum_js_jw_j^2$ with given scales $s_j\ge0$.

    With $s=\sqrt v+\varepsilon$ of Adam's memory it is the *noise-scaled ridge*: what
    decoupled decay adds to the loss where Adam comes to rest
    ([`noise_scaled`][penchant.estimators.penalties.noise_scaled] has that). With
    $s_j=\frac1n\sum_ix_{ij}^2$ it is dropout's penalty of a linear model.

    Args:
        scale: A pytree like the parameters.
        name: How it is called in tables.
    """

    scale: Parameters = eqx.field(converter=lambda s: jax.tree.map(as_leaf, s))
    name: str = eqx.field(default="ScaledRidge", static=True)

    formula = "½Σ s_j w_j²"

    def __check_init__(self):
        for leaf in jax.tree.leaves(self.scale):
            check_number("scale", leaf, least=0.0, finite=True)

    @property
    def label(self) -> str:
        return self.name

    def __call__(self, w: Parameters) -> Scalar:
        return 0.5 * total(jax.tree.map(lambda s, x: jnp.sum(s * x**2), self.scale, w))

    def gradient(self, w: Parameters, problem: AbstractProblem | None) -> Parameters:
        return jax.tree.map(lambda s, x: s * x, self.scale, w)


class L1(AbstractPenalty):
    r"""$\|w\|_1$, or with `smooth` $\beta$ the sum of Huber's function.

    Without `smooth` the gradient is the sign on the support; entries that are 0 (below
    `zero` of the largest) are no equations for the coefficient but conditions on it:
    $|g_j|\le\lambda$.

    With `smooth`: $w^2/2\beta$ for $|w|\le\beta$, else $|w|-\beta/2$, as torch's
    SmoothL1. Where *all* weights are below $\beta$ that is a ridge of coefficient
    $\lambda/\beta$, and no data tell the two apart.

    >>> import jax.numpy as jnp
    >>> import penchant as pn
    >>> float(pn.penalties.L1()(jnp.array([3.0, -4.0])))
    7.0

    Args:
        smooth: $\beta>0$; None for the norm itself.
        zero: Part of the largest entry below which one counts as 0, without `smooth`.

    Raises:
        ValueError: If `smooth` is not positive, or `zero` is outside [0, 1).
    """

    smooth: Real | None = eqx.field(default=None, converter=as_optional_leaf)
    zero: float = eqx.field(default=ZERO, static=True)

    def __check_init__(self):
        if self.smooth is not None:
            check_number("smooth", self.smooth, above=0.0, finite=True)
        check_number("zero", self.zero, least=0.0, below=1.0)

    @property
    def formula(self) -> str:
        return "‖w‖₁" if self.smooth is None else f"Σ huber(w; {self.smooth:g})"

    def __call__(self, w: Parameters) -> Scalar:
        if self.smooth is None:
            return total(jax.tree.map(lambda x: jnp.sum(jnp.abs(x)), w))
        b = self.smooth

        def huber(x: Array) -> Scalar:
            a = jnp.abs(x)
            return jnp.sum(jnp.where(a <= b, 0.5 * x**2 / b, a - 0.5 * b))

        return total(jax.tree.map(huber, w))

    def gradient(self, w: Parameters, problem: AbstractProblem | None) -> Parameters:
        if self.smooth is not None:
            return jax.tree.map(lambda x: jnp.clip(x / self.smooth, -1.0, 1.0), w)
        return jax.tree.map(
            lambda x, on: jnp.where(on, jnp.sign(x), 0.0), w, self._support(w)
        )

    def tangent(self, w: Parameters) -> Kept | None:
        if self.smooth is not None:
            return None
        support = self._support(w)
        return lambda v: jax.tree.map(lambda x, on: jnp.where(on, x, 0.0), v, support)

    def needed(self, w: Parameters, force: Parameters) -> Scalar:
        if self.smooth is not None:
            return jnp.zeros(())
        off = jax.tree.map(lambda f, on: jnp.where(on, 0.0, f), force, self._support(w))
        return largest_entry(off)

    def _support(self, w: Parameters) -> Tree:
        least = self.zero * largest_entry(w)
        return jax.tree.map(lambda x: jnp.abs(x) > least, w)


class Power(AbstractPenalty):
    r"""$\sum_j(w_j^2+\varepsilon)^{p/2}$, close to $\|w\|_p^p$; $p=2$ is *twice* Ridge.

    Args:
        p: The exponent, $>0$; as a free shape, `Free(lambda p: Power(p, eps), .5, 4)`.
        eps: $\varepsilon\ge0$, which rounds the kink of $p\le1$. 0 is for $p>1$.

    Raises:
        ValueError: If `p` is not positive, `eps` is negative, or `eps` is 0 and
            $p\le1$.
    """

    p: Real = eqx.field(converter=as_leaf)
    eps: Real = eqx.field(default=0.0, converter=as_leaf)

    formula = "Σ(w²+ε)^(p/2)"

    def __check_init__(self):
        check_power(self.p, self.eps)

    @property
    def label(self) -> str:
        return repr(self)

    def __call__(self, w: Parameters) -> Scalar:
        return total(jax.tree.map(lambda x: jnp.sum(power(x, self.p, self.eps)), w))

    def gradient(self, w: Parameters, problem: AbstractProblem | None) -> Parameters:
        return jax.tree.map(lambda x: power_slope(x, self.p, self.eps), w)


class Hypentropy(AbstractPenalty):
    r"""$\sum_jw_j\operatorname{asinh}(w_j/\beta)-\sqrt{w_j^2+\beta^2}$.

    Its gradient is $\operatorname{asinh}(w/\beta)$. The potential of gradient flow on
    $w=u^2-v^2$ started from $u=v=\alpha$ has $\beta=2\alpha^2$, and the coefficient ¼:
    $\ell_1$ for small, $\ell_2$ for large starts. For
    [`match_dual`][penchant.estimators.match_dual].

    Args:
        width: $\beta>0$.

    Raises:
        ValueError: If `width` is not positive.
    """

    width: Real = eqx.field(converter=as_leaf)

    formula = "Σ w·asinh(w/β) − √(w²+β²)"

    def __check_init__(self):
        check_number("width", self.width, above=0.0, finite=True)

    @property
    def label(self) -> str:
        return repr(self)

    def __call__(self, w: Parameters) -> Scalar:
        b = self.width
        part = lambda x: jnp.sum(x * jnp.arcsinh(x / b) - jnp.sqrt(x**2 + b**2))
        return total(jax.tree.map(part, w))

    def gradient(self, w: Parameters, problem: AbstractProblem | None) -> Parameters:
        return jax.tree.map(lambda x: jnp.arcsinh(x / self.width), w)


def check_power(p: Real, eps: Real) -> None:
    """Refuse exponents and roundings at which a gradient is infinite at 0.

    Raises:
        ValueError: If `p` or `eps` is out of range.
    """
    check_number("p", p, above=0.0, finite=True)
    check_number("eps", eps, least=0.0, finite=True)
    if is_traced(p) or is_traced(eps):
        return
    if float(eps) == 0.0 and float(p) <= 1.0:
        raise ValueError(
            f"eps must be > 0 for p <= 1, whose gradient is infinite or undefined at "
            f"0; got eps=0 with p={float(p):g}. L1() is the norm itself."
        )


def power(x: Array, p: Real, eps: Real) -> Array:
    r"""$(x^2+\varepsilon)^{p/2}$, entry by entry."""
    square = x**2 + eps
    some = square > 0
    return jnp.where(some, jnp.where(some, square, 1.0) ** (0.5 * p), 0.0)


def power_slope(x: Array, p: Real, eps: Real) -> Array:
    r"""$p\,x\,(x^2+\varepsilon)^{p/2-1}$; 0 at 0."""
    square = x**2 + eps
    some = square > 0
    return p * x * jnp.where(some, square, 1.0) ** (0.5 * p - 1.0)
