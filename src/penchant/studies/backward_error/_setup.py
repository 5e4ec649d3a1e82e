"""The problems of the study: a bilinear toy, a smooth network, a small transformer."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

import penchant as pn

START = (2.8, 3.5)
"""Where the toy's runs start."""

CONTEXT = 16
"""Characters that the transformer sees."""


def toy() -> pn.Objective:
    r"""$\frac12(\frac32-2w_1w_2)^2$: minimisers on the hyperbola $w_1w_2=\frac34$."""
    return pn.Objective(_bilinear, jnp.asarray(START), jnp.zeros(1))


def _bilinear(w: PyTree, batch: PyTree) -> Array:
    # one function for all toys: what is compiled for one serves the next
    return 0.5 * (1.5 - 2.0 * w[0] * w[1]) ** 2 + 0.0 * batch


def one_norm(problem: pn.problems.AbstractProblem, w: PyTree) -> float:
    r"""$\|\nabla\mathcal L\|_1$."""
    return float(one_norms(problem, jax.tree.map(lambda x: x[None], w))[0])


def one_norms(problem: pn.problems.AbstractProblem, weights: PyTree) -> np.ndarray:
    r"""$\|\nabla\mathcal L\|_1$ at each of some weights, leading axis."""
    return np.asarray(_one_norms(problem, jax.tree.map(jnp.asarray, weights)))


@eqx.filter_jit
def _one_norms(problem: pn.problems.AbstractProblem, weights: PyTree) -> Array:
    flat = lambda w: problem.flat(problem.gradient(w))
    return jax.lax.map(lambda w: jnp.sum(jnp.abs(flat(w))), weights)


def adam(b1: float, b2: float, eps: float = 1e-8) -> pn.optimizers.Adam:
    """Adam as the papers have it: ε inside the root, and bias correction."""
    return pn.optimizers.Adam(b1, b2, eps, eps_inside=True, bias_correction=True)


def images(
    data: pn.datasets.Dataset | None, samples: int, hidden: int, seed: int
) -> tuple[pn.Objective, Any, np.ndarray, str]:
    """A GELU network on some images by cross-entropy, and images to test it on."""
    dataset = pn.datasets.digits() if data is None else data
    X, y = np.asarray(dataset.X, dtype=float), np.asarray(dataset.y)
    X = X.reshape(len(X), -1) / X.max()
    order = np.random.default_rng(seed).permutation(len(X))
    chosen, rest = order[:samples], order[samples:]
    classes = int(y.max()) + 1
    keys = jax.random.split(jax.random.key(seed), 2)
    d = X.shape[1]
    params = {
        "A": jax.random.normal(keys[0], (d, hidden)) / np.sqrt(d),
        "a": jnp.zeros(hidden),
        "B": jax.random.normal(keys[1], (hidden, classes)) / np.sqrt(hidden),
        "b": jnp.zeros(classes),
    }
    problem = pn.Objective(cross_entropy, params, (X[chosen], y[chosen]))
    return problem, X[rest], y[rest], dataset.name


def scores(w: PyTree, X: Array) -> Any:
    """The network's scores, a row a sample."""
    hidden = jax.nn.gelu(X @ w["A"] + w["a"][None, :])
    return hidden @ w["B"] + w["b"][None, :]


def cross_entropy(w: PyTree, batch: PyTree) -> Any:
    """One loss a sample."""
    X, y = batch
    log_p = jax.nn.log_softmax(scores(w, X))
    return -jnp.take_along_axis(log_p, y[:, None], axis=1)[:, 0]


def squared(problem: pn.Objective) -> pn.Objective:
    """The same network and images, with squared errors of one-hot labels."""
    X, y = problem.data
    classes = problem.start["b"].shape[0]
    return pn.Objective(squared_errors, problem.start, (X, jax.nn.one_hot(y, classes)))


def squared_errors(w: PyTree, batch: PyTree) -> Any:
    """One loss a sample."""
    X, Y = batch
    return 0.5 * jnp.sum((scores(w, X) - Y) ** 2, axis=1)


def accuracy(w: PyTree, X: np.ndarray, y: np.ndarray) -> float:
    """The share of images classified right."""
    return float(np.mean(np.asarray(scores(w, jnp.asarray(X))).argmax(axis=1) == y))


def transformer(sequences: int, width: int, seed: int) -> pn.Objective:
    """One block on characters of the help pages that Python comes with.

    Causal attention with one head, a GELU layer, layer norms, learnt positions;
    cross-entropy of the next character, its mean over a sequence being one sample.
    """
    letters, codes = _text()
    draw = np.random.default_rng(seed)
    starts = draw.integers(0, len(codes) - CONTEXT - 1, sequences)
    rows = codes[starts[:, None] + np.arange(CONTEXT + 1)[None, :]]
    k, d = len(letters), width
    scale = lambda *shape: jnp.asarray(draw.normal(size=shape) / np.sqrt(shape[0]))
    params = {
        "letters": jnp.asarray(0.1 * draw.normal(size=(k, d))),
        "places": jnp.asarray(0.1 * draw.normal(size=(CONTEXT, d))),
        "qkv": scale(d, 3 * d),
        "out": scale(d, d),
        "up": scale(d, 4 * d),
        "down": scale(4 * d, d),
        "read": scale(d, k),
    }
    return pn.Objective(_next_letter, params, rows)


@functools.cache
def _text() -> tuple[np.ndarray, np.ndarray]:
    """The reference pages that `help()` shows: some 460 000 characters of English.

    The letters in them, and the number of each character's.
    """
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))
    return np.unique(list(text), return_inverse=True)


def _norm(x: Array) -> Any:
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    return x / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-5)


def _next_letter(w: PyTree, rows: PyTree) -> Any:
    seen, after = rows[:, :-1], rows[:, 1:]
    x = w["letters"][seen] + w["places"][None, :, :]
    q, k, v = jnp.split(_norm(x) @ w["qkv"], 3, axis=-1)
    weight = jnp.einsum("btd,bsd->bts", q, k) / jnp.sqrt(float(q.shape[-1]))
    ahead = jnp.triu(jnp.ones((CONTEXT, CONTEXT), bool), 1)[None, :, :]
    weight = jax.nn.softmax(jnp.where(ahead, -1e9, weight), axis=-1)
    x = x + jnp.einsum("bts,bsd->btd", weight, v) @ w["out"]
    x = x + jax.nn.gelu(_norm(x) @ w["up"]) @ w["down"]
    log_p = jax.nn.log_softmax(_norm(x) @ w["read"])
    found = jnp.take_along_axis(log_p, after[:, :, None], axis=-1)[:, :, 0]
    return -jnp.mean(found, axis=1)
