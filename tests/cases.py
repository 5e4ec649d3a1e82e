"""Cases that many tests share: what joins a list gets all of its tests."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant import norms

ENTRYWISE = (
    norms.L1(),
    norms.Lp(1.3),
    norms.L2(),
    norms.Lp(3.0),
    norms.Lp(8.0),
    norms.Linf(),
)
SCHATTEN = (
    norms.Nuclear(),
    norms.Schatten(1.3),
    norms.Frobenius(),
    norms.Schatten(5.0),
    norms.Spectral(),
)
WEIGHTED = (
    norms.Mahalanobis(jnp.array([[0.5, 1.0, 4.0], [2.0, 0.1, 1.0]])),
    norms.Mahalanobis(jnp.eye(6) + 0.3 * jnp.ones((6, 6))),
)
NORMS = (*ENTRYWISE, *SCHATTEN, *WEIGHTED)
"""Norms of weights of shape (2, 3)."""


RARE = (norms.Lp(8.0), norms.Schatten(5.0), WEIGHTED[1])
"""Whose tests run with the slow ones: others of their kind are in every run."""


def name(case):
    return repr(case)


def each(cases):
    """Norms as parameters of a test, the rare ones marked."""
    rare = {repr(case) for case in RARE}
    slow = lambda case: [pytest.mark.slow] if repr(case) in rare else []
    return [pytest.param(case, marks=slow(case)) for case in cases]


def multiclass(seed, k=4, d=6, n=40, spread=0.4, loss=None):
    """Gaussian classes about random centres."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    X = rng.normal(size=(k, d))[y] + spread * rng.normal(size=(n, d))
    return pn.LinearClassification(X, y, loss=loss or pn.losses.Logistic())


def binary(seed, d=12, n=8, loss=None):
    """Fewer samples than features: separable with probability 1."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = np.where(rng.random(n) < 0.5, -1, 1)
    return pn.LinearClassification(X, y, loss=loss or pn.losses.Exponential())


def paper_data(seed=0, k=10, d=25, per_class=50, sigma=0.1):
    """The synthetic data of `fan2025spectral`: centres from N(0, I), noise 0.1."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(k, d))
    y = np.repeat(np.arange(k), per_class)
    X = centres[y] + sigma * rng.normal(size=(k * per_class, d))
    return pn.LinearClassification(X, y, loss=pn.losses.Logistic())


def random_weights(shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)
