"""The problem of the limits by which flows and tails are held."""

import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.problems.models.networks import MLP, AbstractActivation, SquaredReLU

EXPONENTIAL = pn.losses.Exponential()
EPS = 1e-2 / 64
"""1e-2 for the sum of eight losses, inside the root, for their mean."""


def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8, 3))
    X[:, 0] += np.sign(X[:, 0])
    return X, np.sign(X[:, 0])


def linear(loss=EXPONENTIAL):
    return pn.LinearClassification(*data(), loss=loss)


def network(
    activation: AbstractActivation = SquaredReLU(), hidden=(5,), loss=EXPONENTIAL
):
    """A network on the data, and its start."""
    net = MLP((3, *hidden, 1), activation)
    p = sum(m * n for m, n in zip(net.sizes, net.sizes[1:], strict=False))
    v = 0.5 * np.random.default_rng(1).normal(size=p)
    params, at = [], 0
    for m, n in zip(net.sizes, net.sizes[1:], strict=False):
        params.append({"W": jnp.asarray(v[at : at + m * n].reshape(n, m))})
        at += m * n
    return pn.NetworkClassification(net, params, *data(), loss=loss)


def unit(problem, w):
    flat = np.asarray(problem.flat(w))
    return flat / np.linalg.norm(flat)
