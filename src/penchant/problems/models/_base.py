"""What every network is, and how its parameters lie."""

import abc
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float

from penchant._pretty import pretty
from penchant._types import Key, Parameters, Real

Layer = dict[str, Array]


class AbstractNetwork(eqx.Module):
    """A model with a degree; equal ones compile once."""

    @property
    @abc.abstractmethod
    def degree(self) -> float:
        """The degree of homogeneity in all parameters together."""

    @abc.abstractmethod
    def params(self, key: Key = 0, *, scale: Real | None = None) -> Parameters:
        """Random parameters: He-normal, or `scale` times standard normal."""

    @abc.abstractmethod
    def __call__(self, params: Parameters, X: Float[Array, "n ..."]) -> Array:
        """Scores: `(n,)` for one output, else `(n, k)`."""

    def narrowed(self, features: int) -> "AbstractNetwork | None":
        """The same on so many features; None where a first layer is no matrix.

        That matrix is `params[0]["W"]`, with a row a unit.
        """
        return None

    def __repr__(self) -> str:
        return pretty(self)


def as_key(key: Key) -> Any:
    """A key of JAX, made of a number where one is given."""
    return jax.random.key(key) if isinstance(key, int) else key
