"""Small networks whose curvature is known exactly, and trained to some extent."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn


def tree(sizes, seed):
    rng = np.random.default_rng(seed)
    return [
        {"W": jnp.asarray(rng.normal(size=(a, b)) / np.sqrt(a)), "b": jnp.zeros(b)}
        for a, b in itertools.pairwise(sizes)
    ]


def mlp(act):
    def apply(w, X):
        for layer in w[:-1]:
            X = act(X @ layer["W"] + layer["b"][None, :])
        return X @ w[-1]["W"] + w[-1]["b"][None, :]

    return apply


RELU, TANH = mlp(jax.nn.relu), mlp(jnp.tanh)


@functools.cache
def regression(act="relu", sizes=(6, 10, 3), n=96, steps=300, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, sizes[0]))
    y = np.sin(X[:, : sizes[-1]]) + 0.3 * rng.normal(size=(n, sizes[-1]))
    apply = RELU if act == "relu" else TANH
    problem = pn.Regression(apply, tree(sizes, seed), X, y)
    if not steps:
        return problem, problem.start
    run = pn.train(problem, "adam", steps=steps, step_size=0.01, record=2)
    return problem, run.last


@functools.cache
def classes(n=90, seed=1):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    X = rng.normal(size=(3, 5))[y] + 0.7 * rng.normal(size=(n, 5))
    problem = pn.NetworkClassification(
        RELU, tree((5, 8, 3), seed), X, y, loss=pn.losses.Logistic()
    )
    run = pn.train(problem, "adam", steps=200, step_size=0.01, record=2)
    return problem, run.last
