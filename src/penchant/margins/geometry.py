"""Norms of all parameters together, in coordinates where they are simple."""

import abc
import dataclasses

import numpy as np
from numpy.typing import NDArray

from penchant.margins._solvers.least_norm import (
    NoStepError as NoStepError,
    least_max,
    shortest,
)
from penchant.norms import AbstractLp, AbstractNorm, AbstractSchatten, Mahalanobis
from penchant.problems import AbstractClassification

Array = NDArray[np.float64]


class Geometry(abc.ABC):
    """A norm on flat parameters: its coordinates, length and shortest steps."""

    def there(self, w: Array) -> Array:
        """Coordinates of parameters."""
        return w

    def back(self, v: Array) -> Array:
        """Parameters of coordinates."""
        return v

    def covariant(self, J: Array) -> Array:
        """Gradients with respect to the coordinates, from those in the parameters."""
        return J

    @abc.abstractmethod
    def length(self, v: Array) -> float:
        """The norm."""

    @abc.abstractmethod
    def shortest(
        self, J: Array, r: Array, guess: NDArray[np.bool_]
    ) -> tuple[Array, Array]:
        """The shortest `x` with `J x >= r`, and its multipliers."""


class Euclidean(Geometry):
    """The ℓ2 norm."""

    def length(self, v: Array) -> float:
        return float(np.linalg.norm(v))

    def shortest(
        self, J: Array, r: Array, guess: NDArray[np.bool_]
    ) -> tuple[Array, Array]:
        return shortest(J, r, guess)


@dataclasses.dataclass
class Weighted(Euclidean):
    r"""$\sqrt{\sum_jM_jw_j^2}$, Euclidean in $v=\sqrt M\odot w$."""

    root: Array

    def there(self, w: Array) -> Array:
        return self.root * w

    def back(self, v: Array) -> Array:
        return v / self.root

    def covariant(self, J: Array) -> Array:
        return J / self.root


class Largest(Geometry):
    """The ℓ∞ norm."""

    def length(self, v: Array) -> float:
        return float(np.abs(v).max())

    def shortest(
        self, J: Array, r: Array, guess: NDArray[np.bool_]
    ) -> tuple[Array, Array]:
        return least_max(J, r)


def geometry_of(norm: AbstractNorm, problem: AbstractClassification) -> Geometry:
    """The geometry of a norm on a problem's parameters.

    Raises:
        TypeError: If the norm is none of ℓ2, ℓ∞ and diagonal Mahalanobis norms.
        ValueError: If a Mahalanobis norm has not one weight a parameter.
    """
    p = problem.parameters
    if isinstance(norm, Mahalanobis):
        if norm.vectors is not None or norm.M.size != p:
            raise ValueError(
                f"norm: Mahalanobis must have one positive weight for each of the {p} "
                f"parameters here; got shape {norm.M.shape}."
            )
        return Weighted(np.sqrt(np.asarray(norm.M).ravel()))
    if isinstance(norm, AbstractLp) and norm.p == np.inf:
        return Largest()
    if isinstance(norm, (AbstractLp, AbstractSchatten)) and norm.p == 2.0:
        return Euclidean()
    raise TypeError(f"norm must be L2(), Linf() or Mahalanobis(weights); got {norm!r}.")
