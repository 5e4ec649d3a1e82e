"""Figure 1 of the 2025 paper: a network against its memoryless maps."""

from typing import NamedTuple

import jax
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._statistics import interval
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.backward_error._setup import (
    images,
)


class Memory(NamedTuple):
    """Samples, hidden units, step sizes and steps of a run and its maps; seeds."""

    samples: int
    hidden: int
    step_sizes: tuple[float, ...]
    steps: int
    eps: tuple[float, ...]
    seeds: int


MEMORY = Presets(
    Memory(300, 16, (1e-4,), 50, (1e-2, 1e-6), 3),
    Memory(1000, 32, (1e-4, 3e-4), 200, (1e-2, 1e-6), 5),
)
NEARER = 0.35
"""Share of the plain map's median distance that a valid correction leaves at most."""

MEMORY_DATA = Presets(
    MEMORY.quick, Memory(10_000, 32, (1e-4, 3e-4), 50, (1e-2, 1e-6), 3)
)


def memory(
    preset: Preset | Memory = Preset.QUICK,
    seed: int = 0,
    data: pn.datasets.Dataset | None = None,
) -> Figure:
    r"""AdamW on a network against its memoryless map, corrected and not.

    The map is $w\leftarrow w-h(F+hM)$ from the same start, without $hM$ where it is not
    corrected. Where the correction is valid it is closer by an order; with a small
    $\varepsilon$ a few coordinates whose gradient changes sign decide the largest
    distance, and the median tells. With a small $\varepsilon$ and $h$ above
    $10^{-4}$ it is asked to be closer, and no more.

    Args:
        preset: How much to do, or sizes of one's own.
        seed: Of the starts and the samples: the first of them.
        data: Images, such as `datasets.load` reads from MNIST's idx files; None for
            the digits that come with scikit-learn.
    """
    sizes = (MEMORY if data is None else MEMORY_DATA).of(preset)
    drawn_from = [
        images(data, sizes.samples, sizes.hidden, s)
        for s in range(seed, seed + sizes.seeds)
    ]
    name = drawn_from[0][3]
    lines, pictures = [], {}
    for eps in sizes.eps:
        drawn = {}
        for h in sizes.step_sizes:
            rule = pn.optimizers.AdamW(
                0.9, 0.95, eps, 1e-3 / h, eps_inside=True, bias_correction=True
            )
            ratios, certificate = [], ""
            for problem, *_ in drawn_from:
                run, gaps = _from_maps(problem, rule, h, sizes.steps)
                plain, better = (gaps[k][-1] for k in ("memoryless", "corrected"))
                ratios.append(float(np.median(better) / np.median(plain)))
                if not certificate:
                    seen = pn.correction(
                        problem, rule, run.last, step_size=h, step=sizes.steps,
                        kind="map",
                    )  # fmt: skip
                    certificate = (
                        f"seed {seed}: median {np.median(plain):.2g} → "
                        f"{np.median(better):.2g}, largest {plain.max():.2g} → "
                        f"{better.max():.2g}, {seen.share_valid:.0%} of coordinates "
                        "valid"
                    )
                    steps = np.asarray(run.steps)
                    drawn |= {
                        f"{k}, h = {h:g}": (steps, np.maximum(gap.max(axis=1), 1e-18))
                        for k, gap in gaps.items()
                    }
            lines.append(
                Line.most(
                    f"ε = {eps:g}, h = {h:g}: median distance, corrected over not, "
                    "largest of the seeds",
                    NEARER if eps > 1e-4 or h <= 1e-4 else 1.0, measured=max(ratios),
                    certificate=f"{interval(ratios)}; {certificate}",
                )
            )  # fmt: skip
        caption = (
            f"{name}, {sizes.samples} images, AdamW .9/.95, ε = {eps:g}: largest "
            "distance of the run from its memoryless map."
        )
        axes = pn.plotting.curves(
            drawn, xlabel="steps", ylabel="ℓ∞ distance", logx=False, logy=True
        )
        pictures[caption] = pn.plotting.themed_svg(axes, caption)
    return Figure(tuple(lines), pictures)


def _from_maps(
    problem: pn.Objective, rule: pn.optimizers.AbstractOptimizer, h: float, steps: int
) -> tuple[pn.Trajectory, dict[str, np.ndarray]]:
    """A run, and each coordinate's distance from both maps at each of its records."""
    run = pn.train(problem, rule, step_size=h, steps=steps, record=steps,
                   progress=False)  # fmt: skip
    rows = np.asarray(run.steps)
    gaps = {}
    for label, order in (("memoryless", 1), ("corrected", 2)):
        path = pn.flows.modified_flow(
            problem, rule, step_size=h, steps=steps, kind="map", order=order
        )
        pairs = zip(jax.tree.leaves(path), jax.tree.leaves(run.weights), strict=True)
        gaps[label] = np.concatenate(
            [
                np.abs(np.asarray(a)[rows] - np.asarray(b)).reshape(len(rows), -1)
                for a, b in pairs
            ],
            axis=1,
        )
    return run, gaps
