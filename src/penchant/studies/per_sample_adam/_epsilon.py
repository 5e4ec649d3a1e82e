import math
from typing import NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.per_sample_adam._runs import cosine, gap, increments, simulate


class Sizes(NamedTuple):
    """How long runs are."""

    steps: int


SIZES = Presets(Sizes(300_000), Sizes(2_000_000))


def epsilon(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""The default $\varepsilon=10^{-8}$ ends every geometry but $\ell_2$.

    Gaussian data, $N=10$, $d=50$, $(.9,.95)$, $\eta=10^{-3}$; full batches and single
    samples. Directions of increments against the margin reached.
    """
    (steps,) = SIZES.of(preset)
    problem = pn.datasets.gaussian(10, 50, seed=seed).problem(pn.losses.Exponential())
    l2 = pn.max_margin(problem, pn.norms.L2()).weights
    lines, curves = [], {}
    for eps in (0.0, 1e-16, 1e-8):
        for name, batching in (
            ("full batch", pn.batching.FullBatch()),
            ("b = 1", pn.batching.Cyclic(1)),
        ):
            adam = pn.optimizers.Adam(0.9, 0.95, eps)
            run = simulate(problem, adam, batching, steps, 1e-3, seed=seed)
            at, moved = increments(run)
            least = np.asarray(run.margins).min(axis=1)[-len(at) :]
            away = np.array([gap(w, l2) for w in moved])
            wide = least > 0.5
            label = f"{name}, ε = {eps:.0e}" if eps else f"{name}, ε = 0"
            curves[label] = least[wide], away[wide]
            if eps == 0:
                continue
            lines.append(
                Line.between(
                    f"{label}: cosine of the last increments with ℓ2",
                    0.98,
                    1.0 + 1e-12,
                    expected=1.0,
                    measured=cosine(run.increment(), l2),
                    certificate="ε > 0 is gradient descent in the end",
                )
            )
            told = pn.predict(problem, adam, batching=batching, step_size=1e-3)
            start = next(r.start for r in told.regimes if r.name == "below ε")
            # where the steps fall to half of what they would be without ε
            speed = np.gradient(least, at)
            before = np.median(speed[(at > start / 8) & (at < start / 3)])
            slowed = at[(speed < 0.5 * before) & (at > start / 3)]
            seen = float(slowed[0]) if slowed.size else math.inf
            lines.append(
                Line.between(
                    f"{label}: step of the crossover, measured over predicted",
                    0.5,
                    2.0,
                    expected=1.0,
                    measured=seen / start,
                    certificate=f"predicted at step {start:,.0f}",
                )
            )
    caption = (
        "1 - cosine between increments and the ℓ2 max margin against the least margin "
        f"reached. Gaussian data, N = 10, d = 50, seed {seed}, (.9, .95), η = 1e-3, "
        f"{steps:,} steps. With ε runs turn to ℓ2 once gradients fall below it."
    )
    axes = pn.plotting.curves(
        curves,
        xlabel="least margin",
        ylabel="1 - cosine with ℓ2",
        logy=True,
        marks={"-log 1e-8": 8 * math.log(10), "-log 1e-16": 16 * math.log(10)},
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})
