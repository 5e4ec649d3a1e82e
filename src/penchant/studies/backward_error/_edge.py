"""Figures 5 and 6 of the 2025 paper: the edge of stability."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._statistics import interval
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.backward_error._setup import (
    images,
    squared,
)

EDGE_SECOND = 0.99
r"""$\beta_2$ of these runs: with .999 they come to the edge ten times as late."""


class Edge(NamedTuple):
    """Samples, hidden units, step size, steps, records and seeds."""

    samples: int
    hidden: int
    step_size: float
    steps: int
    records: int
    seeds: int


EDGE = Presets(Edge(100, 32, 1e-3, 1600, 8, 3), Edge(500, 32, 1e-3, 6000, 24, 5))


def edge(preset: Preset | Edge = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Preconditioned sharpness against $(2+2\beta_1)/((1-\beta_1)\eta)$.

    Beyond it steps oscillate, and no expansion in small steps holds. With squared
    errors and $\beta_1=.9$ the run comes to the edge and stays; with .99 the edge is
    ten times farther, and is come to later or not at all. With cross-entropy the
    curvature fades with the loss, and the same network stays far below.
    """
    sizes = EDGE.of(preset)
    marks = np.unique(np.geomspace(30, sizes.steps, sizes.records).astype(int))
    lines, drawn = [], {}
    cases = (
        (0.9, squared, "squared errors", 0.85, 1.3),
        (0.99, squared, "squared errors", 0.0, 1.15),
        (0.9, lambda problem: problem, "cross-entropy", 0.0, 0.85),
    )
    for b1, made, loss, low, high in cases:
        rule = pn.optimizers.Adam(b1, EDGE_SECOND, 1e-8, bias_correction=True)
        ratios = []
        for s in range(seed, seed + sizes.seeds):
            problem, *_ = images(None, sizes.samples, sizes.hidden, s)
            ratios.append(_edge_ratios(made(problem), rule, sizes.step_size, marks))
        name = f"β₁ = {b1:g}, {loss}"
        drawn[name] = (marks, np.mean(ratios, axis=0))
        ends = [row[-1] for row in ratios]
        worst = min(ends) if low > 0 else max(ends)
        lines.append(
            Line.between(
                f"{name}: sharpness over the edge at the end, "
                f"{'least' if low > 0 else 'largest'} of the seeds", low, high,
                expected=1.0 if b1 == 0.9 and low > 0 else 0.5, measured=worst,
                certificate=interval(ends),
            )
        )  # fmt: skip
    caption = (
        "Preconditioned sharpness over (2 + 2β₁)/((1 − β₁)η), full-batch Adam at "
        f"η = {sizes.step_size:g}, β₂ = {EDGE_SECOND:g}, a network of {sizes.hidden} "
        f"hidden units on {sizes.samples} digits, mean of {sizes.seeds} seeds."
    )
    axes = pn.plotting.curves(
        drawn, xlabel="steps", ylabel="sharpness / edge", levels={"the edge": 1.0},
        dots=True, logy=True,
    )  # fmt: skip
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _edge_ratios(
    problem: pn.Objective, rule: pn.optimizers.Adam, h: float, marks: np.ndarray
) -> list[float]:
    """λ₁ of the Hessian over what the step is divided by, over the edge, at `marks`."""
    b1 = float(rule.b1)
    edge_at = (2.0 + 2.0 * b1) / ((1.0 - b1) * h)
    ratios, run = [], None
    for upto, before in zip(marks, [0, *marks[:-1]], strict=True):
        run = pn.train(problem, rule, step_size=h, steps=int(upto - before), record=2,
                       progress=False, after=run)  # fmt: skip
        # corrected as the rule corrects it; a stage counts on from where it began
        seen = -np.expm1(float(run.state.optimizer.count) * np.log(float(rule.b2)))
        below = jax.tree.map(
            lambda v, seen=seen: jnp.sqrt(jnp.exp(v) / seen) + float(rule.eps),
            rule.log_second(run.state.optimizer),
        )
        found = pn.measures.sharpness(problem, run.last, preconditioner=below)
        ratios.append(float(found.preconditioned) / edge_at)
    return ratios
