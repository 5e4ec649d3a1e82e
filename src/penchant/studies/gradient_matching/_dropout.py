from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.gradient_matching._published import fitted
from penchant.studies.gradient_matching._setup import (
    Batch,
    Params,
    cross_entropy,
    images,
    layers,
)

SMALL = 0.1
"""Rates up to which the second order of the noise should be most of it."""

DRAWS = 100
"""Masks whose mean stands for what is trained, where a run ends."""


class Sizes(NamedTuple):
    """Samples, units and number of hidden layers, steps, pairs of draws, and rates.

    `early` steps are part-way, where noise is looked at; `steps` are the end.
    """

    samples: int
    width: int
    depth: int
    early: int
    steps: int
    pairs: int
    rates: tuple[float, ...]
    fit: int


SIZES = Presets(
    Sizes(300, 48, 2, 150, 1200, 100, (0.0, 0.1, 0.5), 2000),
    Sizes(1500, 64, 3, 1200, 9000, 300, (0.0, 0.05, 0.1, 0.2, 0.3, 0.5), 20_000),
)


def dropout(
    preset: Preset | Sizes = Preset.QUICK,
    seed: int = 0,
    data: pn.datasets.Dataset | None = None,
) -> Figure:
    r"""Is dropout like ℓ2? Exactly for one layer; hardly for several.

    A linear model's optimum under dropout of its inputs, in closed form; then networks
    of hidden ReLU layers on images with dropout after each, trained by momentum on
    batches. Where they end, the best ridge by least squares and as published, with how
    far from rest they are under dropout itself. Part-way, what its noise adds to the
    gradient, explained by a ridge and by the Gauss--Newton term, on draws that neither
    was fitted to.
    """
    sizes = SIZES.of(preset)
    lines = _linear_model(seed)
    X, y, classes, name = images(data, sizes.samples, seed)
    seen = [_deep(sizes, X, y, classes, rate, seed) for rate in sizes.rates]
    for rate, end in zip(sizes.rates, seen, strict=True):
        lines += _told(rate, end, seen[0])
    best, theirs, gauss, ridge = (
        [getattr(end, part) for end in seen]
        for part in ("ridge", "published", "explained", "explained_by_ridge")
    )
    words = (
        f"{len(y)} samples of {name}, {sizes.depth} hidden layers of {sizes.width} "
        f"ReLU units, seed {seed}"
    )
    caption = f"Coefficient of the best ridge where training ended, by rate: {words}."
    axes = pn.plotting.curves(
        {
            "least squares": (sizes.rates, best),
            f"as published, {sizes.fit:,} steps": (sizes.rates, theirs),
        },
        xlabel="rate of dropout",
        ylabel="coefficient of ½‖w‖²",
        logx=False,
        logy=True,
        dots=True,
    )
    pictures = {caption: pn.plotting.themed_svg(axes, caption)}
    caption = (
        "Share of what dropout's noise adds to the gradient that a term explains, of "
        f"draws not fitted to, after {sizes.early:,} steps: {words}."
    )
    some = np.array(sizes.rates) > 0
    rates = np.array(sizes.rates)[some]
    axes = pn.plotting.curves(
        {
            "Gauss-Newton": (rates, np.array(gauss)[some]),
            "ridge": (rates, np.array(ridge)[some]),
        },
        xlabel="rate of dropout",
        ylabel="share explained",
        logx=False,
        dots=True,
    )
    pictures[caption] = pn.plotting.themed_svg(axes, caption)
    return Figure(tuple(lines), pictures)


def _linear_model(seed: int) -> list[Line]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(200, 10)) * np.geomspace(0.3, 2.0, 10)
    y = X @ rng.normal(size=10) + rng.normal(size=200)
    loss = pn.Regression(_linear, np.zeros(10), X, y)
    squares = np.mean(X**2, axis=0)
    scaled = pn.penalties.ScaledRidge(squares)
    lines = []
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
    return lines


class Seen(NamedTuple):
    """What one rate of dropout does: at the end of training, and part-way."""

    ridge: float
    published: float
    cosine: float
    gap: float
    loss: float
    early_loss: float
    coefficient: float = np.nan
    explained: float = np.nan
    ridge_of_noise: float = np.nan
    explained_by_ridge: float = np.nan


def _deep(
    sizes: Sizes, X: np.ndarray, y: np.ndarray, classes: int, rate: float, seed: int
) -> Seen:
    width, depth = sizes.width, sizes.depth
    params = layers((X.shape[1], *(width,) * depth, classes), seed, 2.0)
    # the rate is data: what is compiled for one serves the next
    batch = (X, y, np.full(len(y), rate))
    problem = pn.Objective(_noisy, params, batch, random=True)
    rule = pn.optimizers.GradientDescent(0.9)
    batches = pn.batching.Shuffled(min(50, len(y)))
    train = lambda steps: finished(
        pn.train(
            problem,
            rule,
            steps=steps,
            step_size=0.02,
            batching=batches,
            key=seed,
            record=2,
            progress=False,
        )
    )
    early, end = train(sizes.early), train(sizes.steps)
    # what was trained is the mean over masks
    trained = pn.Objective(_averaged, params, batch)
    says = pn.estimators.match(problem, end.last, ["ridge"], objective=trained)
    flat = lambda w: np.asarray(problem.flat(w))
    theirs = fitted(
        flat(end.last)[:, None],
        -flat(problem.gradient(end.last)),
        steps=sizes.fit,
        rate=0.05,
    )
    seen = Seen(
        ridge=float(says.coefficients[0]),
        published=float(theirs[0]),
        cosine=says.cosine,
        gap=says.gap,
        loss=float(end.loss[-1]),
        early_loss=float(early.loss[-1]),
    )
    if rate == 0.0:
        return seen
    noise = tuple(jnp.zeros(width) for _ in range(depth))
    term = pn.penalties.NoiseGaussNewton(_apply, noise, cross_entropy, X, y)
    gauss, ridge = (
        pn.estimators.match_interventions(
            problem, early.last, [penalty], pairs=sizes.pairs, key=seed
        )
        for penalty in (term, pn.penalties.Ridge())
    )
    gamma = rate / (1 - rate)
    return seen._replace(
        coefficient=float(gauss.coefficients[0]) / gamma,
        explained=float(gauss.r2),
        ridge_of_noise=float(ridge.coefficients[0]),
        explained_by_ridge=float(ridge.r2),
    )


def _told(rate: float, seen: Seen, without: Seen) -> list[Line]:
    end = (
        f"loss {seen.loss:.2g}, gap {seen.gap:.2g}; coefficient {seen.ridge:.3g}, as "
        f"published {seen.published:.3g}, without dropout {without.ridge:.3g}"
    )
    if rate == 0.0:
        return [
            Line.least(
                "rate 0: share of the last gradient that a ridge explains, though "
                "there is none",
                0.05,
                expected=0.5,
                measured=seen.cosine**2,
                certificate=end,
            )
        ]
    where = f"part-way, loss {seen.early_loss:.3g}"
    of_it = f"{where}; coefficient {seen.coefficient:.3f} γ"
    if rate <= SMALL:
        gauss = Line.least(
            f"rate {rate:g}: share of the noise's gradient that Gauss-Newton explains",
            0.3,
            expected=0.87,
            measured=seen.explained,
            certificate=of_it,
        )
    else:
        gauss = Line.least(
            f"rate {rate:g}: which Gauss-Newton explains more of than a ridge, by",
            0.0,
            expected=0.36,
            measured=seen.explained - seen.explained_by_ridge,
            certificate=f"{seen.explained:.3f}, to second order; {of_it}",
        )
    return [
        Line.most(
            f"rate {rate:g}: share of the last gradient that a ridge explains",
            0.5,
            measured=seen.cosine**2,
            certificate=end,
        ),
        gauss,
        Line.between(
            f"rate {rate:g}: share of the noise's gradient that a ridge explains",
            -0.2,
            0.25,
            expected=0.001,
            measured=seen.explained_by_ridge,
            certificate=f"{where}; coefficient {seen.ridge_of_noise:.3g}",
        ),
    ]


def _noisy(w: Params, batch: Batch, key: jax.Array | None) -> jax.Array:
    x, labels, rate = batch
    shapes = [(len(labels), W.shape[1]) for W in w[:-1]]
    masks = tuple(jnp.zeros(shape) for shape in shapes)
    if key is not None:
        keep = 1.0 - rate[:, None]
        masks = tuple(
            jnp.where(jax.random.uniform(k, shape) < keep, 1.0 / keep, 0.0) - 1.0
            for k, shape in zip(jax.random.split(key, len(shapes)), shapes, strict=True)
        )
    z = jax.vmap(lambda x, *masks: _apply(w, x, masks))(x, *masks)
    return jax.vmap(cross_entropy)(z, labels)


def _averaged(w: Params, batch: Batch) -> jax.Array:
    keys = jax.random.split(jax.random.key(1), DRAWS)
    one = lambda total, key: (total + _noisy(w, batch, key), None)
    return jax.lax.scan(one, jnp.zeros(len(batch[1])), keys)[0] / DRAWS


def _apply(w: Params, x: jax.Array, noise: tuple[jax.Array, ...]) -> jax.Array:
    for W, xi in zip(w[:-1], noise, strict=True):
        x = jax.nn.relu(x @ W) * (1.0 + xi)
    return x @ w[-1]


def _linear(w: jax.Array, X: jax.Array) -> jax.Array:
    return X @ w
