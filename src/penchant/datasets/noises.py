"""Laws of noise for [`Mixture`][penchant.datasets.Mixture]: mean 0, variance 1."""

import abc
import dataclasses
from typing import final

import numpy as np
from scipy import special

from penchant._checks import check_number

Array = np.ndarray


class AbstractNoise(abc.ABC):
    """One entry's law, of mean 0 and variance 1; entries are independent.

    A law of your own draws, and says its absolute third moment (infinite where there
    is none), by which a central limit has an error.
    """

    third: float
    r"""$\mathbb E|u|^3$."""

    @abc.abstractmethod
    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Independent entries."""


@final
@dataclasses.dataclass(frozen=True)
class Gaussian(AbstractNoise):
    """Standard normal entries; risks are then exact."""

    third = 2.0 * (2.0 / np.pi) ** 0.5

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return rng.normal(size=shape)


@final
@dataclasses.dataclass(frozen=True)
class Rademacher(AbstractNoise):
    """Entries +1 and -1, each with probability ½."""

    third = 1.0

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return 2.0 * rng.integers(0, 2, size=shape) - 1.0


@final
@dataclasses.dataclass(frozen=True)
class Uniform(AbstractNoise):
    r"""Entries uniform on $[-\sqrt3,\sqrt3]$."""

    third = 3.0**1.5 / 4.0

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        root = 3.0**0.5
        return rng.uniform(-root, root, size=shape)


@final
@dataclasses.dataclass(frozen=True)
class StudentT(AbstractNoise):
    r"""Student's t of `df` degrees of freedom over its standard deviation.

    Heavy tails: moments exist below `df` only. With `df` of at most 4 the squares of
    the entries have no variance, and what hangs on $\|\Sigma\|_F$ fluctuates.

    >>> round(StudentT(5.0).third, 4)  # a Gaussian's is 1.5958
    2.2053

    Args:
        df: Degrees of freedom, above 2: the variance is infinite below.

    Raises:
        TypeError: If `df` is no number.
        ValueError: If it is 2 or less, or infinite.
    """

    df: float

    def __post_init__(self):
        check_number("df", self.df, above=2.0, finite=True)

    @property
    def third(self) -> float:
        """E|u|³, infinite where `df` is 3 or less."""
        if self.df <= 3.0:
            return np.inf
        v = self.df
        log = special.gammaln(2.0) + special.gammaln((v - 3.0) / 2.0)
        log -= 0.5 * np.log(np.pi) + special.gammaln(v / 2.0)
        return float(np.exp(log + 1.5 * np.log(v)) * ((v - 2.0) / v) ** 1.5)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        scale = ((self.df - 2.0) / self.df) ** 0.5
        return scale * rng.standard_t(self.df, size=shape)
