"""Figure 1: two rules on one ellipse of minimisers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.adam_sharpness._setup import HUES

A, B = 2.0, 1.0
"""Half axes along x = y and along x = -y."""


class Sizes(NamedTuple):
    """Step sizes, seeds, and slow time."""

    step_sizes: tuple[float, ...]
    seeds: int
    time: float


SIZES = Presets(Sizes((0.02,), 16, 40.0), Sizes((0.02, 0.01, 0.005), 32, 40.0))


def problem() -> pn.Objective:
    r"""$\frac12(h-\delta)^2$, $h=\frac{(x+y)^2}{2a^2}+\frac{(y-x)^2}{2b^2}-1$."""

    def losses(w: Array, batch: Array, key: PRNGKeyArray) -> Array:
        x, y = w
        h = (x + y) ** 2 / (2 * A * A) + (y - x) ** 2 / (2 * B * B) - 1.0
        noise = jnp.where(jax.random.bernoulli(key), 0.5, -0.5)
        return 0.5 * (h - noise) ** 2 + 0.0 * batch

    start = np.array([-0.2, 1.2])
    return pn.Objective(losses, start, np.zeros(1), random=True)


def adam(step_size: float) -> pn.optimizers.Adam:
    r"""Adam on the slow clock, $1-\beta_2=\eta^2$."""
    return pn.optimizers.Adam(0.9, 1 - step_size**2, 0.0, bias_correction=True)


def angle(w: np.ndarray) -> np.ndarray:
    """The eccentric angle on the ellipse, which a distance from it leaves alone."""
    along, across = (w[..., 0] + w[..., 1]) / A, (w[..., 1] - w[..., 0]) / B
    return np.arctan2(across, along)


def ellipse(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""SGD ends at the flattest tip, Adam nearer an axis, where $H_{xx}$ has its zero.

    Tips in closed form: $\operatorname{tr}H=|\nabla h|^2$ is least at
    $(a,a)/\sqrt2$; $|\partial_xh|+|\partial_yh|$ at the kink $\partial_xh=0$,
    $(a^2-b^2,a^2+b^2)/\sqrt{2(a^2+b^2)}$, where $S$ is not smooth and the theory stops.
    """
    sizes = SIZES.of(preset)
    tips = {
        "SGD": np.array([A, A]) / np.sqrt(2),
        "Adam": np.array([A * A - B * B, A * A + B * B]) / np.sqrt(2 * (A * A + B * B)),
    }
    lines, drawn, points = [], {}, {}
    for name, tip in tips.items():
        for eta in sizes.step_sizes:
            rule = pn.optimizers.GradientDescent() if name == "SGD" else adam(eta)
            runs = pn.sweep(
                problem(), rule, grid={"seed": list(range(seed, seed + sizes.seeds))},
                steps=round(sizes.time / eta**2), step_size=eta, record=120,
                progress=False,
            )  # fmt: skip
            w = np.asarray(runs.weights)
            turned = angle(w[:, -1]) - angle(tip)
            error = float(turned.std(ddof=1) / np.sqrt(sizes.seeds))
            told = f"{sizes.seeds} seeds, ± {error:.1g}, T = {sizes.time:g}"
            lines.append(
                Line.near(
                    f"{name}, η = {eta:g}: angle past its tip, radians",
                    expected=0.0,
                    within=2.5 * eta if name == "Adam" else 0.01,
                    measured=float(turned.mean()),
                    certificate=told + (
                        "; at the kink it hovers at 1 to 2 η" if name == "Adam" else ""
                    ),
                )
            )  # fmt: skip
            if eta == sizes.step_sizes[0]:
                drawn[name] = tuple(w.mean(axis=0).T)
        points[f"{name}'s tip"] = tip[:, None]
    t = np.linspace(0, 2 * np.pi, 200)
    along, across = A * np.cos(t), B * np.sin(t)
    drawn = {
        "minimisers": ((along - across) / 2**0.5, (along + across) / 2**0.5)
    } | drawn
    caption = (
        "Runs on a noisy ellipse, mean of "
        f"{sizes.seeds} seeds, η = {sizes.step_sizes[0]:g} to T = {sizes.time:g}, and "
        "the tips that each is to reach (circles)."
    )
    axes = pn.plotting.curves(
        drawn,
        points=points,
        xlabel="x",
        ylabel="y",
        logx=False,
        size=(4.6, 4.2),
        colours={"minimisers": "#999999", **HUES,
                 **{f"{n}'s tip": HUES[n] for n in tips}},
    )  # fmt: skip
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})
