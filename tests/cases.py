"""Cases that many tests share: what joins a list gets all of its tests."""

import functools
import re

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
LINES = (norms.Rowwise(), norms.Columnwise(norms.L2(), norms.Lp(3.0)))
BLOCKS = (norms.Blockwise([[0, 0, 1], [2, 1, 2]]),)
NORMS = (*ENTRYWISE, *SCHATTEN, *WEIGHTED, *LINES, *BLOCKS)
"""Norms of weights of shape (2, 3)."""


RARE = (norms.Lp(8.0), norms.Schatten(5.0), WEIGHTED[1], LINES[1])
"""Whose tests run with the slow ones: others of their kind are in every run."""


def name(case):
    return repr(case)


def each(cases):
    """Norms as parameters of a test, the rare ones marked."""
    rare = {repr(case) for case in RARE}
    slow = lambda case: [pytest.mark.slow] if repr(case) in rare else []
    return [pytest.param(case, marks=slow(case)) for case in cases]


def same(a, b):
    """Bit for bit, leaf by leaf."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(np.asarray(x), np.asarray(y)) for x, y in pairs)


def cosine(u, v):
    """Of the angle between two arrays, read as vectors."""
    u, v = np.ravel(np.asarray(u)), np.ravel(np.asarray(v))
    return float(u @ v / np.linalg.norm(u) / np.linalg.norm(v))


def missed(figure):
    """The lines of a study's figure or result that fall short."""
    return [line for line in figure.lines if not line.passed]


def labelled(svg):
    """The words of a picture."""
    return re.findall(r"<text[^>]*>([^<]+)</text>", svg)


def absorbed(X):
    """Examples whose labels are in their signs, with the exponential loss."""
    X = np.asarray(X, dtype=float)
    labels = np.ones(len(X), dtype=int)
    return pn.LinearClassification(X, labels, loss=pn.losses.Exponential())


@functools.cache
def gaussian(seed=0, n=10, d=50):
    """Standard normal examples, labels absorbed, with the exponential loss."""
    return pn.datasets.gaussian(n, d, seed=seed).problem(pn.losses.Exponential())


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


@functools.cache
def paper_data(seed=0):
    """The synthetic data of `fan2025spectral`: centres from N(0, I), noise 0.1."""
    return pn.datasets.class_centres(seed=seed).problem(pn.losses.Logistic())


def random_weights(shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)
