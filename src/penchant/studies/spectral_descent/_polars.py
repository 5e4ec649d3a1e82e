from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._statistics import interval
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.spectral_descent._setup import (
    HUES,
    best,
    data,
    descent,
    gap_of,
    hues_of,
    known,
    named,
    over_seeds,
    shares,
)

# a polar map, its matrix products, and the spectral and Frobenius shares of seed 0
# after 10^5 constant steps by loops in plain NumPy (tests/studies/test_expected.py),
# which have no Polar Express
POLARS: dict[str, tuple[Any, int, tuple[float, float] | None]] = {
    "exact": (pn.optimizers.ExactPolar(), 0, (0.9997, 0.881)),
    "Newton–Schulz 5": (pn.optimizers.NewtonSchulz(5), 15, (0.946, 0.990)),
    "Newton–Schulz 10": (pn.optimizers.NewtonSchulz(10), 30, (0.866, 0.961)),
    "Newton–Schulz 20": (pn.optimizers.NewtonSchulz(20), 60, (0.890, 0.958)),
    "cubic 5": (pn.optimizers.CubicNewtonSchulz(5), 10, (0.982, 0.983)),
    "cubic 15": (pn.optimizers.CubicNewtonSchulz(15), 30, (0.9996, 0.945)),
    "cubic 30": (pn.optimizers.CubicNewtonSchulz(30), 60, (0.9998, 0.900)),
    "Polar Express 5": (pn.optimizers.PolarExpress(5), 15, None),
    "Polar Express 6": (pn.optimizers.PolarExpress(6), 18, None),
    "Polar Express 8": (pn.optimizers.PolarExpress(8), 24, None),
}
REPEATED = ("exact", "Newton–Schulz 5", "Polar Express 8")
"""Those that have several seeds."""


class Sizes(NamedTuple):
    """How long runs are, how many seeds, which polar maps, and shares of which norms.

    `within` is how far the first of the seeds may be from what 10^5 steps of seed 0
    have, if it is that one.
    """

    steps: int
    seeds: int
    polars: tuple[str, ...]
    labels: tuple[str, ...]
    within: float


SIZES = Presets(
    Sizes(5_000, 2, REPEATED, ("spectral", "ℓ2", "ℓ∞"), 0.08),
    Sizes(100_000, 5, tuple(POLARS), ("spectral", "ℓ2", "ℓ∞", "ℓ1", "nuclear"), 0.004),
)


def polars(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""What practical Muon maximises: shares in every norm by its polar factor.

    Constant steps of $.1/R_*$ without momentum on the paper's data, $10^5$ of them
    (5000 in the quick preset). Five usual Newton--Schulz steps end nearer the
    Frobenius margin than the spectral one. The reason is in the steps: their singular
    values are anywhere in [.7, 1.2] by where the gradient's were, so the step is not
    steepest, and the pattern does not average out. Converging iterations bring all but
    the smallest to 1, which late in a run may be below what they resolve: a few more
    cubic steps, or as many quintic ones with the best coefficients (Polar Express).

    Numbers are those of the seed asked for, as those expected are of one; the polar
    factors of the quick preset have five seeds besides, two in that preset.
    """
    steps, count, chosen, labels, within = SIZES.of(preset)
    some = range(seed, seed + count)
    lines: list[Line] = []
    points: dict[str, list[tuple[int, float]]] = {}
    drawn: dict[str, list[tuple[Any, Any]]] = {}
    gap = known([best(seed, label).gap for label in labels])
    ends: dict[str, list[dict[str, float]]] = {}
    for name in chosen:
        polar, products, wanted = POLARS[name]
        runs = {
            s: _polar_run(name, s, steps)
            for s in (some if name in REPEATED else [seed])
        }
        ratios = {s: shares(run, s, labels) for s, run in runs.items()}
        ends[name] = [
            {label: float(ratio[-1]) for label, ratio in found.items()}
            for found in ratios.values()
        ]
        if name in REPEATED:
            drawn[name] = [
                (np.asarray(run.steps), gap_of(ratios[s]["spectral"]))
                for s, run in runs.items()
            ]
        family = name.rstrip(" 0123456789")
        points.setdefault(family, []).append((products, 1 - ends[name][0]["spectral"]))
        if wanted is not None:
            for label, value in zip(("spectral", "ℓ2"), wanted, strict=True):
                # of seed 0 at 10^5 steps: elsewhere wider
                wide = within if seed == 0 else 0.08
                lines.append(
                    Line.near(
                        f"{name}, {label} share after {steps:,} steps",
                        expected=value,
                        within=wide,
                        most=1.0 + 1e-9,
                        measured=ends[name][0][label],
                        certificate=(
                            f"{_others(ends[name][0], label)}; {gap}; seed {seed}; "
                            f"{interval([end[label] for end in ends[name]])}"
                        ),
                    )
                )
        if name in ("exact", "Newton–Schulz 5"):
            lines.append(_evenness(name, polar, runs))
    remedy = [
        remedied["spectral"] - usual["spectral"]
        for remedied, usual in zip(
            ends["Polar Express 8"], ends["Newton–Schulz 5"], strict=True
        )
    ]
    lines.append(
        Line.between(
            "gain in spectral share, Polar Express 8 over Newton–Schulz 5",
            0.01,
            0.3,
            expected=0.053,
            measured=float(np.mean(remedy)),
            certificate=interval(remedy),
        )
    )
    caption = (
        "Gap to the largest spectral margin of Muon without momentum, by its polar "
        f"factor: constant step .1/R*, {steps:,} steps, mean of {named(some)}, bands "
        "from least to greatest."
    )
    means, bands = over_seeds(drawn)
    axes = pn.plotting.curves(
        means,
        bands=bands,
        xlabel="steps",
        ylabel="relative spectral margin gap",
        logy=True,
        dashed=["Polar Express 8"],  # on the exact one
        colours=hues_of(means),
    )
    pictures = {caption: pn.plotting.themed_svg(axes, caption)}
    caption = (
        f"Gaps after {steps:,} steps, seed {seed}, against the cost of a step in "
        "matrix products (three a quintic step, two a cubic one)."
    )
    exact = points.pop("exact")
    costs = {family: tuple(np.array(sorted(rows)).T) for family, rows in points.items()}
    axes = pn.plotting.curves(
        costs,
        xlabel="matrix products a step",
        ylabel="spectral gap at the end",
        dots=True,
        size=(7.2, 3.0),
        logx=False,
        logy=True,
        levels={"exact factor": exact[0][1]},
        colours=HUES,
    )
    axes.margins(x=0.1)
    pictures[caption] = pn.plotting.themed_svg(axes, caption)
    return Figure(tuple(lines), pictures)


def _polar_run(name: str, seed: int, steps: int) -> pn.Trajectory:
    polar, *_ = POLARS[name]
    problem = data(seed)
    eta = pn.theory.papers.fan2025spectral.scale_free_step(
        problem, pn.norms.Spectral(), 0.1
    )
    if name == "exact":  # the same steps as those of descent in the spectral norm
        return descent(seed, "spectral", float(eta), 0.0, steps)
    rule = pn.optimizers.Muon(0.0, polar)
    return finished(pn.train(problem, rule, steps=steps, step_size=eta))


def _evenness(
    name: str, polar: pn.optimizers.AbstractPolar, runs: Mapping[int, pn.Trajectory]
) -> Line:
    """Least over greatest singular value of the last step: 1 if it is steepest."""
    found, text = [], ""
    for s, run in runs.items():
        step = _step(polar, data(s), run.weights[-1])
        values = np.linalg.svd(np.asarray(step), compute_uv=False)
        values = values[: data(s).classes - 1]  # the last is 0 in exact arithmetic
        found.append(float(values[-1] / values[0]))
        text = text or (f"{_ends(values)}, of rank {len(values)}, seed {s}")
    low, high = (1 - 1e-9, 1 + 1e-9) if name == "exact" else (0.0, 0.85)
    return Line.between(
        f"{name}, least over greatest singular value of the last step",
        low,
        high,
        expected=1.0 if name == "exact" else 0.6,
        measured=found[0],
        certificate=f"{text}; {interval(found)}",
    )


def _ends(values: np.ndarray) -> str:
    least, most = f"{values[-1]:.3g}", f"{values[0]:.3g}"
    if least == most:
        return f"singular values are {most}"
    return f"singular values from {least} to {most}"


@eqx.filter_jit
def _step(
    polar: pn.optimizers.AbstractPolar,
    problem: pn.LinearClassification,
    weights: jax.Array,
) -> Any:
    return polar(problem.scaled_gradient(weights).direction)


def _others(ended: dict[str, float], label: str) -> str:
    return ", ".join(f"{k} {v:.3f}" for k, v in ended.items() if k != label)
