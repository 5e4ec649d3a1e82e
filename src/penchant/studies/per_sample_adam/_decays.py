from typing import NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.per_sample_adam._runs import cosine, gap, simulate

# cosine of the finite-β limit with the fixed point, and how far it is known; runs that
# reach those limits: tests/theory/per_sample/test_per_sample_adam.py
KNOWN = {
    (10, 50, 0.9, 0.95): (0.999984, 2e-6),
    (50, 200, 0.9, 0.95): (0.9986, 3e-4),
    (10, 50, 0.0, 0.5): (0.92, 0.02),
    (50, 200, 0.0, 0.5): (0.88, 0.02),
}


class Sizes(NamedTuple):
    """Numbers of samples and of features."""

    shapes: tuple[tuple[int, int], ...]


SIZES = Presets(
    Sizes(((10, 50), (50, 200), (100, 400))),
    Sizes(((10, 50), (50, 200), (100, 400), (300, 1200), (1000, 2000))),
)


def decays(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""How far the limit at finite $\beta_2$ is from the fixed point, as $N$ grows.

    Gaussian data with $d=4N$ (50 for $N=10$), one sample a step, in turn. What matters
    is the epoch against the memory, $N(1-\beta_2)$.
    """
    (shapes,) = SIZES.of(preset)
    lines, points = [], {}
    for n, d in shapes:
        data = pn.datasets.gaussian(n, d, seed=seed)
        problem = data.problem(pn.losses.Exponential())
        proxy = pn.theory.per_sample.equilibrium(
            pn.theory.per_sample.adam_proxy(problem)
        )
        x, y = [], []
        for b1, b2 in ((0.9, 0.9), (0.9, 0.95), (0.9, 0.99), (0.9, 0.999), (0.0, 0.5)):
            adam = pn.optimizers.Adam(b1, b2, 0.0)
            told = pn.theory.per_sample.equilibrium(
                pn.theory.per_sample.adam_step(problem, adam)
            )
            near = cosine(told.step, proxy.step)
            if b1 > 0:
                x.append(n * (1.0 - b2))
                y.append(1.0 - near)
            lines.append(
                Line.between(
                    f"N = {n}, d = {d}, ({b1:g}, {b2:g}): VI gap",
                    -1e-13,
                    1e-10,
                    expected=0.0,
                    measured=told.gap,
                    certificate=(
                        f"drift {told.drift:.0e}, cosine with the fixed point "
                        f"{near:.6f}"
                    ),
                )
            )
            known = KNOWN.get((n, d, b1, b2)) if seed == 0 else None
            if known is not None:
                value, digits = known
                lines.append(
                    Line.near(
                        f"N = {n}, d = {d}, ({b1:g}, {b2:g}): cosine with the fixed "
                        "point",
                        expected=value,
                        within=digits,
                        measured=near,
                        certificate=f"VI gap {told.gap:.0e}",
                    )
                )
        points[f"N = {n}"] = np.array(x), np.array(y)
    n, d = 50, 200
    problem = pn.datasets.gaussian(n, d, seed=seed).problem(pn.losses.Exponential())
    adam = pn.optimizers.Adam(0.9, 0.95, 0.0)
    run = simulate(problem, adam, pn.batching.Cyclic(1), 400_000, 1e-4)
    told = pn.theory.per_sample.equilibrium(
        pn.theory.per_sample.adam_step(problem, adam)
    )
    lines.append(
        Line.most(
            f"N = {n}, d = {d}, (.9, .95): 1 - cosine of run and prediction",
            1e-6,
            measured=gap(run.increment(), told.step),
            certificate=f"VI gap {told.gap:.0e}",
        )
    )
    caption = (
        "1 - cosine between the limit at finite b2 and the fixed point (b2 → 1) "
        "against "
        "epoch over memory. Gaussian data, b1 = .9, b2 = .9, .95, .99, .999, samples "
        "in "
        f"turn, seed {seed}."
    )
    axes = pn.plotting.curves(
        points, points=points, xlabel="N (1 - b2)", ylabel="1 - cosine", logy=True
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})
