from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.gradient_matching._setup import images, network


class Sizes(NamedTuple):
    """Steps of each run, step sizes of descent, and momenta with theirs.

    `deep` are samples, width and step sizes of the network of five hidden layers.
    """

    steps: int
    etas: tuple[float, ...]
    momenta: tuple[tuple[float, float, float], ...]
    deep: tuple[int, int, tuple[float, ...]]


# the last of each triple is how far the quotient may be from 1: it is of order η
SIZES = Presets(
    Sizes(300, (0.03, 0.01), ((0.5, 0.003, 0.05),), (128, 24, (0.01, 0.1))),
    Sizes(
        2000,
        (0.03, 0.01, 0.003),
        ((0.5, 0.003, 0.05), (0.5, 0.001, 0.02), (0.9, 3e-4, 0.15), (0.9, 1e-4, 0.06)),
        (2048, 50, (3e-3, 0.01, 0.03, 0.1, 0.3)),
    ),
)


def finite_steps(
    preset: Preset | Sizes = Preset.QUICK,
    seed: int = 0,
    data: pn.datasets.Dataset | None = None,
) -> Figure:
    r"""What finite steps and momentum add to the loss, read off runs.

    A network of one hidden layer of ten tanh units on thirty Gaussian samples. Gradient
    descent adds $\frac\eta4\|\nabla\mathcal L\|^2$, heavy-ball momentum
    $\frac{\eta(1+\mu)}{4(1-\mu)^2}$ times that. As published the quotient has a bias of
    the order of $\eta$ times curvature, which extrapolation removes. Then a network of
    five hidden tanh layers on images, trained by batches of 128, and five steps of all
    samples from where it came to, as published.
    """
    steps, etas, momenta, deep = SIZES.of(preset)
    loss = _network(seed)
    norm = [pn.penalties.GradientNorm()]
    lines, plain, fine = [], [], []
    for eta in etas:
        run = finished(
            pn.train(loss, pn.optimizers.GradientDescent(), steps=steps, step_size=eta)
        )
        usual = pn.estimators.match_run(
            run, norm, residual=pn.estimators.FlowReference(extrapolate=False)
        )
        exact = pn.estimators.match_run(run, norm)
        plain.append(float(usual.coefficients[0]) / (eta / 4))
        fine.append(float(exact.coefficients[0]) / (eta / 4))
        lines.append(
            Line.near(
                f"coefficient over η/4 at η = {eta:g}, extrapolated",
                expected=1.0,
                within=2e-3,
                measured=fine[-1],
                certificate=f"without extrapolation {plain[-1]:.4f}; R² {exact.r2:.6f}",
            )
        )
    for mu, eta, within in momenta:
        rule = pn.optimizers.GradientDescent(mu)
        run = finished(pn.train(loss, rule, steps=steps, step_size=eta))
        says = pn.estimators.match_run(run, norm)
        theory = eta * (1 + mu) / (4 * (1 - mu) ** 2)
        lines.append(
            Line.near(
                f"momentum {mu:g} at η = {eta:g}: coefficient over theory",
                expected=1.0,
                within=within,
                measured=float(says.coefficients[0]) / theory,
                certificate=f"R² {says.r2:.4f}",
            )
        )
    tried, told, best, where = _deep(data, *deep, seed)
    for eta, usual, exact in zip(tried, told, best, strict=True):
        lines.append(
            Line.between(
                f"five tanh layers, η = {eta:g}: extrapolated distance from η/4",
                0.0,
                max(0.02, abs(usual - 1.0)),
                expected=0.0,
                measured=abs(exact - 1.0),
                certificate=f"coefficient over η/4 {exact:.5f}; published {usual:.4f}",
            )
        )
    lines.append(
        Line.least(
            "five tanh layers: published way, its distance at the largest η over least",
            2.0,
            expected=tried[-1] / tried[0],
            measured=abs(told[-1] - 1.0) / abs(told[0] - 1.0),
            certificate="published .99 at η = .003, .78 at .1",
        )
    )
    caption = (
        "Distance of the coefficient from η/4, relative to it, by step size: a small "
        f"network of {steps:,} steps, and {where}, five steps (seed {seed})."
    )
    off = lambda values: np.maximum(np.abs(np.array(values) - 1.0), 1e-12)
    axes = pn.plotting.curves(
        {
            "small, as published": (etas, off(plain)),
            "small, extrapolated": (etas, off(fine)),
            "deep, as published": (tried, off(told)),
            "deep, extrapolated": (tried, off(best)),
        },
        xlabel="step size",
        ylabel="relative error",
        logy=True,
        dots=True,
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _deep(
    data: pn.datasets.Dataset | None,
    samples: int,
    width: int,
    etas: tuple[float, ...],
    seed: int,
) -> tuple[tuple[float, ...], list[float], list[float], str]:
    """Coefficients over η/4 of five steps, as published and extrapolated."""
    X, y, classes, name = images(data, samples, seed)
    loss = network(X, y, classes, (width,) * 5, seed)
    batches = pn.batching.Shuffled(min(128, len(y)))
    warm = finished(
        pn.train(
            loss, "gd", steps=200, step_size=0.1, batching=batches, key=seed, record=2
        )
    )
    norm = [pn.penalties.GradientNorm()]
    ways = [pn.estimators.FlowReference(10, extrapolate=x) for x in (False, True)]
    found: tuple[list[float], list[float]] = ([], [])
    for eta in etas:
        run = pn.train(loss, "gd", steps=5, step_size=eta, init=warm.last, record=2)
        for way, values in zip(ways, found, strict=True):
            says = pn.estimators.match_run(run, norm, residual=way)
            values.append(float(says.coefficients[0]) / (eta / 4))
    where = f"five tanh layers of {width} on {len(y)} of {name}"
    return etas, *found, where


def _apply(w: dict[str, jnp.ndarray], X: jnp.ndarray) -> jnp.ndarray:
    return jnp.tanh(X @ w["U"]) @ w["v"]


def _network(seed: int) -> pn.Regression:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(30, 4))
    w = {"U": 0.5 * rng.normal(size=(4, 10)), "v": 0.5 * rng.normal(size=10)}
    return pn.Regression(_apply, w, X, np.sin(X[:, 0]) + 0.5 * X[:, 1])
