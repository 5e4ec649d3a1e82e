import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._study import Figure, Preset, Presets


class Sizes(NamedTuple):
    """Samples, units of each hidden layer, steps, pairs of draws, and rates."""

    samples: int
    width: int
    steps: int
    pairs: int
    rates: tuple[float, ...]


SIZES = Presets(Sizes(200, 16, 300, 64, (0.1,)), Sizes(1000, 64, 1500, 200, (0.1, 0.3)))


def dropout(
    preset: Preset | Sizes = Preset.QUICK,
    seed: int = 0,
    data: pn.datasets.Dataset | None = None,
) -> Figure:
    r"""Is dropout like ℓ2? Exactly for one layer; hardly for several.

    A linear model's optimum under dropout of its inputs, in closed form; then a network
    of two hidden ReLU layers on digits, with dropout after each, part-way through
    training: what its noise adds to the gradient there, explained by a ridge and by the
    Gauss--Newton term, on draws that neither was fitted to.
    """
    n, width, steps, pairs, rates = SIZES.of(preset)
    lines: list[Line] = []
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(200, 10)) * np.geomspace(0.3, 2.0, 10)
    y = X @ rng.normal(size=10) + rng.normal(size=200)
    loss = pn.Regression(_linear, np.zeros(10), X, y)
    squares = np.mean(X**2, axis=0)
    scaled = pn.penalties.ScaledRidge(squares)
    for rate in (0.05, 0.2, 0.5):
        gamma = rate / (1 - rate)
        A = X.T @ X / 200 + gamma * np.diag(squares)
        w = np.linalg.solve(A, X.T @ y / 200)
        exact = pn.estimators.match(loss, w, [scaled])
        plain = pn.estimators.match(loss, w, ["ridge"])
        lines.append(
            Line.near(
                f"linear, rate {rate:g}: scaled ridge over γ",
                expected=1.0,
                within=1e-6,
                measured=float(exact.coefficients[0]) / gamma,
                certificate=f"plain ridge explains {plain.r2:.3f}",
            )
        )
    X, y, k = _digits(n) if data is None else _of(data, n, seed)
    for rate in rates:
        lines += _deep(X, y, k, width, steps, pairs, rate, seed)
    return Figure(tuple(lines))


def _deep(
    X: np.ndarray,
    y: np.ndarray,
    k: int,
    width: int,
    steps: int,
    pairs: int,
    rate: float,
    seed: int,
) -> list[Line]:
    rng = np.random.default_rng(seed)
    sizes = (X.shape[1], width, width, k)
    params = [
        rng.normal(size=pair) * np.sqrt(2.0 / pair[0])
        for pair in itertools.pairwise(sizes)
    ]
    noise = (jnp.zeros(width), jnp.zeros(width))

    def losses(w: Any, batch: Any, key: Any) -> Any:
        x, labels = batch
        m = len(labels)
        masks = (jnp.zeros((m, width)), jnp.zeros((m, width)))
        if key is not None:
            keep = lambda key: (
                jax.random.bernoulli(key, 1.0 - rate, (m, width)) / (1.0 - rate) - 1.0
            )
            masks = tuple(keep(key) for key in jax.random.split(key))
        z = jax.vmap(lambda x, *masks: _apply(w, x, masks))(x, *masks)
        return jax.vmap(_cross_entropy)(z, labels)

    problem = pn.Objective(losses, params, (X, y), random=True)
    run = finished(
        pn.train(
            problem,
            pn.optimizers.GradientDescent(0.9),
            steps=steps,
            step_size=0.05,
            batching=pn.batching.Shuffled(min(50, len(y))),
            key=seed,
        )
    )
    term = pn.penalties.NoiseGaussNewton(_apply, noise, _cross_entropy, X, y)
    gamma = rate / (1 - rate)
    gauss, ridge = (
        pn.estimators.match_interventions(
            problem, run.last, [penalty], pairs=pairs, key=seed
        )
        for penalty in (term, pn.penalties.Ridge())
    )
    where = f"loss {float(run.loss[-1]):.3g} after {steps:,} steps, seed {seed}"
    return [
        Line.least(
            f"rate {rate:g}: share that the Gauss-Newton term explains",
            0.3,
            expected=0.87,
            measured=float(gauss.r2),
            certificate=f"{where}; coefficient {gauss.coefficients[0] / gamma:.3f} γ",
        ),
        Line.between(
            f"rate {rate:g}: share that a ridge explains",
            -0.1,
            0.2,
            expected=0.001,
            measured=float(ridge.r2),
            certificate=f"{ridge.coefficients[0]:.3g} ± {ridge.error[0]:.1g}",
        ),
    ]


def _apply(w: Any, x: Any, noise: Any) -> Any:
    for W, xi in zip(w[:-1], noise, strict=True):
        x = jax.nn.relu(x @ W) * (1.0 + xi)
    return x @ w[-1]


def _cross_entropy(z: Any, label: Any) -> Any:
    return jax.nn.logsumexp(z) - z[label]


def _linear(w: Any, X: Any) -> Any:
    return X @ w


def _digits(n: int) -> tuple[np.ndarray, np.ndarray, int]:
    data = pn.datasets.digits()
    X, y = np.asarray(data.X) / 16.0, np.unique(data.y, return_inverse=True)[1]
    return X[:n], y[:n], 10


def _of(
    data: pn.datasets.Dataset, n: int, seed: int
) -> tuple[np.ndarray, np.ndarray, int]:
    X, y = np.asarray(data.X, dtype=float), np.asarray(data.y)
    names, y = np.unique(y, return_inverse=True)
    rows = np.random.default_rng(seed).permutation(len(y))[:n]
    spread = float(X.std())
    return X[rows] / (spread or 1.0), y[rows], len(names)
