import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._study import Figure, Line, Preset
from penchant.studies.spectral_descent._setup import curves, finished, steps_of

SIZES = (1, 10, 40)


def random_labels(seed: int, k: int = 4, d: int = 24, n: int = 40):
    """Gaussian samples with labels that have nothing to do with them."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, d)), rng.permutation(np.arange(n) % k)
    return pn.LinearClassification(X, y, loss=pn.losses.Logistic())


def batches(preset: Preset = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Batch size against momentum: where normalised steps keep their geometry.

    Four classes with random labels, 40 samples in 24 dimensions; Signum and Muon with
    exact polar factors; shuffled batches of 1, 10 and 40; steps $c/R_*\,t^{-1/2}$,
    $c=1$. The quick preset takes Signum, and batches of 1 and 40. No theorem covers
    parts of the data: what is expected is the full batch's share from a memory of
    several epochs on, and less without memory.
    """
    steps = steps_of(preset, 10_000, 40_000)
    memories = (0.0, 0.999) if preset.quick else (0.0, 0.5, 0.9, 0.99, 0.999)
    sizes = SIZES[::2] if preset.quick else SIZES
    problem = random_labels(seed)
    lines, pictures = [], {}
    rules = {
        "Signum": (pn.optimizers.Signum, pn.norms.Linf()),
        "Muon": (pn.optimizers.Muon, pn.norms.Spectral()),
    }
    if preset.quick:
        del rules["Muon"]
    for name, (rule, norm) in rules.items():
        gamma = float(pn.max_margin(problem, norm, tol=1e-6).margin)
        R = pn.theory.longest_row(problem, norm)
        ends = {}
        for size in sizes:
            for b1 in memories:
                run = finished(
                    pn.train(
                        problem,
                        rule(b1),
                        steps=steps,
                        step_size=pn.schedules.power(1.0 / R, 0.5),
                        batching=pn.batching.Shuffled(size),
                        key=seed,
                        record=8,
                    )
                )
                w = run.weights[-1]
                least = float(jnp.min(problem.margins(w)))
                ends[size, b1] = least / float(norm(w)) / gamma
        for b1 in memories:
            full = ends[SIZES[-1], b1]
            lines.append(
                Line(
                    f"{name}, b1 = {b1:g}, share with full batches",
                    0.95,
                    0.75,
                    1.0,
                    full,
                )
            )
        loss = ends[SIZES[-1], 0.0] - ends[1, 0.0]
        lines.append(
            Line(f"{name}, lost with one sample and no memory", 0.9, 0.3, 10.0, loss)
        )
        long = memories[-1]
        lost = ends[SIZES[-1], long] - ends[1, long]
        lines.append(
            Line(
                f"{name}, lost with one sample and b1 = {long:g}",
                0.0,
                -0.05,
                0.15,
                lost,
                f"a memory of {1 / (1 - long):.0f} steps, an epoch of 40",
            )
        )
        caption = (
            f"{name}: share of the largest {norm.label} margin after {steps:,} steps "
            "against the memory of the momentum in steps, by batch size of 40 samples "
            f"with random labels, seed {seed}. Below 0: not separated."
        )
        memory = [1.0 / (1.0 - b1) for b1 in memories]
        axes = curves(
            {
                f"batches of {size}": (memory, [ends[size, b1] for b1 in memories])
                for size in sizes
            },
            x="memory 1/(1 − b1), steps",
            y="share of the margin",
            logs="x",
            marks=True,
            size=(7.2, 2.8),
        )
        axes.axhline(0.0, linewidth=0.8, color="#6b7078")
        pictures[caption] = pn.plotting.themed_svg(axes, caption)
    return Figure(tuple(lines), pictures)
