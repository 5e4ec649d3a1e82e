import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.per_sample_adam._runs import (
    HUES,
    cosine,
    gap,
    rate_of,
    simulate,
    transient,
)

# cosines with ℓ2 and ℓ∞, Gaussian data of seed 0, by NumPy and SciPy:
# tests/studies/test_expected.py
KNOWN = {
    "with replacement": {
        1: (0.9741, 0.7556),
        2: (0.9769, 0.7728),
        5: (0.9750, 0.8026),
        10: (0.9663, 0.8285),
        50: (0.922, 0.889),
        1000: (0.824, 0.959),
    },
    "reshuffled": {2: (0.9772, 0.7762), 5: (0.9681, 0.8245)},
}
NINE = (0.9044, 0.9044)  # batches of nine, the tenth sample dropped

KINDS: dict[str, Any] = {
    "in turn": pn.batching.Cyclic,
    "reshuffled": pn.batching.Shuffled,
    "with replacement": pn.batching.WithReplacement,
}


class Sizes(NamedTuple):
    """How long runs are, batch sizes with limits (of ten samples), those with runs."""

    steps: int
    limits: Mapping[str, tuple[int, ...]]
    runs: Mapping[str, tuple[int, ...]]


DRAWN = (1, 2, 3, 4, 5, 7, 10, 20, 50, 100, 200, 500, 1000)
SIZES = Presets(
    Sizes(
        600_000,
        {**dict.fromkeys(KINDS, (1, 2, 3, 5, 7, 9)), "with replacement": DRAWN},
        dict.fromkeys(KINDS, (2,)),
    ),
    Sizes(
        2_000_000,
        {**dict.fromkeys(KINDS, tuple(range(1, 10))), "with replacement": DRAWN},
        dict.fromkeys(KINDS, (1, 2, 5)),
    ),
)


def batch_size(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Figure 6 and beyond: the limit for every batch size and order, and runs.

    Gaussian data, $N=10$, $d=50$; predictions for $\beta_2\to1$, runs at
    $\beta_2=.999$, $\eta=2\cdot10^{-4}$.
    """
    sizes = SIZES.of(preset)
    steps = sizes.steps
    problem = pn.datasets.gaussian(10, 50, seed=seed).problem(pn.losses.Exponential())
    l2 = pn.max_margin(problem, pn.norms.L2()).weights
    linf = pn.max_margin(problem, pn.norms.Linf()).weights
    adam = pn.optimizers.Adam(0.9, 0.999, 0.0)
    lines: list[Line] = []
    curves: dict[str, dict[str, Any]] = {"ℓ2": {}, "ℓ∞": {}}
    dots: dict[str, dict[str, Any]] = {"ℓ2": {}, "ℓ∞": {}}
    for name, kind in KINDS.items():
        limits = {
            b: pn.theory.per_sample.equilibrium(
                pn.theory.per_sample.adam_proxy(problem, kind(b))
            )
            for b in sizes.limits[name]
        }
        for b, known in KNOWN.get(name, {}).items():
            if seed != 0 or b not in limits:
                continue
            for norm, w, value in zip(("ℓ2", "ℓ∞"), (l2, linf), known, strict=True):
                digits = 1e-3 if b >= 50 else 1e-4  # the last one printed
                lines.append(
                    Line.near(
                        f"{name}, b = {b}: cosine of the limit with {norm}",
                        expected=value,
                        within=digits,
                        measured=cosine(limits[b].step, w),
                        certificate=f"VI gap {limits[b].gap:.0e}",
                    )
                )
        ran = {}
        for b in sizes.runs[name]:
            run = simulate(problem, adam, kind(b), steps, 2e-4, seed=seed)
            told = pn.theory.adam_limits(
                problem, adam, batching=kind(b), starts=0, draws=0
            ).reached
            rate = rate_of(told)
            left = transient(run, rate, float(limits[b].margin))
            ran[b] = run.increment()
            lines.append(
                Line.most(
                    f"{name}, b = {b}: 1 - cosine of run (b2 = .999) and limit",
                    1e-5 + left,
                    measured=gap(ran[b], limits[b].step),
                    certificate=f"VI gap {limits[b].gap:.0e}, slowest rate {rate:.2g}",
                )
            )
        for norm, w in (("ℓ2", l2), ("ℓ∞", linf)):
            near = [cosine(limit.step, w) for limit in limits.values()]
            curves[norm][name] = np.array(list(limits)), np.array(near)
            dots[norm][name] = list(ran), np.array([cosine(u, w) for u in ran.values()])
    if seed == 0:
        # the library keeps a short last batch, which one sample alone here fills
        whole = pn.theory.per_sample.adam_proxy(problem, pn.batching.Shuffled(1))
        dropped = dataclasses.replace(whole, noise=jnp.asarray(1.0 / 81.0))
        limit = pn.theory.per_sample.equilibrium(dropped)
        lines += [
            Line.near(
                f"reshuffled, b = 9, last batch dropped: cosine with {norm}",
                expected=value,
                within=1e-4,
                measured=cosine(limit.step, w),
                certificate=f"VI gap {limit.gap:.0e}",
            )
            for norm, w, value in zip(("ℓ2", "ℓ∞"), (l2, linf), NINE, strict=True)
        ]
    pictures = {}
    for norm in ("ℓ2", "ℓ∞"):
        caption = (
            f"Cosine of Adam's limit with the {norm} max margin against batch size, "
            f"b2 → 1 (curves) and runs at b2 = .999, {steps:,} steps (circles). "
            "Gaussian "
            f"data, N = 10, d = 50, seed {seed}. Ten samples drawn with replacement "
            "are "
            "not a full batch."
        )
        axes = pn.plotting.curves(
            curves[norm],
            points=dots[norm],
            xlabel="batch size b",
            ylabel=f"cosine with {norm}",
            colours=HUES,
        )
        pictures[caption] = pn.plotting.themed_svg(axes, caption)
    return Figure(tuple(lines), pictures)
