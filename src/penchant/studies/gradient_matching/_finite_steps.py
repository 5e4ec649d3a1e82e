from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._study import Figure, Preset, Presets


class Sizes(NamedTuple):
    """Steps of each run, step sizes of descent, and momenta with theirs."""

    steps: int
    etas: tuple[float, ...]
    momenta: tuple[tuple[float, float, float], ...]


# the last of each triple is how far the quotient may be from 1: it is of order η
SIZES = Presets(
    Sizes(300, (0.03, 0.01), ((0.5, 0.003, 0.05),)),
    Sizes(
        2000,
        (0.03, 0.01, 0.003),
        ((0.5, 0.003, 0.05), (0.5, 0.001, 0.02), (0.9, 3e-4, 0.15), (0.9, 1e-4, 0.06)),
    ),
)


def finite_steps(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""What finite steps and momentum add to the loss, read off runs.

    A network of one hidden layer of ten tanh units on thirty Gaussian samples. Gradient
    descent adds $\frac\eta4\|\nabla\mathcal L\|^2$, heavy-ball momentum
    $\frac{\eta(1+\mu)}{4(1-\mu)^2}$ times that. As published the quotient has a bias of
    the order of $\eta$ times curvature, which extrapolation removes.
    """
    steps, etas, momenta = SIZES.of(preset)
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
    caption = "Distance of the coefficient from η/4, relative to it, by step size."
    off = lambda values: np.maximum(np.abs(np.array(values) - 1.0), 1e-12)
    axes = pn.plotting.curves(
        {"as published": (etas, off(plain)), "extrapolated": (etas, off(fine))},
        xlabel="step size",
        ylabel="relative error",
        logy=True,
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _apply(w: dict[str, jnp.ndarray], X: jnp.ndarray) -> jnp.ndarray:
    return jnp.tanh(X @ w["U"]) @ w["v"]


def _network(seed: int) -> pn.Regression:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(30, 4))
    w = {"U": 0.5 * rng.normal(size=(4, 10)), "v": 0.5 * rng.normal(size=10)}
    return pn.Regression(_apply, w, X, np.sin(X[:, 0]) + 0.5 * X[:, 1])
