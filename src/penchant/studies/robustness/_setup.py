"""Data, training and flips that the tables share."""

import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree as Tree

import penchant as pn

Clusters = pn.datasets.Clusters
Network = pn.NetworkClassification

SHARES = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Radii of attacks, over √d."""


@functools.lru_cache(maxsize=32)
def drawn(d: int, k: int, n: int, seed: int) -> Clusters:
    """Clusters of unit noise, half of them of each label."""
    return pn.datasets.clusters(d, k, n, seed=seed)


@functools.lru_cache(maxsize=8)
def trained(d: int, k: int, n: int, width: int, steps: int, seed: int) -> Any:
    """The ReLU network of both tables that need one, and its problem."""
    problem = drawn(d, k, n, seed).network(width, key=seed)
    return problem, flowed(problem, steps)


def flowed(problem: Network, steps: int) -> Any:
    """Weights at the end of a flow, which must separate the points."""
    run = pn.flows.rescaled_flow(problem, steps=steps, record=2)
    if not bool(run.separated):
        raise RuntimeError(f"the flow did not separate its points in {steps:,} steps.")
    return run.last


def flips(model: Any, w: Tree, data: Clusters, test: Clusters) -> np.ndarray:
    r"""Radii along $\sum_jy_j\mu_j$ over $\sqrt{d/k}$, in NumPy.

    Hidden inputs are affine in the radius: one product serves all radii, and between
    two of a fine grid the outputs are lines.
    """
    z = data.labels @ data.means
    z = z / np.linalg.norm(z)
    head = model.head.matrix(1, model.width)
    v = np.asarray(w[1]["W"] if head is None else head)[0]
    W, b = np.asarray(w[0]["W"]), np.asarray(w[0]["b"])
    P, D = test.X @ W.T + b, test.y[:, None] * (W @ z)[None, :]
    grid = np.linspace(0.0, 6.0 * data.radius, 601)
    out = np.stack([test.y * (np.maximum(P - r * D, 0.0) @ v) for r in grid])
    over = out <= 0
    at = np.maximum(over.argmax(axis=0), 1)
    cols = np.arange(out.shape[1])
    before, after = out[at - 1, cols], out[at, cols]
    share = np.clip(before / np.where(before > after, before - after, 1.0), 0.0, 1.0)
    radii = grid[at - 1] + share * (grid[1] - grid[0])
    radii = np.where(over[0], 0.0, radii)
    return np.where(over.any(axis=0), radii, np.inf) / data.radius


def normal(w: Tree) -> np.ndarray:
    """Rows of the first layer, of unit length."""
    W = np.asarray(w[0]["W"])
    return W / np.linalg.norm(W, axis=1, keepdims=True)


def weight(w: Tree) -> np.ndarray:
    """What each unit counts for: the product of its sizes in the two layers."""
    size = np.linalg.norm(np.asarray(w[0]["W"]), axis=1)
    return size * np.linalg.norm(np.asarray(w[1]["W"]), axis=0)


def norm_squared(w: Tree) -> float:
    """Of all parameters together."""
    return sum(float(np.sum(np.asarray(x) ** 2)) for x in jax.tree.leaves(w))
