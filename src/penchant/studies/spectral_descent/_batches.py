import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._statistics import interval
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.spectral_descent._setup import (
    named,
)

SAMPLES = 40

RULES: dict[str, tuple[Any, pn.norms.AbstractNorm]] = {
    "Signum": (pn.optimizers.Signum, pn.norms.Linf()),
    "Muon": (pn.optimizers.Muon, pn.norms.Spectral()),
}


class Sizes(NamedTuple):
    """Steps of a run, seeds, rules, momenta, and batch sizes, the last of them all."""

    steps: int
    seeds: int
    rules: tuple[str, ...]
    memories: tuple[float, ...]
    batches: tuple[int, ...]


SIZES = Presets(
    Sizes(10_000, 3, ("Signum",), (0.0, 0.999), (1, SAMPLES)),
    Sizes(20_000, 5, tuple(RULES), (0.0, 0.5, 0.9, 0.99, 0.999), (1, 10, SAMPLES)),
)


def random_labels(seed: int, k: int = 4, d: int = 24, n: int = SAMPLES):
    """Gaussian samples with labels that have nothing to do with them."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, d)), rng.permutation(np.arange(n) % k)
    return pn.LinearClassification(X, y, loss=pn.losses.Logistic())


def batches(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Batch size against momentum: where normalised steps keep their geometry.

    Four classes with random labels, 40 samples in 24 dimensions; Signum and Muon with
    exact polar factors; shuffled batches of 1, 10 and all 40; steps $c/R_*\,t^{-1/2}$,
    $c=1$; five seeds of data and order. The quick preset takes Signum, batches of 1 and
    40, and three seeds. No theorem covers parts of the data: what is expected is the
    full batch's share from a memory of several epochs on, and less without memory.
    """
    steps, count, chosen, memories, sizes = SIZES.of(preset)
    some = range(seed, seed + count)
    lines, pictures = [], {}
    for name in chosen:
        rule, norm = RULES[name]
        ends: dict[tuple[int, float], list[float]] = {}
        for s in some:
            problem = random_labels(s)
            gamma = float(pn.max_margin(problem, norm, tol=1e-6).margin)
            R = pn.theory.longest_row(problem, norm)
            for size, b1 in itertools.product(sizes, memories):
                run = finished(
                    pn.train(
                        problem,
                        # an array: no memory is compiled as a memory of 0
                        rule(jnp.asarray(b1)),
                        steps=steps,
                        step_size=pn.schedules.power(1.0 / R, 0.5),
                        batching=_batching(size),
                        key=s,
                        record=8,
                    )
                )
                w = run.weights[-1]
                share = float(jnp.min(problem.margins(w))) / float(norm(w)) / gamma
                ends.setdefault((size, b1), []).append(share)
        lines += _lines(name, ends, memories)
        caption = (
            f"{name}: share of the largest {norm.label} margin after {steps:,} steps "
            "against the memory of the momentum in steps, by batch size of 40 samples "
            f"with random labels; mean of {named(some)}, bands from least to greatest. "
            "Below 0: not separated."
        )
        memory = [1.0 / (1.0 - b1) for b1 in memories]
        rows = {size: np.array([ends[size, b1] for b1 in memories]) for size in sizes}
        axes = pn.plotting.curves(
            {f"batches of {b}": (memory, r.mean(axis=1)) for b, r in rows.items()},
            bands={
                f"batches of {b}": (r.min(axis=1), r.max(axis=1))
                for b, r in rows.items()
            },
            xlabel="memory 1/(1 − b1), steps",
            ylabel="share of the margin",
            dots=True,
            size=(7.2, 2.8),
        )
        axes.axhline(0.0, linewidth=0.8, color="#6b7078")
        pictures[caption] = pn.plotting.themed_svg(axes, caption)
    return Figure(tuple(lines), pictures)


def _batching(size: int) -> Any:
    """All samples need no order."""
    return pn.batching.FullBatch() if size == SAMPLES else pn.batching.Shuffled(size)


def _lines(
    name: str, ends: Mapping[tuple[int, float], list[float]], memories: Sequence[float]
) -> list[Line]:
    whole, long = SAMPLES, memories[-1]
    lost = {b1: np.subtract(ends[whole, b1], ends[1, b1]) for b1 in (memories[0], long)}
    lines = [
        Line.between(
            f"{name}, b1 = {b1:g}, share with full batches",
            0.75,
            1.0,
            expected=0.95,
            measured=float(np.mean(ends[whole, b1])),
            certificate=interval(ends[whole, b1]),
        )
        for b1 in memories
    ]
    none = lost[memories[0]]
    lines.append(
        Line.least(
            f"{name}, lost with one sample and no memory",
            0.3,
            expected=0.9,
            measured=float(none.mean()),
            certificate=interval(list(none)),
        )
    )
    lines.append(
        Line.between(
            f"{name}, lost with one sample and b1 = {long:g}",
            -0.05,
            0.15,
            expected=0.0,
            measured=float(lost[long].mean()),
            certificate=(
                f"{interval(list(lost[long]))}; a memory of {1 / (1 - long):.0f} "
                "steps, an "
                "epoch of 40"
            ),
        )
    )
    return lines
