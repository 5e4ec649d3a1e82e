"""Networks on images that several figures use."""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn

Params = list[jax.Array]
Batch = tuple[jax.Array, ...]


def images(
    data: pn.datasets.Dataset | None, n: int, seed: int
) -> tuple[np.ndarray, np.ndarray, int, str]:
    """Some images as rows of deviation near 1, their classes, and how many there are.

    Of all data, in an order of the seed; digits unless others are given.
    """
    given = pn.datasets.digits() if data is None else data
    X, y = np.asarray(given.X, dtype=float), np.asarray(given.y)
    X = X.reshape(len(X), -1)
    names, y = np.unique(y, return_inverse=True)
    rows = np.random.default_rng(seed).permutation(len(y))[:n]
    return X[rows] / (float(X.std()) or 1.0), y[rows], len(names), given.name


def layers(sizes: Sequence[int], seed: int, gain: float) -> Params:
    """Gaussian matrices whose entries have the variance `gain` over the inputs."""
    rng = np.random.default_rng(seed)
    return [
        jnp.asarray(rng.normal(size=pair) * np.sqrt(gain / pair[0]))
        for pair in itertools.pairwise(sizes)
    ]


def network(
    X: np.ndarray,
    y: np.ndarray,
    classes: int,
    hidden: Sequence[int],
    seed: int,
    bend: Callable[[jax.Array], jax.Array] = jnp.tanh,
    gain: float = 1.0,
) -> pn.Objective:
    """A network without biases by cross-entropy."""
    sizes = (X.shape[1], *hidden, classes)
    return pn.Objective(_losses(bend), layers(sizes, seed, gain), (X, y))


def _losses(bend: Callable[[jax.Array], jax.Array]) -> Callable[..., jax.Array]:
    def losses(w: Params, batch: Batch) -> jax.Array:
        x, y = batch
        for W in w[:-1]:
            x = bend(x @ W)
        return jax.vmap(cross_entropy)(x @ w[-1], y)

    return losses


def cross_entropy(z: jax.Array, label: jax.Array) -> jax.Array:
    """Of one sample."""
    return jax.nn.logsumexp(z) - z[label]
