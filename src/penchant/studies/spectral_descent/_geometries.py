from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._statistics import interval
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.spectral_descent._setup import (
    best,
    descent,
    gap_of,
    named,
    over_seeds,
    shares,
)

# the first step, the largest margin of seed 0, and shares of it after 10^2, 10^3 and
# 10^4 steps, by loops in plain NumPy: tests/studies/test_expected.py
GEOMETRIES = {
    "ℓ1": (1.0, 0.145203, (0.619, 0.886, 0.964)),
    "ℓ1.5": (0.1, 0.603588, (0.447, 0.785, 0.897)),
    "ℓ2": (0.1, 1.337672, (0.740, 0.884, 0.955)),
    "ℓ3": (0.1, 3.017938, (0.861, 0.940, 0.976)),
    "ℓ∞": (0.1, 15.418961, (0.929, 0.982, 0.9955)),
    "nuclear": (0.25, 0.478300, (0.613, 0.851, 0.940)),
    "Schatten-1.5": (0.05, 0.942992, (0.431, 0.742, 0.894)),
    "Schatten-3": (0.05, 1.895062, (0.734, 0.861, 0.940)),
    "spectral": (0.05, 3.493780, (0.893, 0.958, 0.967)),
}


class Sizes(NamedTuple):
    """Norms, and seeds of the data."""

    norms: tuple[str, ...]
    seeds: int


SIZES = Presets(Sizes(("ℓ2", "ℓ∞", "spectral"), 3), Sizes(tuple(GEOMETRIES), 5))


def geometries(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Largest margins in nine norms, and steepest descent's way to its own.

    Margins of the paper's data, to six digits for seed 0; shares of them that
    normalised steepest descent has after $10^2$, $10^3$ and $10^4$ steps of
    $\eta_0t^{-1/2}$. Numbers are those of the seed asked for, as those expected are of
    seed 0; beside them is what five seeds have. The quick preset takes three norms and
    three seeds.
    """
    chosen, count = SIZES.of(preset)
    some = range(seed, seed + count)
    lines: list[Line] = []
    drawn: dict[str, list[tuple[Any, Any]]] = {}
    for label in chosen:
        first, margin, wanted = GEOMETRIES[label]
        found = best(seed, label)
        margins = [float(best(s, label).margin) for s in some]
        slack = 1e-6 if seed == 0 else 0.5 * margin
        lines.append(
            Line.near(
                f"largest {label} margin",
                expected=margin,
                within=slack,
                measured=float(found.margin),
                certificate=f"duality gap {float(found.gap):.0e}; {interval(margins)}",
            )
        )
        runs = [descent(s, label, first, 0.5, 10_000) for s in some]
        steps = np.asarray(runs[0].steps)
        reached = [
            shares(run, s, (label,))[label] for run, s in zip(runs, some, strict=True)
        ]
        drawn[label] = [(steps, gap_of(share)) for share in reached]
        slack = 0.002 if seed == 0 else 0.05
        for at, value in zip((100, 1000, 10_000), wanted, strict=True):
            (place,) = np.flatnonzero(steps == at)
            ends = [float(r[place]) for r in reached]
            lines.append(
                Line.near(
                    f"steepest descent in {label}, share after {at} steps",
                    expected=value,
                    within=slack,
                    most=1.0,
                    measured=ends[0],
                    certificate=f"seed {seed}; {interval(ends)}",
                )
            )
    caption = (
        "Relative gap of normalised steepest descent to the largest margin in its own "
        f"norm: mean of {named(some)}, bands from least to greatest; steps "
        "η₀ t^-1/2 with η₀ from .05 to 1 by the norm."
    )
    means, bands = over_seeds(drawn)
    axes = pn.plotting.curves(
        means,
        bands=bands,
        xlabel="steps",
        ylabel="relative gap in the own norm",
        logy=True,
    )
    pictures = {caption: pn.plotting.themed_svg(axes, caption)}
    return Figure(tuple(lines), pictures)


class Cases(NamedTuple):
    """Numbers of classes, and every how many norms are taken."""

    classes: tuple[int, ...]
    every: int


CASES = Presets(Cases((3,), 2), Cases((3, 6), 1))


def closed_forms(preset: Preset | Cases = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Margins known in closed form: $x_i=e_i$, $n=k=d$, in every norm.

    $1/k$ in $\ell_1$; $(k^{1-q}+(k(k-1))^{1-q})^{1/q}$ in $\ell_p$; 2 in $\ell_\infty$;
    $(k-1)^{-1/p}$ in Schatten-$p$; 1 in the spectral norm. Steepest descent has all of
    it from its first step, but for $p=1$. The quick preset takes half of the norms.
    """
    lines = []
    classes, every = CASES.of(preset)
    for k in classes:
        problem = pn.LinearClassification(
            np.eye(k), np.arange(k), loss=pn.losses.Logistic()
        )
        q = 1.5
        entrywise = lambda q: (k ** (1 - q) + (k * (k - 1)) ** (1 - q)) ** (1 / q)  # noqa: B023
        cases = (
            (pn.norms.L1(), 1 / k),
            (pn.norms.L2(), entrywise(2.0)),
            (pn.norms.Lp(3.0), entrywise(q)),
            (pn.norms.Linf(), 2.0),
            (pn.norms.Nuclear(), 1 / (k - 1)),
            (pn.norms.Schatten(3.0), (k - 1) ** (-1 / 3)),
            (pn.norms.Spectral(), 1.0),
        )
        for norm, value in cases[::every]:
            found = pn.max_margin(problem, norm)
            lines.append(
                Line.near(
                    f"k = {k}, largest {norm.label} margin",
                    expected=value,
                    within=1e-6 * value,
                    measured=float(found.margin),
                    certificate=f"duality gap {float(found.gap):.0e}",
                )
            )
            if getattr(norm, "p", 0.0) == 1.0:
                continue
            share = float(_after_one_step(problem, norm) / found.margin)
            lines.append(
                Line.near(
                    f"k = {k}, {norm.label} share after one step",
                    expected=1.0,
                    within=1e-06,
                    measured=share,
                )
            )
    return Figure(tuple(lines))


@eqx.filter_jit
def _after_one_step(
    problem: pn.LinearClassification, norm: pn.norms.AbstractNorm
) -> Any:
    """The margin over the norm, after one step from zero weights."""
    zero = jnp.zeros(problem.weight_shape)
    w = -norm.steepest(problem.scaled_gradient(zero).direction)
    return jnp.min(problem.margins(w)) / norm(w)
