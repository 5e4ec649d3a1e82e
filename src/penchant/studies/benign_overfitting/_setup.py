"""Mixtures of the study, draws of them, and lines with their statistical error."""

from collections.abc import Callable

import numpy as np

import penchant as pn
from penchant.studies._lines import Line

Array = np.ndarray
Mixture = pn.datasets.Mixture

ERRORS = 4.0
"""Standard errors that a mean of draws may be off."""


def isotropic(d: int, length: float, flip: float = 0.0) -> Mixture:
    """Σ = I, μ along the first axis."""
    return Mixture.rare_weak(d, 1, length, flip=flip)


def along(spectrum: Array, axis: int | None, length: float) -> Mixture:
    """μ along an axis of a spectrum, or over all of them alike."""
    mean = np.zeros(len(spectrum))
    mean[slice(None) if axis is None else axis] = 1.0
    return Mixture(length * mean / np.linalg.norm(mean), spectrum)


def signed(mixture: Mixture, n: int, seed: int, flips: int = 0) -> Array:
    """Rows times their labels, the first `flips` of them flipped."""
    X, y = mixture.sample(n, seed=seed)
    Z = X * y[:, None]
    Z[:flips] -= 2.0 * (Z[:flips] @ _unit(mixture))[:, None] * _unit(mixture)
    return Z


def _unit(mixture: Mixture) -> Array:
    # a flipped row is -μ + q: for Gaussian noise a reflection along μ has that law
    length = np.linalg.norm(mixture.mean)
    return mixture.mean / (length if length > 0 else 1.0)


def margin(Z: Array) -> tuple[Array, Array]:
    """Weights of max margin and its support."""
    # labels are absorbed
    problem = pn.LinearClassification(Z, np.ones(len(Z)), loss=pn.losses.Exponential())
    found = pn.max_margin(problem, pn.norms.L2())
    return np.asarray(found.weights), np.asarray(found.support)


def interpolator(Z: Array) -> Array:
    """Weights of least norm with every margin 1."""
    return np.linalg.solve(Z @ Z.T, np.ones(len(Z))) @ Z


def over(seeds: int, seed: int, draw: Callable[[int], object]) -> Array:
    """What `draw` gives for so many seeds of its own."""
    return np.array([draw(10_000 * seed + k) for k in range(seeds)], dtype=float)


def rhos(mixture: Mixture, n: int, seeds: int, seed: int, flips: int = 0) -> Array:
    """ρ of max margin, draw by draw."""
    one = lambda s: mixture.rho(margin(signed(mixture, n, s, flips))[0])
    return over(seeds, seed, one)


def held(
    what: str, values: Array, *, expected: float, share: float, source: str = ""
) -> Line:
    """A mean of draws beside what is foretold.

    It may be off by four of its standard errors, and by the share that the theory's
    own error of order 1/n is known to reach.
    """
    mean = float(values.mean())
    error = float(values.std(ddof=1) / len(values) ** 0.5)
    text = f"mean of {len(values)} draws, standard error {error:.2g}"
    return Line.near(
        what,
        expected=expected,
        within=ERRORS * error + share * abs(expected),
        measured=mean,
        certificate=f"{text}; {source}" if source else text,
    )
