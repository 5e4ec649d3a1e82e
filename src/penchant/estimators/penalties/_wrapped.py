"""Penalties made of others: anchored, of one layer, with a free shape."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from penchant._checks import check_instance, check_number
from penchant._leaves import as_leaf
from penchant._trees import leaf_names
from penchant._types import Parameters, Real, Scalar
from penchant.estimators.penalties._base import AbstractPenalty, Kept
from penchant.estimators.penalties._entrywise import Ridge
from penchant.estimators.penalties._read import read
from penchant.problems import AbstractProblem


class Anchored(AbstractPenalty):
    r"""$P(w-w_0)$: a penalty centred at a start, or at an average of weights.

    Early stopping from $w_0$, averaging of weights and distillation pull towards a
    point that is not 0; a ridge about 0 then fits badly and its coefficient may have
    either sign.

    Args:
        w0: The centre, a pytree like the parameters.
        penalty: What is centred there.
    """

    w0: Parameters = eqx.field(converter=lambda w: jax.tree.map(as_leaf, w))
    penalty: AbstractPenalty = eqx.field(default=Ridge(), converter=read)

    @property
    def formula(self) -> str:
        return f"{self.penalty.formula} of w − w₀"

    @property
    def label(self) -> str:
        return f"anchored {self.penalty.label}"

    def __call__(self, w: Parameters) -> Scalar:
        return self.penalty(self._moved(w))

    def value(self, w: Parameters, problem: AbstractProblem | None) -> Scalar:
        return self.penalty.value(self._moved(w), problem)

    def gradient(self, w: Parameters, problem: AbstractProblem | None) -> Parameters:
        return self.penalty.gradient(self._moved(w), problem)

    def tangent(self, w: Parameters) -> Kept | None:
        return self.penalty.tangent(self._moved(w))

    def needed(self, w: Parameters, force: Parameters) -> Scalar:
        return self.penalty.needed(self._moved(w), force)

    def _moved(self, w: Parameters) -> Parameters:
        return jax.tree.map(lambda x, y: x - y, w, self.w0)


class OfLayer(AbstractPenalty):
    """A penalty of one leaf of the parameters; the others have no part in it.

    [`layerwise`][penchant.estimators.penalties.layerwise] makes one for each leaf.

    Args:
        penalty: What is asked of the leaf.
        layer: Its number in the order of `jax.tree.leaves`.
        name: How it is called.
    """

    penalty: AbstractPenalty = eqx.field(converter=read)
    layer: int = eqx.field(static=True)
    name: str = eqx.field(static=True)

    @property
    def formula(self) -> str:
        return f"{self.penalty.formula} of {self.name}"

    @property
    def label(self) -> str:
        return f"{self.penalty.label} of {self.name}"

    def __call__(self, w: Parameters) -> Scalar:
        return self.penalty(jax.tree.leaves(w)[self.layer])

    def gradient(self, w: Parameters, problem: AbstractProblem | None) -> Parameters:
        one = jax.tree.leaves(w)[self.layer]
        return self._only(self.penalty.gradient(one, problem), w, jnp.zeros_like)

    def tangent(self, w: Parameters) -> Kept | None:
        kept = self.penalty.tangent(jax.tree.leaves(w)[self.layer])
        if kept is None:
            return None
        return lambda v: self._only(
            kept(jax.tree.leaves(v)[self.layer]), v, lambda x: x
        )

    def needed(self, w: Parameters, force: Parameters) -> Scalar:
        one, pull = (jax.tree.leaves(x)[self.layer] for x in (w, force))
        return self.penalty.needed(one, pull)

    def _only(
        self, leaf: jax.Array, tree: Parameters, others: Callable[[Any], Any]
    ) -> Parameters:
        leaves, structure = jax.tree.flatten(tree)
        leaves = [leaf if i == self.layer else others(x) for i, x in enumerate(leaves)]
        return jax.tree.unflatten(structure, leaves)


def layerwise(
    penalty: AbstractPenalty | Callable[..., Any], params: Parameters
) -> tuple[OfLayer, ...]:
    r"""One penalty for each leaf of the parameters, each with its own coefficient.

    Of a network without biases that is homogeneous in its layers, ridges of all layers
    balance one number, $\langle W_l,-\nabla_l\mathcal L\rangle$, at *any* weights:
    their estimates, each alone, are that number over $\|W_l\|^2$, and say nothing of
    the layers.

    >>> import jax.numpy as jnp
    >>> import penchant as pn
    >>> both = pn.penalties.layerwise(pn.penalties.Ridge(), [jnp.ones(2), jnp.ones(3)])
    >>> [p.label for p in both]
    ['Ridge of 0', 'Ridge of 1']

    Args:
        penalty: What is asked of each leaf.
        params: Parameters, for their names and number.
    """
    names = leaf_names(params)
    return tuple(OfLayer(penalty, i, name) for i, name in enumerate(names))


class Free(eqx.Module):
    r"""A family of penalties with one free shape parameter, which is fitted too.

    The coefficient enters linearly and is solved for at each shape (variable
    projection); the shape is the minimiser of what is left, found on a grid and refined
    by golden section, with the interval in which the profile of the likelihood stays
    within that of $\chi^2_1$.

    >>> import penchant as pn
    >>> pn.penalties.Free(lambda p: pn.penalties.Power(p, 1e-6), 0.5, 4.0)
    Free(Power, 0.5 to 4)

    Args:
        family: `family(shape)` is a penalty.
        low: The least shape.
        high: The largest shape.
        log: Look evenly on the logarithm of the shape.

    Raises:
        TypeError: If `family` gives no penalty.
        ValueError: If the ends are out of order, or `log` is asked of ends below 0.
    """

    family: Callable[[Real], AbstractPenalty] = eqx.field(static=True)
    low: float = eqx.field(static=True, converter=float)
    high: float = eqx.field(static=True, converter=float)
    log: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        check_number("low", self.low, finite=True)
        check_number("high", self.high, above=self.low, finite=True)
        if self.log:
            check_number("low", self.low, above=0.0)
        check_instance(
            "family(low)", self.family(self.low), AbstractPenalty, "a penalty"
        )

    @property
    def name(self) -> str:
        """The family's members' class."""
        return type(self.family(self.low)).__name__

    def __repr__(self) -> str:
        return f"Free({self.name}, {self.low:g} to {self.high:g})"
