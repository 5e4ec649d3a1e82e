import abc
from collections.abc import Hashable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from penchant._pretty import pretty
from penchant._types import Real, Scalar, Weights


class AbstractNorm(eqx.Module):
    r"""A norm $\|\cdot\|$ on weight arrays, with the maps that optimizers need of it.

    A norm of one's own needs its value, `__call__`, and `steepest`; its dual norm
    follows, and a `project` lets the first-order method of `max_margin` get close where
    steepest steps alone leave gaps of some thousandths.

    A norm is called to get its value. All maps can be jitted, vmapped and
    differentiated. Where a derivative is not unique one is chosen; at zero that of the
    value, of the dual and of the steepest direction is zero, never NaN.

    Arrays of shape `(d,)` and `(k, d)` are weights of a classifier
    with two and with `k` classes; entry-wise norms take any shape.
    """

    @abc.abstractmethod
    def __call__(self, w: Weights) -> Scalar:
        r"""$\|w\|$."""

    @property
    def conjugate(self) -> "AbstractNorm":
        r"""The norm whose value is the dual $\|g\|_*$ of this one."""
        return Conjugate(self)

    @property
    def label(self) -> str:
        """How tables and figures name the norm."""
        return type(self).__name__

    @abc.abstractmethod
    def steepest(self, g: Weights) -> Weights:
        r"""A $d$ with $\|d\|\le1$ that attains $\langle g, d\rangle = \|g\|_*$.

        Where several attain it, which one is stated by each norm. $d=0$ at $g=0$.
        """

    projects: ClassVar[bool] = True
    """Whether `project` is there; a class that lacks one says False."""

    def project(self, w: Weights, radius: Real = 1.0) -> Weights:
        r"""The nearest point of the ball, $\arg\min_{\|x\|\le r}\|x-w\|_2$.

        Raises:
            TypeError: If the norm has no projection.
        """
        raise TypeError(f"{self!r} has no projection on its ball.")

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        cls.projects = cls.project is not AbstractNorm.project

    def dual(self, g: Weights) -> Scalar:
        r"""$\|g\|_* = \max_{\|d\|\le 1} \langle g, d\rangle$."""
        return self.conjugate(g)

    def same(self, other: "AbstractNorm") -> bool:
        """Whether two norms are equal in kind and in every number they hold."""
        return self.fingerprint == other.fingerprint

    @property
    def fingerprint(self) -> Hashable:
        """What a norm is, by value: equal for equal norms, and the key to remember by.

        A name won't do: two Mahalanobis norms of one shape print alike.
        """
        leaves, structure = jax.tree.flatten(self)
        arrays = [np.asarray(leaf) for leaf in leaves]
        return (
            type(self),
            structure,
            tuple((a.shape, a.dtype.str, a.tobytes()) for a in arrays),
        )

    def __repr__(self) -> str:
        return pretty(self)


class Conjugate(AbstractNorm):
    r"""The dual of a norm as a norm of its own.

    Its steepest direction is the gradient of the norm it is dual to, one of them at
    kinks, and 0 at 0.
    """

    norm: AbstractNorm

    def __call__(self, w: Weights) -> Scalar:
        return jnp.sum(w * self.norm.steepest(w))

    @property
    def conjugate(self) -> AbstractNorm:
        return self.norm

    @property
    def label(self) -> str:
        return f"dual of {self.norm.label}"

    def steepest(self, g: Weights) -> Weights:
        some = jnp.any(g != 0)
        safe = jnp.where(some, g, jnp.ones_like(g))
        return jnp.where(some, jax.grad(self.norm)(safe), 0.0)

    def dual(self, g: Weights) -> Scalar:
        return self.norm(g)
