"""Problems small enough for many replays, and rules with moments of every kind."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import penchant as pn
from penchant.optimizers import (
    AdaGrad,
    Adam,
    AdamE,
    AdamW,
    GradientDescent,
    Lion,
    NAdam,
    RMSProp,
    SteepestDescent,
    WeightDecay,
)


def _net(w, batch):
    X, y = batch
    return (jnp.tanh(X @ w["A"] + w["b"][None, :]) @ w["c"] - y) ** 2


def _toy(w, batch):
    return 0.5 * (1.5 - 2.0 * w[0] * w[1] + 0.0 * batch) ** 2


@functools.cache
def net():
    """A net of 9 parameters on 8 samples."""
    draw = np.random.default_rng(3)
    X = draw.normal(size=(8, 2))
    y = np.sin(X[:, 0]) + 0.3
    w = {"A": draw.normal(size=(2, 2)), "b": [0.1, -0.2], "c": draw.normal(size=2)}
    w = {k: jnp.asarray(v) for k, v in w.items()}
    return pn.Objective(_net, w, (X, y))


@functools.cache
def toy():
    r"""$\frac12(\frac32-2w_1w_2)^2$ from (2.8, 3.5): a hyperbola of minimisers."""
    return pn.Objective(_toy, jnp.array([2.8, 3.5]), jnp.zeros(1))


RULES = {
    "gd": GradientDescent(),
    "heavy ball": GradientDescent(0.9),
    "nesterov": GradientDescent(0.9, nesterov=True),
    "mean momentum": SteepestDescent(pn.norms.L2(), 0.9, normalized=False),
    "normalised": SteepestDescent(pn.norms.L2(), 0.9),
    "adam": Adam(0.9, 0.99, 1e-2),
    "adam inside": Adam(0.9, 0.99, 1e-2, eps_inside=True),
    "adam corrected": Adam(0.9, 0.95, 1e-2, bias_correction=True),
    "adam without eps": Adam(0.9, 0.99, 0.0),
    "adamw": AdamW(0.9, 0.95, 1e-2, 0.1, bias_correction=True, eps_inside=True),
    "adamw uncorrected": AdamW(0.9, 0.95, 1e-2, 0.1),
    "nadam": NAdam(0.9, 0.95, 1e-2),
    "nadam corrected": NAdam(0.9, 0.95, 1e-2, bias_correction=True),
    "rmsprop": RMSProp(0.95, 1e-2, eps_inside=True),
    "rmsprop corrected": RMSProp(0.95, 1e-2, bias_correction=True),
    "adagrad": AdaGrad(1e-2),
    "adame": AdamE(0.9, 0.99, 1e-2, 0.3),
    "lion": Lion(),
    "decayed heavy ball": WeightDecay(GradientDescent(0.9), 0.05),
}

TWINS = {
    "adamw": (
        optax.adamw(1.0, 0.9, 0.95, eps=1e-2, weight_decay=0.1),
        AdamW(0.9, 0.95, 1e-2, 0.1, bias_correction=True),
    ),
    "adam, ε inside": (
        optax.adam(1.0, 0.9, 0.95, eps=0.0, eps_root=1e-2),
        Adam(0.9, 0.95, 1e-2, eps_inside=True, bias_correction=True),
    ),
    "nadam": (
        optax.nadam(1.0, 0.9, 0.95, eps=1e-2),
        NAdam(0.9, 0.95, 1e-2, bias_correction=True),
    ),
    "nesterov": (
        optax.sgd(1.0, 0.9, nesterov=True),
        GradientDescent(0.9, nesterov=True),
    ),
    "clipped": (
        # clipped at a length that every gradient has: normalised descent
        optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(1e3)),
        None,
    ),
}


def some(names, *quick):
    """All names as cases, those that are not quick marked as slow: each compiles."""
    return [
        name if name in quick else pytest.param(name, marks=pytest.mark.slow)
        for name in names
    ]


def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def off(a, b):
    """The largest difference, relative to the largest entry."""
    a, b = flat(a), flat(b)
    return np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-300)
