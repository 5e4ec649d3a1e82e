import math
from typing import NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.per_sample_adam._runs import (
    gap,
    increments,
    simulate,
    transient,
)

# growth a step where steps are too large for the memory, by loops in plain NumPy:
# tests/studies/test_expected.py
SPEED = {0.95: 0.025643, 0.99: 0.005025, 0.999: 0.000500}


class Sizes(NamedTuple):
    """How long the runs are whose read-outs are compared."""

    steps: int


SIZES = Presets(Sizes(300_000), Sizes(3_000_000))


def schedules(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Step sizes: what they change of the limit, of the speed, and of the read-out.

    A constant step size acts as $\beta_1e^r,\beta_2e^{2r}$ with $r$ the margin gained a
    step, which never exceeds $-\frac12\log\beta_2$.
    """
    problem = pn.datasets.gaussian(10, 50, seed=seed).problem(pn.losses.Exponential())
    turn = pn.batching.Cyclic(1)
    lines = []
    for eta in (1e-3, 1e-2):
        adam = pn.optimizers.Adam(0.9, 0.95, 0.0)
        run = simulate(problem, adam, turn, 400_000, eta)
        told = pn.theory.adam_limits(
            problem, adam, batching=turn, step_size=eta, starts=0
        ).reached
        lines.append(
            Line.most(
                f"η = {eta:g}: 1 - cosine of run and prediction",
                1e-10 + transient(run, told.rate or 0.0, told.pace),
                measured=gap(run.increment(), told.direction),
                certificate=f"VI gap {told.gap:.0e}, growth {told.growth:.3e} a step",
            )
        )
    for b2, seen in SPEED.items():
        adam = pn.optimizers.Adam(0.9, b2, 0.0)
        steps = int(2000 / (1.0 - b2))  # thousands of memories, after a bad start
        run = simulate(problem, adam, turn, steps, 1.0)
        least = np.asarray(run.margins).min(axis=1)
        half = int(np.searchsorted(np.asarray(run.steps), steps // 2))
        growth = float(least[-1] - least[half]) / (steps - steps // 2)
        limit = pn.theory.per_sample.growth_limit(0.9, b2)
        lines.append(
            Line.between(
                f"b2 = {b2:g}, η = 1: margin gained a step (limit {limit:.6f})",
                0.99 * limit,
                limit,
                expected=seen,
                measured=growth,
                certificate=f"{steps:,} steps",
            )
        )
    adam = pn.optimizers.Adam(0.9, 0.95, 0.0)
    told = pn.theory.per_sample.equilibrium(
        pn.theory.per_sample.adam_step(problem, adam, turn)
    )
    (steps,) = SIZES.of(preset)
    curves = {}
    for name, size in (
        ("a = 1", pn.schedules.power(1.0, 1.0)),
        ("a = .8", pn.schedules.power(1.0, 0.8)),
        ("constant 1e-4", 1e-4),
    ):
        run = simulate(problem, adam, turn, steps, size)
        at, moved = increments(run)
        weights = np.asarray(run.weights)
        angle = lambda rows: np.degrees(
            np.sqrt([2.0 * gap(w, told.step) for w in rows])
        )
        curves[f"{name}, w"] = np.asarray(run.steps), angle(weights)
        curves[f"{name}, increment"] = at, angle(moved)
        lines.append(
            Line.most(
                f"{name}: degrees of the increment, over those of w, after {steps:,}",
                0.5,
                measured=float(angle(moved[-1:])[0] / angle(weights[-1:])[0]),
                certificate=(
                    f"w is {float(angle(weights[-1:])[0]):.2g}° away, increments "
                    f"{math.log10(float(angle(moved[-1:])[0])):.1f} in log₁₀ degrees"
                ),
            )
        )
    caption = (
        "Angle to the predicted limit of the weights and of their increments w_t - "
        "w_t/2 "
        f"(one sample in turn, (.9, .95), ε = 0, Gaussian data, seed {seed}; "
        "η = (t+2)^-a or constant)."
    )
    axes = pn.plotting.curves(curves, xlabel="step", ylabel="degrees", logy=True)
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})
