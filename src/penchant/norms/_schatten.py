import math

import equinox as eqx
import jax.numpy as jnp

from penchant._checks import check_number
from penchant._types import Real, Scalar, Weights
from penchant.norms._base import AbstractNorm
from penchant.norms._entrywise import (
    conjugate_exponent,
    p_norm,
    p_project,
    p_steepest,
)
from penchant.norms._spectral_map import singular_values, spectral_map

RANK_TOLERANCE = 1e-12
"""Singular values below this share of the largest count as zero in a direction."""


def _significant(s: Weights) -> Weights:
    return jnp.where(s > RANK_TOLERANCE * jnp.max(s, initial=0.0), s, 0.0)


class AbstractSchatten(AbstractNorm):
    """Norms of the singular values; a member says its exponent `p`.

    A weight array of shape `(d,)` is a matrix of one column: it has one singular
    value, and every Schatten norm of it is its Euclidean length.
    """

    p: eqx.AbstractVar[float]

    def __call__(self, w: Weights) -> Scalar:
        if _is_vector(w):
            return p_norm(w, 2.0)
        return _schatten_norm(w, self.p)

    @property
    def conjugate(self) -> "AbstractSchatten":
        return schatten(conjugate_exponent(self.p))

    @property
    def label(self) -> str:
        return {1.0: "nuclear", 2.0: "Frobenius", math.inf: "spectral"}.get(
            self.p, f"Schatten-{self.p:g}"
        )

    def steepest(self, g: Weights) -> Weights:
        if _is_vector(g):
            return p_steepest(g, 2.0)
        if self.p == 2.0:
            return p_steepest(g, 2.0)
        p = self.p
        return spectral_map(g, lambda s: p_steepest(_significant(s), p))

    def project(self, w: Weights, radius: Real = 1.0) -> Weights:
        if _is_vector(w) or self.p == 2.0:
            return p_project(w, 2.0, radius)
        p = self.p
        r = jnp.asarray(radius, w.dtype)
        safe = jnp.where(r > 0, r, 1.0)
        unit = spectral_map(w / safe, lambda s: p_project(s, p, 1.0))
        return jnp.where(r > 0, r * unit, 0.0)


def _is_vector(w: Weights) -> bool:
    if w.ndim > 2 or w.ndim == 0:
        raise ValueError(
            "Schatten norms are of matrices (k, d), or vectors (d,) as one column; "
            f"got an array of shape {w.shape}."
        )
    return w.ndim == 1


def _schatten_norm(W: Weights, p: float) -> Scalar:
    return p_norm(W, 2.0) if p == 2.0 else p_norm(singular_values(W), p)


class Schatten(AbstractSchatten):
    r"""Schatten norm $(\sum_i \sigma_i(W)^p)^{1/p}$ of the singular values.

    Dual to `Schatten(q)`, $1/p+1/q=1$. With $G=U\Sigma V^\top$ the steepest direction
    is $U f(\Sigma) V^\top$, $f$ being that of the entry-wise $\ell_p$ norm; singular
    values below $10^{-12}$ of the largest count as zero, so for $p=\infty$ it is the
    *truncated* polar factor. At $p=1$ it is $u_1v_1^\top$ of the first singular pair
    that the decomposition returns, which at exact ties may differ between platforms.

    >>> import jax.numpy as jnp
    >>> Schatten(3)(jnp.diag(jnp.array([1.0, -2.0]))).item()
    2.080083823051904

    Args:
        p: The exponent, $1\le p\le\infty$.

    Raises:
        ValueError: If `p` is below 1.
    """

    p: float = eqx.field(static=True, converter=float)

    def __check_init__(self):
        check_number("p", self.p, least=1.0)


class Nuclear(AbstractSchatten):
    r"""Nuclear norm $\sum_i\sigma_i(W)$; dual to [`Spectral`][penchant.norms.Spectral].

    Its steepest direction has rank one: $u_1 v_1^\top$.
    """

    p: float = eqx.field(static=True, repr=False)

    def __init__(self):
        self.p = 1.0


class Frobenius(AbstractSchatten):
    r"""Frobenius norm $\sqrt{\sum_{ij}W_{ij}^2}$, Schatten and entry-wise at once."""

    p: float = eqx.field(static=True, repr=False)

    def __init__(self):
        self.p = 2.0


class Spectral(AbstractSchatten):
    r"""Spectral norm $\sigma_1(W)$; dual to [`Nuclear`][penchant.norms.Nuclear].

    Its steepest direction is the truncated polar factor $U_rV_r^\top$: the step that
    Spectral descent and Muon take.
    """

    p: float = eqx.field(static=True, repr=False)

    def __init__(self):
        self.p = math.inf


def schatten(p: float) -> AbstractSchatten:
    """The Schatten norm of exponent `p`, under its own name where it has one."""
    named = {1.0: Nuclear, 2.0: Frobenius, math.inf: Spectral}
    return named[p]() if p in named else Schatten(p)
