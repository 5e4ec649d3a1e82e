"""What a penalty is, and how one is made of a function."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from penchant._pretty import pretty
from penchant._types import Parameters, Scalar, Tree
from penchant.problems import AbstractProblem

Kept = Callable[[Parameters], Parameters]
"""A projection on the directions in which a penalty has a derivative."""


class AbstractPenalty(eqx.Module):
    r"""A function $P(w)$ of parameters, any pytree, that may act as $\lambda P(w)$.

    A penalty of one's own needs its value, `__call__`. Its gradient follows by
    automatic differentiation; one that has kinks says besides which directions are
    smooth (`tangent`) and how large a coefficient has to be for the others to be
    balanced (`needed`).

    `formula` is what is printed with every estimate, since a coefficient means nothing
    without it: half a square has twice the coefficient of a square.
    """

    formula: ClassVar[str] = ""

    @abc.abstractmethod
    def __call__(self, w: Parameters) -> Scalar:
        r"""$P(w)$."""

    @property
    def label(self) -> str:
        """How tables and sentences name the penalty."""
        return type(self).__name__

    @property
    def convention(self) -> str:
        """The label with the formula, as far as there is one."""
        return f"{self.label} {self.formula}".strip()

    def value(self, w: Parameters, problem: AbstractProblem | None) -> Scalar:
        r"""$P(w)$ for the few penalties that need the loss; else the same as a call."""
        return self(w)

    def gradient(self, w: Parameters, problem: AbstractProblem | None) -> Parameters:
        r"""$\nabla P(w)$; on the directions of `tangent` where there are kinks.

        Args:
            w: The parameters.
            problem: The training loss, which only few penalties ask for; None if
                there is none to give.
        """
        return jax.grad(lambda w: self.value(w, problem))(w)

    def tangent(self, w: Parameters) -> Kept | None:
        """The projection on the directions in which $P$ is smooth at `w`.

        None where all are.
        """
        return None

    def needed(self, w: Parameters, force: Parameters) -> Scalar:
        r"""The least $\lambda\ge0$ at which kinks of $\lambda P$ hold a `force`.

        A minimiser needs $-(\nabla\mathcal L+\dots)\in\lambda\,\partial P(w)$ off the
        smooth directions as well: there any coefficient of at least this will do.
        """
        return jnp.zeros(())

    def __repr__(self) -> str:
        return pretty(self)


class Custom(AbstractPenalty):
    """Any function of the parameters that returns one number, as a penalty.

    Args:
        function: A pure JAX function.
        name: How it is called in tables; None for the function's own name.

    Raises:
        TypeError: If it is no function.
    """

    function: Callable[[Parameters], Any] = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def __init__(self, function: Callable[[Parameters], Any], name: str | None = None):
        if not callable(function):
            raise TypeError(
                "a penalty must be one of penchant.penalties or a function of the "
                f"weights; got {function!r} of type {type(function).__name__}."
            )
        self.function = function
        self.name = name or getattr(function, "__name__", type(function).__name__)

    def __call__(self, w: Parameters) -> Scalar:
        return jnp.asarray(self.function(w), dtype=float)

    @property
    def label(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Custom({self.name})"


def as_matrix(x: jax.Array) -> jax.Array:
    """A leaf as a matrix, last axis as columns; one of a single axis is one row."""
    return x if x.ndim == 2 else jnp.reshape(x, (-1, x.shape[-1] if x.ndim else 1))


def leaves_of(w: Tree) -> list[jax.Array]:
    """The leaves of a pytree."""
    return jax.tree.leaves(w)


def total(parts: Tree) -> Scalar:
    """The sum of the numbers at the leaves."""
    return jnp.sum(jnp.stack([jnp.asarray(x, dtype=float) for x in leaves_of(parts)]))


def largest_entry(w: Parameters) -> Scalar:
    """The largest entry by size."""
    return jnp.max(jnp.stack([jnp.max(jnp.abs(x), initial=0.0) for x in leaves_of(w)]))
