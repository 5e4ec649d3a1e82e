from typing import NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.gradient_matching._setup import images, network


class Sizes(NamedTuple):
    """Samples, widths, step sizes of descent, and steps with momentum.

    `momenta` are each with its step size and how far the quotient may be from 1, which
    is of the order of the step size.
    """

    samples: int
    widths: tuple[int, ...]
    etas: tuple[float, ...]
    steps: int
    momenta: tuple[tuple[float, float, float], ...]


SIZES = Presets(
    Sizes(128, (24,), (0.01, 0.1), 200, ((0.5, 0.01, 0.05),)),
    Sizes(
        2048,
        (50, 200),
        (3e-3, 0.01, 0.03, 0.1, 0.3),
        400,
        ((0.5, 0.01, 0.05), (0.9, 3e-3, 0.15), (0.9, 1e-3, 0.05)),
    ),
)


def finite_steps(
    preset: Preset | Sizes = Preset.QUICK,
    seed: int = 0,
    data: pn.datasets.Dataset | None = None,
) -> Figure:
    r"""What finite steps and momentum add to the loss, read off runs.

    A network of five hidden tanh layers on images, two hundred steps of .1 from its
    start; then five steps of all samples. Gradient descent adds
    $\frac\eta4\|\nabla\mathcal L\|^2$, heavy-ball momentum
    $\frac{\eta(1+\mu)}{4(1-\mu)^2}$ times that. As published the quotient has a bias of
    the order of $\eta$ times curvature, which extrapolation removes.
    """
    sizes = SIZES.of(preset)
    X, y, classes, name = images(data, sizes.samples, seed)
    norm = [pn.penalties.GradientNorm()]
    ways = {
        "as published": pn.estimators.FlowReference(10, extrapolate=False),
        "extrapolated": pn.estimators.FlowReference(10),
    }
    off: dict[str, tuple[list[float], list[float]]] = {}
    lines = []
    for width in sizes.widths:
        loss = network(X, y, classes, (width,) * 5, seed)
        warm = finished(pn.train(loss, "gd", steps=200, step_size=0.1, record=2)).last
        told: dict[str, list[float]] = {word: [] for word in ways}
        for eta in sizes.etas:
            run = finished(
                pn.train(loss, "gd", steps=5, step_size=eta, init=warm, record=2)
            )
            for word, way in ways.items():
                says = pn.estimators.match_run(run, norm, residual=way)
                told[word].append(float(says.coefficients[0]) / (eta / 4))
            lines.append(
                Line.near(
                    f"width {width}, η = {eta:g}: coefficient over η/4, extrapolated",
                    expected=1.0,
                    within=2e-3,
                    measured=told["extrapolated"][-1],
                    certificate=f"as published {told['as published'][-1]:.4f}",
                )
            )
        away = np.abs(np.array(told["as published"]) - 1.0)
        power = np.log(away[-1] / away[0]) / np.log(sizes.etas[-1] / sizes.etas[0])
        lines.append(
            Line.between(
                f"width {width}: power of η by which the published way is off",
                0.7,
                1.3,
                expected=1.0,
                measured=float(power),
                certificate="published: .99 at η = .003, .78 at .1",
            )
        )
        for word, values in told.items():
            far = np.maximum(np.abs(np.array(values) - 1.0), 1e-12)
            off[f"width {width}, {word}"] = (list(sizes.etas), far.tolist())
        for mu, eta, within in sizes.momenta:
            rule = pn.optimizers.GradientDescent(mu)
            run = finished(
                pn.train(
                    loss, rule, steps=sizes.steps, step_size=eta, init=warm, record=2
                )
            )
            says = pn.estimators.match_run(run, norm)
            theory = eta * (1 + mu) / (4 * (1 - mu) ** 2)
            lines.append(
                Line.near(
                    f"width {width}, momentum {mu:g} at η = {eta:g}: over theory",
                    expected=1.0,
                    within=within,
                    measured=float(says.coefficients[0]) / theory,
                    certificate=f"R² {says.r2:.4f}",
                )
            )
    caption = (
        "Distance of the coefficient from η/4, relative to it, by step size: five "
        f"steps of networks of five hidden tanh layers ({name}, {len(y)} samples, seed "
        f"{seed})."
    )
    axes = pn.plotting.curves(
        off, xlabel="step size", ylabel="relative error", logy=True, dots=True
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})
