"""Figures 3 and 4: deep matrix sensing, and how its message turns with the clock."""

from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.adam_sharpness._setup import cooled, least_nuclear, stages

FULL = pn.batching.FullBatch()

Layers: TypeAlias = list[Array] | list[np.ndarray]


class Sizes(NamedTuple):
    """Side, rank, measurements and layers; steps and step sizes of the two rules.

    `early` and `late` are Adam's step sizes; their steps bring T to .6 and beyond.
    """

    side: int
    rank: int
    n: int
    layers: int
    sgd: tuple[float, int]
    early: tuple[float, int] | None
    late: tuple[float, int]
    records: int = 8


SIZES = Presets(
    Sizes(10, 1, 40, 2, (0.005, 200_000), None, (5e-3, 100_000), 4),
    Sizes(20, 2, 100, 2, (0.01, 600_000), (1e-3, 600_000), (5e-3, 200_000)),
)

DEEP = Presets(
    Sizes(6, 1, 24, 3, (2e-3, 100_000), None, (3e-3, 50_000), 4),
    Sizes(8, 1, 40, 5, (2e-3, 600_000), None, (3e-3, 200_000)),
)


def factors(w: Layers) -> Array | np.ndarray:
    """The product of all layers, the first on the right."""
    M = w[0]
    for W in w[1:]:
        M = W @ M
    return M


class Task(NamedTuple):
    """Gaussian measurements of a matrix of low rank, label noise 1 on `noisy`."""

    noisy: pn.Regression
    quiet: pn.Regression
    A: np.ndarray
    truth: np.ndarray

    def error(self, w: Layers) -> float:
        r"""$\|M-M^*\|_F^2$."""
        return float(np.sum((np.asarray(factors(w)) - self.truth) ** 2))


def task(sizes: Sizes, seed: int) -> Task:
    """Measurements, and layers from a normal of .3."""
    rng = np.random.default_rng(seed)
    D = sizes.side
    U, V = (np.linalg.qr(rng.normal(size=(D, sizes.rank)))[0] for _ in range(2))
    # singular values about 3: |M*|_F^2 is 25 and more at the paper's rank
    s = 5.0 * np.ones(sizes.rank) / np.sqrt(sizes.rank)
    truth = (U * s) @ V.T
    A = rng.normal(size=(sizes.n, D, D))
    b = np.einsum("nij,ij->n", A, truth)
    scale = 0.3 if sizes.layers == 2 else 0.45
    w = [rng.normal(size=(D, D)) * scale for _ in range(sizes.layers)]
    apply = lambda w, X: jnp.einsum("nij,ij->n", X, factors(w))
    make = lambda noise: pn.Regression(apply, w, A, b, label_noise=noise)
    return Task(make(1.0), make(0.0), A, truth)


class Path(NamedTuple):
    """Along a run: slow times, both sharpnesses, and test loss, each cooled down."""

    times: np.ndarray
    trace: np.ndarray
    root_trace: np.ndarray
    error: np.ndarray


def path(
    given: Task,
    rule: pn.optimizers.AbstractOptimizer,
    step: tuple[float, int],
    records: int,
) -> Path:
    """A full-batch run with fresh label noise, its records cooled down first."""
    size, steps = step
    cuts = tuple(round(steps * (i + 1) / records) for i in range(records))
    runs = stages(given.noisy, rule, step_size=size, cuts=cuts, batching=FULL)
    rows = []
    for run in runs:
        w = cooled(given.quiet, run, step_size=size, steps=1_000)
        at = pn.measures.sharpness(given.quiet, w)
        rows.append((float(at.trace), float(at.root_trace), given.error(w)))
    trace, root, error = np.array(rows).T
    return Path(np.array(cuts) * size**2, trace, root, error)


def sensing(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Two layers: Adam's regulariser is a Schatten-½ quasi-norm, SGD's the nuclear.

    At T = .6 Adam has the larger test loss and tr H, as printed; run on, the sign
    turns: its test loss falls below SGD's and the nuclear norm's.
    """
    return _compared(SIZES.of(preset), seed, "Two layers")


def deep(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    """More layers: Adam run on does not generalise worse than SGD."""
    return _compared(DEEP.of(preset), seed, "More layers")


def _compared(sizes: Sizes, seed: int, what: str) -> Figure:
    given = task(sizes, seed)
    convex, gap = least_nuclear(given.A, np.asarray(given.quiet.y), 1e-5)
    nuclear = float(np.sum((convex - given.truth) ** 2))
    adam = pn.optimizers.Adam(0.9, 0.999, 1e-8)
    paths = {
        "SGD": path(given, pn.optimizers.GradientDescent(), sizes.sgd, sizes.records)
    }
    if sizes.early is not None:
        paths["Adam, small steps"] = path(given, adam, sizes.early, sizes.records)
    paths["Adam"] = path(given, adam, sizes.late, sizes.records)
    sgd, late = paths["SGD"], paths["Adam"]
    told = ", ".join(
        f"{name}: test {p.error[-1]:.3g}, tr H {p.trace[-1]:.4g}, tr Diag(H)^½ "
        f"{p.root_trace[-1]:.4g} at T = {p.times[-1]:.3g}"
        for name, p in paths.items()
    )
    told += f"; nuclear norm {nuclear:.3g} (gap {gap:.0e})"
    setting = (
        f"D = {sizes.side}, rank {sizes.rank}, n = {sizes.n}, {sizes.layers} layers"
    )
    lines = [
        Line.between(
            "Adam's tr Diag(H)^½ over SGD's at the ends",
            0.0,
            1.0,
            expected=0.5,
            measured=float(late.root_trace[-1] / sgd.root_trace[-1]),
            certificate=f"{setting}; {told}",
        ),
        Line.between(
            "Adam's test loss over SGD's at the ends",
            0.0,
            1.0,
            expected=0.1,
            measured=float(late.error[-1] / sgd.error[-1]),
            certificate=setting,
        ),
    ]
    if sizes.early is not None:
        lines.append(
            Line.least(
                "Adam's tr H over SGD's at the ends",
                1.0,
                expected=1.1,
                measured=float(late.trace[-1] / sgd.trace[-1]),
                certificate="each rule lowers its own measure, and not the other's",
            )
        )
    if sizes.early is not None:
        early = paths["Adam, small steps"]
        lines.append(
            Line.least(
                f"the same of test losses at Adam's T = {early.times[-1]:.2g}",
                1.0,
                expected=1.03,
                measured=float(early.error[-1] / sgd.error[-1]),
                certificate="the printed pattern, which ends before its clock has run",
            )
        )
    caption = (
        f"{what}: test loss by slow time, {setting}, full batch, label noise 1, each "
        "record cooled down. Line across: least nuclear norm."
    )
    axes = pn.plotting.curves(
        {name: (p.times, np.maximum(p.error, 1e-8)) for name, p in paths.items()},
        xlabel="slow time T = kη²",
        ylabel="test loss",
        logy=True,
        dots=True,
        levels={"least nuclear norm": max(nuclear, 1e-8)},
    )
    second = f"{what}: tr Diag(H)^½ of the same runs."
    roots = pn.plotting.curves(
        {name: (p.times, p.root_trace) for name, p in paths.items()},
        xlabel="slow time T = kη²",
        ylabel="tr Diag(H)^½",
        dots=True,
    )
    return Figure(
        tuple(lines),
        {
            caption: pn.plotting.themed_svg(axes, caption),
            second: pn.plotting.themed_svg(roots, second),
        },
    )
