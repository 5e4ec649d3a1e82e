"""Norms of all parameters together, in coordinates where they are simple."""

import abc
import dataclasses

import jax
import numpy as np
from numpy.typing import NDArray

from penchant.margins._solvers.least_norm import (
    NoStepError as NoStepError,
    least_max,
    shortest,
)
from penchant.margins._solvers.least_spectral import (
    Shapes,
    largest_spectral,
    least_spectral,
    sum_nuclear,
)
from penchant.norms import (
    AbstractLp,
    AbstractNorm,
    AbstractSchatten,
    Layerwise,
    Mahalanobis,
)
from penchant.problems import AbstractClassification

Array = NDArray[np.float64]

CERTAIN = 1e-7
"""Relative duality gap of a shortest step, at most."""


class Geometry(abc.ABC):
    """A norm on flat parameters: its coordinates, length and shortest steps."""

    rounding = 1e-13
    """Relative error of a shortest step's length that is none."""

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
    def dual_length(self, g: Array) -> float:
        """The dual norm, of a gradient."""

    @abc.abstractmethod
    def shortest(
        self, J: Array, r: Array, guess: NDArray[np.bool_]
    ) -> tuple[Array, Array]:
        """The shortest `x` with `J x >= r`, and its multipliers."""


class Euclidean(Geometry):
    """The ℓ2 norm."""

    def length(self, v: Array) -> float:
        return float(np.linalg.norm(v))

    def dual_length(self, g: Array) -> float:
        return float(np.linalg.norm(g))

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

    def dual_length(self, g: Array) -> float:
        return float(np.abs(g).sum())

    def shortest(
        self, J: Array, r: Array, guess: NDArray[np.bool_]
    ) -> tuple[Array, Array]:
        return least_max(J, r)


@dataclasses.dataclass
class SpectralLayers(Geometry):
    r"""The largest spectral norm of several matrices, $\max_l\sigma_1(X_l)$.

    `shapes` are theirs, in the order of the flat parameters. Shortest steps solve
    $\min_x\max_l\sigma_1(X_l)$ such that $Jx\ge r$ by an interior-point method, with
    multipliers that prove them shortest but for a share of $10^{-7}$, and mostly of
    $10^{-10}$. There is no unique shortest step: of a matrix whose multipliers'
    gradient has not full rank, the rest is free as long as it is no longer. The step
    taken is near the middle of all.
    """

    shapes: Shapes

    rounding = 1e-9

    def length(self, v: Array) -> float:
        return largest_spectral(v, self.shapes)

    def dual_length(self, g: Array) -> float:
        return sum_nuclear(g, self.shapes)

    def shortest(
        self, J: Array, r: Array, guess: NDArray[np.bool_]
    ) -> tuple[Array, Array]:
        found = least_spectral(J, r, self.shapes)
        if not found.gap <= CERTAIN:
            raise NoStepError(
                "no step is known to be the shortest that lifts every margin: its "
                f"duality gap is {found.gap:.1e}"
            )
        return found.x, found.dual


def geometry_of(norm: AbstractNorm, problem: AbstractClassification) -> Geometry:
    """The geometry of a norm on a problem's parameters.

    Raises:
        TypeError: If the norm is none of ℓ2, ℓ∞, diagonal Mahalanobis norms and the
            spectral norm, of one matrix or per layer.
        ValueError: If a Mahalanobis norm has not one weight a parameter, or parameters
            are several arrays for a spectral norm of one.
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
    if is_spectral(norm):
        return _spectral(norm, problem)
    raise TypeError(
        "norm must be L2(), Linf(), Mahalanobis(weights), Spectral() or "
        f"Layerwise(Spectral()); got {norm!r}."
    )


def is_spectral(norm: AbstractNorm | None) -> bool:
    """Whether a norm is the spectral one, of one matrix or per layer."""
    each = norm.norm if isinstance(norm, Layerwise) else norm
    return isinstance(each, AbstractSchatten) and each.p == np.inf


def _spectral(norm: AbstractNorm, problem: AbstractClassification) -> Geometry:
    """Vectors are matrices of one row, and more axes are rows but for the last."""
    leaves = [np.shape(leaf) for leaf in jax.tree.leaves(problem.start)]
    if len(leaves) > 1 and not isinstance(norm, Layerwise):
        raise ValueError(
            f"norm: {norm!r} is of one matrix, and the parameters here are "
            f"{len(leaves)} arrays; Layerwise({norm!r}) is the largest over them."
        )
    shapes = tuple((int(np.prod(s[:-1])), int(s[-1]) if s else 1) for s in leaves)
    if len(shapes) == 1 and 1 in shapes[0]:
        return Euclidean()
    return SpectralLayers(shapes)
