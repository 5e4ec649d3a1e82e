"""Off the slow clock's scales: large steps, other β₂, ε."""

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.adam_sharpness._setup import monomial, two_outputs

ENDS: tuple[tuple[str, Any, float, float], ...] = (
    ("SGD", pn.optimizers.GradientDescent(), 0.1, 0.97354),
    ("SGD", pn.optimizers.GradientDescent(), 0.5, 0.96139),
    ("SGD", pn.optimizers.GradientDescent(), 0.8, 0.94571),
    ("Adam, β₁ = 0", pn.optimizers.Adam(0.0, 0.999, 0.0), 0.5, 1.04847),
    ("Adam, β₁ = 0", pn.optimizers.Adam(0.0, 0.999, 0.0), 0.8, 1.04137),
    ("Adam, β₁ = .9", pn.optimizers.Adam(0.9, 0.999, 0.0), 0.5, 1.06854),
)
"""Rule, share of the largest stable step, and where x comes to rest, to five digits."""


class Sizes(NamedTuple):
    """Cases of large steps, and seeds and slow time of the runs over β₂."""

    ends: tuple[int, ...]
    seeds: int
    time: float


SIZES = Presets(Sizes((0, 3), 64, 12.0), Sizes(tuple(range(len(ENDS))), 512, 12.0))


def steps(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Where large steps come to rest: $\operatorname{tr}\log(I-\frac b2SH)$.

    Two outputs $x^2y$ and $y^2z$; x on the minimisers' curve, by the share of the
    largest stable step. Expected are the roots of the semi-gradient by another program.
    """
    del seed
    sizes, small, noise = SIZES.of(preset), 1e-7, 1e-4
    problem = two_outputs(0.0)
    lines, drawn = [], {}
    for number in sizes.ends:
        name, rule, share, x = ENDS[number]
        b1 = rule.character().b1
        rest = pn.flows.stationary(problem, rule, noise=noise, step_size=small)
        edge = rest.edge / small * (1 + b1) / (1 - b1)
        at = pn.flows.stationary(problem, rule, noise=noise, step_size=share / edge)
        lines.append(
            Line.near(
                f"{name}, {share:.0%} of the largest stable step: x at rest",
                expected=x,
                within=6e-6,
                measured=float(at.weights[0]),
                certificate=f"drift left {at.residual:.0e}; with small steps "
                f"{float(rest.weights[0]):.5f}",
            )
        )
        drawn.setdefault(name, [(0.0, float(rest.weights[0]))]).append((
            share,
            float(at.weights[0]),
        ))
    caption = "x at rest on x²y = y²z = 1 by the share of the largest stable step."
    axes = pn.plotting.curves(
        {name: tuple(np.array(sorted(at)).T) for name, at in drawn.items()},
        xlabel="share of the largest stable step",
        ylabel="x at rest",
        logx=False,
        dots=True,
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def memory(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""β₂ off the scale of η²: the end shifts, by about 1.2 (1 - β₂).

    With two outputs the noise of $v$ does not cancel. x at the end of runs, over that
    for the longest memory.
    """
    sizes = SIZES.of(preset)
    eta = 0.02
    b2s = (0.999, 0.99, 0.9)
    runs = pn.sweep(
        two_outputs(0.5, (1.06, 0.89, 1.26)),
        pn.optimizers.Adam(0.9, 0.999, 0.0, bias_correction=True),
        grid={"b2": list(b2s), "seed": list(range(seed, seed + sizes.seeds))},
        steps=round(sizes.time / eta**2), step_size=eta, record=40, progress=False,
    )  # fmt: skip
    # raw weights: what they are off the curve by is the same for all memories
    x = np.asarray(runs.weights)[:, :, -8:, 0].mean(axis=2)
    ends, error = x.mean(axis=1), x.std(axis=1, ddof=1) / np.sqrt(sizes.seeds)
    lines = []
    for b2, end, spread in zip(b2s[1:], ends[1:], error[1:], strict=True):
        shift = abs(float(end - ends[0]))
        lines.append(
            Line.between(
                f"β₂ = {b2:g}: shift of the end over 1 - β₂",
                0.3,
                3.0,
                expected=1.2,
                measured=shift / (1 - b2),
                certificate=f"x = {end:.4f} ± {spread:.1g}, {ends[0]:.4f} ± "
                f"{error[0]:.1g} at β₂ = .999; {sizes.seeds} seeds, η = {eta:g}",
            )
        )
    return Figure(tuple(lines))


def epsilon(preset: Preset | tuple[float, ...] = Preset.QUICK, seed: int = 0) -> Figure:
    r"""ε between Adam and SGD: the flow's end on $x^2y=1$, label noise 1.

    Least is $\sum_j\psi(H_{jj})$, here by a search along the curve, with
    $\psi(x)=\sqrt x-\varepsilon\ln(\sqrt x+\varepsilon)$: at ε = 0 Adam's measure,
    at ε = ∞ SGD's.
    """
    del seed
    every: tuple[float, ...] = (0.3, 1.0, 3.0)
    chosen = Presets[tuple[float, ...]](every[1:2], every).of(preset)
    problem = monomial((2, 1), (1.5, 1.0))
    lines, seen = [], []
    for eps in chosen:
        flow = pn.flows.slow_flow(
            problem, pn.optimizers.Adam(0.0, 0.999, eps), noise=1.0, time=300.0
        )

        def psi(log_x: float, eps: float = eps) -> float:
            root = np.array([2 * np.exp(-log_x), np.exp(2 * log_x)])
            return float(np.sum(root - eps * np.log(root + eps)))

        best: Any = minimize_scalar(
            psi, bounds=(-1.0, 1.0), method="bounded", options={"xatol": 1e-10}
        )
        seen.append(float(flow.last[0]))
        lines.append(
            Line.near(
                f"ε = {eps:g}: x at the flow's end",
                expected=float(np.exp(best.x)),
                within=1e-6,
                measured=seen[-1],
                certificate="expected: least ψ along the curve",
            )
        )
    caption = "x at the end of Adam's slow flow on x²y = 1 by ε, label noise 1."
    axes = pn.plotting.curves(
        {"flow": (np.array(chosen), np.array(seen))},
        xlabel="ε",
        ylabel="x at rest",
        dots=True,
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})
