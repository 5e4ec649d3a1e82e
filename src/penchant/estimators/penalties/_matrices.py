"""Penalties of rows, columns and singular values."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from penchant._checks import check_number
from penchant._leaves import as_leaf
from penchant._types import Parameters, Real, Scalar
from penchant.estimators.penalties._base import (
    AbstractPenalty,
    Kept,
    as_matrix,
    total,
)
from penchant.estimators.penalties._entrywise import (
    ZERO,
    check_power,
    power,
    power_slope,
)
from penchant.problems import AbstractProblem


class Group(AbstractPenalty):
    r"""$\sum_g\|w_g\|_2$ over the slices along `axis` of every leaf: group lasso.

    `axis=1` of a matrix makes its rows the groups (lengths are taken along axis 1),
    `axis=0` its columns. Groups that are 0 are conditions on the coefficient,
    $\|g_g\|_2\le\lambda$, and no equations. A leaf without that axis is one group.

    >>> import jax.numpy as jnp
    >>> import penchant as pn
    >>> float(pn.penalties.Group(1)(jnp.array([[3.0, 4.0], [0.0, 1.0]])))
    6.0

    Args:
        axis: The axis along which lengths are taken.
        zero: Part of the longest group below which one counts as 0.
    """

    axis: int = eqx.field(default=1, static=True)
    zero: float = eqx.field(default=ZERO, static=True)

    formula = "Σ‖w_g‖₂"

    def __check_init__(self):
        check_number("zero", self.zero, least=0.0, below=1.0)

    @property
    def label(self) -> str:
        return f"Group(axis={self.axis})"

    def __call__(self, w: Parameters) -> Scalar:
        # the derivative of a length at 0 is taken to be 0
        def lengths(x: Array) -> Scalar:
            square = jnp.sum(x**2, axis=self._axis(x))
            some = square > 0
            return jnp.sum(jnp.where(some, jnp.sqrt(jnp.where(some, square, 1.0)), 0.0))

        return total(jax.tree.map(lengths, w))

    def gradient(self, w: Parameters, problem: AbstractProblem | None) -> Parameters:
        least = self._least(w)

        def unit(x: Array) -> Array:
            length = self._lengths(x)
            on = length > least
            return jnp.where(on, x / jnp.where(on, length, 1.0), 0.0)

        return jax.tree.map(unit, w)

    def tangent(self, w: Parameters) -> Kept | None:
        least = self._least(w)
        keep = lambda v, x: jnp.where(self._lengths(x) > least, v, 0.0)
        return lambda v: jax.tree.map(keep, v, w)

    def needed(self, w: Parameters, force: Parameters) -> Scalar:
        least = self._least(w)
        off = lambda f, x: jnp.where(self._lengths(x) > least, 0.0, f)
        forces = jax.tree.map(off, force, w)
        longest = [jnp.max(self._lengths(f)) for f in jax.tree.leaves(forces)]
        return jnp.max(jnp.stack(longest))

    def _axis(self, x: Array) -> int | None:
        return self.axis if -x.ndim <= self.axis < x.ndim else None

    def _lengths(self, x: Array) -> Array:
        """The length of each group, of a shape that goes with `x`."""
        square = jnp.sum(x**2, axis=self._axis(x), keepdims=True)
        return jnp.sqrt(jnp.broadcast_to(square, x.shape))

    def _least(self, w: Parameters) -> Scalar:
        longest = [jnp.max(self._lengths(x)) for x in jax.tree.leaves(w)]
        return self.zero * jnp.max(jnp.stack(longest))


class Nuclear(AbstractPenalty):
    r"""$\sum_l\|W_l\|_*$, the sum of the singular values of every leaf.

    Its gradient $UV^\top$ exists on the tangent space of matrices of the same rank;
    across it the coefficient has to be at least the largest singular value of what is
    to be balanced. Leaves of one axis count as one row, of more as matrices with the
    last axis as columns.

    >>> import jax.numpy as jnp
    >>> import penchant as pn
    >>> round(float(pn.penalties.Nuclear()(jnp.array([[3.0, 0.0], [0.0, -4.0]]))), 12)
    7.0

    Args:
        zero: Part of a leaf's largest singular value below which one counts as 0.
    """

    zero: float = eqx.field(default=ZERO, static=True)

    formula = "Σσ"

    def __check_init__(self):
        check_number("zero", self.zero, least=0.0, below=1.0)

    def __call__(self, w: Parameters) -> Scalar:
        values = lambda x: jnp.sum(jnp.linalg.svd(as_matrix(x), compute_uv=False))
        return total(jax.tree.map(values, w))

    def gradient(self, w: Parameters, problem: AbstractProblem | None) -> Parameters:
        def factor(x: Array) -> Array:
            U, V = self._frames(x)
            return jnp.reshape(U @ V, x.shape)

        return jax.tree.map(factor, w)

    def tangent(self, w: Parameters) -> Kept | None:
        across = self._across(w)
        return lambda v: jax.tree.map(lambda x, y: x - y, v, across(v))

    def needed(self, w: Parameters, force: Parameters) -> Scalar:
        largest = [
            jnp.linalg.svd(as_matrix(f), compute_uv=False)[0]
            for f in jax.tree.leaves(self._across(w)(force))
        ]
        return jnp.max(jnp.stack(largest))

    def _across(self, w: Parameters) -> Kept:
        """The projection off the tangent space: (I - UU')X(I - VV')."""

        def project(v: Array, x: Array) -> Array:
            U, V = self._frames(x)
            X = as_matrix(v)
            X = X - U @ (U.T @ X)
            return jnp.reshape(X - (X @ V.T) @ V, v.shape)

        return lambda v: jax.tree.map(project, v, w)

    def _frames(self, x: Array) -> tuple[Array, Array]:
        """Singular vectors of values that are not 0; the others are replaced by 0."""
        U, s, V = jnp.linalg.svd(as_matrix(x), full_matrices=False)
        on = s > self.zero * s[0]
        return jnp.where(on[None, :], U, 0.0), jnp.where(on[:, None], V, 0.0)


class SchattenPower(AbstractPenalty):
    r"""$\sum(\sigma^2+\varepsilon)^{p/2}$ over the singular values of every leaf.

    Leaves are read as by [`Nuclear`][penchant.estimators.penalties.Nuclear].

    Args:
        p: The exponent, $>0$.
        eps: $\varepsilon\ge0$; 0 is for $p>1$.

    Raises:
        ValueError: As for [`Power`][penchant.estimators.penalties.Power].
    """

    p: Real = eqx.field(converter=as_leaf)
    eps: Real = eqx.field(default=0.0, converter=as_leaf)

    formula = "Σ(σ²+ε)^(p/2)"

    def __check_init__(self):
        check_power(self.p, self.eps)

    @property
    def label(self) -> str:
        return repr(self)

    def __call__(self, w: Parameters) -> Scalar:
        def part(x: Array) -> Scalar:
            s = jnp.linalg.svd(as_matrix(x), compute_uv=False)
            return jnp.sum(power(s, self.p, self.eps))

        return total(jax.tree.map(part, w))

    def gradient(self, w: Parameters, problem: AbstractProblem | None) -> Parameters:
        # U ψ(s) V, which is smooth where singular values meet and svd's derivative not
        def part(x: Array) -> Array:
            U, s, V = jnp.linalg.svd(as_matrix(x), full_matrices=False)
            slopes = power_slope(s, self.p, self.eps)
            return jnp.reshape((U * slopes[None, :]) @ V, x.shape)

        return jax.tree.map(part, w)
