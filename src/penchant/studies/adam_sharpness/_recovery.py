"""Figure 2: sparse recovery by diagonal networks, against what ℓ1 needs."""

import itertools
from typing import Any, NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.adam_sharpness._setup import (
    HUES,
    Recovery,
    basis_pursuit,
    cooled,
    recovery,
    risk,
    stages,
)

EPS = 1e-3
"""Small against √v until a coordinate is all but dead, where it keeps S finite."""


class Method(NamedTuple):
    """A rule with its step size, its power, and the step counts at which it is seen."""

    rule: Any
    step_size: float
    cuts: tuple[int, ...]


METHODS = {
    "SGD": Method(
        pn.optimizers.GradientDescent(), 1e-3, (200_000, 1_000_000, 4_000_000)
    ),
    "Adam": Method(pn.optimizers.Adam(0.9, 0.999, EPS), 2e-3, (200_000, 1_000_000)),
    "AdamE, λ = ¼": Method(
        pn.optimizers.AdamE(0.9, 0.999, EPS, 0.25), 1e-3, (1_000_000,)
    ),
}


class Sizes(NamedTuple):
    """Numbers of samples, data seeds, and methods."""

    samples: tuple[int, ...]
    seeds: int
    methods: dict[str, Method]


SIZES = Presets(
    Sizes(
        (15, 30),
        1,
        {
            "SGD": Method(pn.optimizers.GradientDescent(), 2e-3, (50_000, 800_000)),
            "Adam": Method(
                pn.optimizers.Adam(0.9, 0.999, EPS), 2e-3, (50_000, 300_000)
            ),
        },
    ),
    Sizes((15, 20, 25, 30, 40, 50), 3, METHODS),
)

D, K, START = 200, 5, 0.3

CUT = 0.1
"""Test loss below which the signal counts as recovered; at the start it is 2.5."""


def ended(name: str, method: Method, n: int, seed: int) -> dict[float, float]:
    """Test loss by slow time, each after a cool-down without noise."""
    task = recovery(D, n, K, START, seed)
    runs = stages(task.noisy, method.rule, step_size=method.step_size,
                  cuts=method.cuts, key=seed)  # fmt: skip
    size = method.step_size
    return {
        pn.theory.sharpness.slow_time(size, cut): task.error(
            cooled(task.quiet, run, step_size=size, steps=2_000)
        )
        for cut, run in zip(method.cuts, runs, strict=True)
    }


def samples(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Test loss by number of samples, at several slow times, d = 200, κ = 5.

    Beside basis pursuit, which is where label-noise SGD tends, and the statistical
    dimension below which no ℓ1 can do it. Batches of one, label noise 1, weights .3 at
    the start; ends are cooled down.
    """
    sizes = SIZES.of(preset)
    bound = pn.theory.sharpness.statistical_dimension(D, K)
    seen: dict[str, list[float]] = {}
    gaps = []
    for n in sizes.samples:
        convex = []
        for s in range(seed, seed + sizes.seeds):
            task = recovery(D, n, K, START, s)
            beta, gap = basis_pursuit(
                np.asarray(task.quiet.X), np.asarray(task.quiet.y)
            )
            gaps.append(gap)
            convex.append(0.5 * float(np.sum((beta - task.truth) ** 2)))
        seen.setdefault("ℓ1", []).append(float(np.mean(convex)))
        for name, method in sizes.methods.items():
            of_seeds = [
                ended(name, method, n, s) for s in range(seed, seed + sizes.seeds)
            ]
            for time in of_seeds[0]:
                losses = [float(one[time]) for one in of_seeds]
                label = f"{name}, T = {time:.2g}"
                seen.setdefault(label, []).append(float(np.mean(losses)))
    told = f"{sizes.seeds} data seeds; basis pursuit's gap at most {max(gaps):.0e}"
    enough = [i for i, n in enumerate(sizes.samples) if n > bound]
    lines = _ordered(seen, sizes, enough, told)
    # at the bound the odds are even: failure is sure well below it alone
    short = [i for i, n in enumerate(sizes.samples) if n < 0.7 * bound]
    lines.append(
        Line.most(
            "ℓ1: test loss at the most samples",
            1e-6,
            measured=seen["ℓ1"][-1],
            certificate=f"statistical dimension {bound:.1f}; {told}",
        )
    )
    if short and enough:
        lines.append(
            Line.least(
                f"least test loss of any method at n = {sizes.samples[short[0]]}, "
                "far below ℓ1's statistical dimension",
                CUT,
                expected=1.0,
                measured=min(values[short[0]] for values in seen.values()),
                certificate=f"statistical dimension {bound:.1f}; {told}",
            )
        )
    n = np.array(sizes.samples, float)
    caption = (
        f"Test loss after a cool-down by number of samples, d = {D}, κ = {K}, mean of "
        f"{sizes.seeds} data seeds; the line across the axis is ℓ1's statistical "
        "dimension."
    )
    axes = pn.plotting.curves(
        {name: (n, np.maximum(values, 1e-8)) for name, values in seen.items()},
        xlabel="samples",
        ylabel="test loss",
        logx=False,
        logy=True,
        dots=True,
        marks={"statistical dimension": bound},
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _ordered(
    seen: dict[str, list[float]], sizes: Sizes, enough: list[int], told: str
) -> list[Line]:
    """Each method falls as its clock goes on; Adam is ahead of SGD at equal steps."""
    lines = []
    for name in sizes.methods:
        mine = [
            values for label, values in seen.items() if label.startswith(f"{name},")
        ]
        if len(mine) > 1:
            rises = [mine[-1][i] - mine[0][i] for i in enough]
            lines.append(
                Line.most(
                    f"{name}: largest rise of the test loss from its first to its last "
                    "slow time, at any number of samples above ℓ1's dimension",
                    0.05,
                    measured=max(0.0, *rises),
                    certificate=told,
                )
            )
    if {"SGD", "Adam"} <= set(sizes.methods) and enough:
        first = lambda name: next(
            values for label, values in seen.items() if label.startswith(f"{name},")
        )
        adam, sgd = first("Adam"), first("SGD")
        shares = [max(adam[i], 1e-12) / max(sgd[i], 1e-12) for i in enough]
        lines.append(
            Line.between(
                "Adam's test loss over SGD's at the first slow time, geometric mean "
                "over numbers of samples above ℓ1's dimension",
                0.0,
                1.0,
                expected=0.6,
                measured=float(np.exp(np.mean(np.log(shares)))),
                certificate=told,
            )
        )
    return lines


class Clock(NamedTuple):
    """Sparse recovery at another scale: sizes, start, and slow time by method."""

    d: int
    k: int
    n: tuple[int, ...]
    start: float
    step_size: float
    times: dict[str, float]
    records: int = 12


CLOCKS = Presets(
    Clock(1000, 10, (105,), 0.1, 4e-3, {"SGD": 8.0, "Adam": 2.4}),
    Clock(10_000, 50, (420, 500), 0.1, 2e-3, {"SGD": 8.0, "Adam": 2.4}),
)

RECOVERED = 1.0
"""Test loss at which the paper counts a signal as recovered."""


def clock(preset: Preset | Clock = Preset.QUICK, seed: int = 0) -> Figure:
    r"""The same at the paper's scale, along the slow clock: when, not whether.

    d = 10⁴, κ = 50 (full). Adam recovers in fewer steps; SGD does too, at T of about 6;
    at these numbers of samples ℓ1 has long recovered.
    """
    sizes = CLOCKS.of(preset)
    bound = pn.theory.sharpness.statistical_dimension(sizes.d, sizes.k)
    rules = {
        "SGD": pn.optimizers.GradientDescent(),
        "Adam": pn.optimizers.Adam(0.9, 0.999, EPS),
    }
    lines, drawn = [], {}
    for n in sizes.n:
        task = recovery(sizes.d, n, sizes.k, sizes.start, seed)
        beta, gap = basis_pursuit(
            np.asarray(task.quiet.X), np.asarray(task.quiet.y), 1e-4
        )
        told = f"d = {sizes.d}, κ = {sizes.k}, statistical dimension {bound:.1f}"
        lines.append(
            Line.most(
                f"ℓ1 at n = {n}: test loss",
                RECOVERED,
                measured=0.5 * float(np.sum((beta - task.truth) ** 2)),
                certificate=f"{told}, relative gap {gap:.0e}",
            )
        )
        when = {}
        for name, time in sizes.times.items():
            t, losses = followed(task, rules[name], sizes, time, seed)
            drawn[f"{name}, n = {n}"] = (t, losses)
            below = np.flatnonzero(losses < RECOVERED)
            when[name] = float(t[below[0]]) if below.size else float("inf")
            lines.append(
                Line.between(
                    f"{name} at n = {n}: slow time of recovery",
                    0.0,
                    time,
                    expected={"SGD": 6.5, "Adam": 1.4}.get(name, time),
                    measured=when[name],
                    certificate=f"η = {sizes.step_size:g}, test loss at the end "
                    f"{losses[-1]:.3g}; {told}",
                )
            )
        if len(when) == 2:
            lines.append(
                Line.least(
                    f"n = {n}: SGD's steps to recovery over Adam's",
                    1.2,
                    expected=4.0,
                    measured=when["SGD"] / when["Adam"],
                    certificate=f"both η = {sizes.step_size:g}",
                )
            )
    caption = (
        f"Test loss along the slow clock, d = {sizes.d}, κ = {sizes.k}, weights "
        f"{sizes.start:g} at the start, η = {sizes.step_size:g}, label noise 1, "
        f"batches of one. Recovered below {RECOVERED:g}."
    )
    axes = pn.plotting.curves(
        drawn,
        xlabel="slow time T = kη²",
        ylabel="test loss",
        logx=False,
        logy=True,
        dots=True,
        levels={"recovered": RECOVERED},
        colours={name: HUES[name.split(",")[0]] for name in drawn}
        if len(sizes.n) == 1
        else None,
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def followed(
    task: Recovery,
    rule: pn.optimizers.AbstractOptimizer,
    sizes: Clock,
    time: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Test losses at equal slow times, without a cool-down."""
    steps = round(time / sizes.step_size**2)
    cuts = tuple(round(steps * (i + 1) / sizes.records) for i in range(sizes.records))
    runs = stages(task.noisy, rule, step_size=sizes.step_size, cuts=cuts, key=seed)
    last = [run.last for run in runs]
    losses = [risk(np.asarray(w["u"]), np.asarray(w["v"]), task.truth) for w in last]
    return np.array(cuts) * sizes.step_size**2, np.array(losses)


class Powers(NamedTuple):
    """Powers of AdamE, number of samples, and steps."""

    exponents: tuple[float, ...]
    n: int
    steps: int


POWERS = Presets(
    Powers((0.1, 0.5), 40, 400_000),
    Powers((0.01, 0.1, 0.25, 0.5, 0.75, 0.9), 40, 1_000_000),
)


def powers(preset: Preset | Powers = Preset.QUICK, seed: int = 0) -> Figure:
    r"""AdamE by its power λ: from SGD's speed to Adam's, d = 200, κ = 5.

    A free coordinate dies at $\theta_0^{4\lambda}/(2\lambda(4\alpha)^{1-2\lambda})$:
    the smaller λ, the later, and at λ = 0 never. A power above ½ needs a smaller step
    to stay stable.
    """
    sizes = POWERS.of(preset)
    task = recovery(D, sizes.n, K, START, seed)
    losses, times = [], []
    for exponent in sizes.exponents:
        rule = pn.optimizers.AdamE(0.9, 0.999, EPS, exponent)
        size = 1e-3 if exponent <= 0.5 else 2e-4
        run = stages(task.noisy, rule, step_size=size, cuts=(sizes.steps,), key=seed)[0]
        w = cooled(task.quiet, run, step_size=size, steps=2_000)
        losses.append(task.error(w))
        times.append(pn.theory.sharpness.extinction_time(rule, START))
    up_to = [x for x, e in zip(losses, sizes.exponents, strict=True) if e <= 0.5]
    rises = [b / max(a, 1e-12) for a, b in itertools.pairwise(up_to)]
    told = "; ".join(
        f"λ = {e:g}: {x:.3g}, a free coordinate dies at T = {t:.2g}"
        for e, x, t in zip(sizes.exponents, losses, times, strict=True)
    )
    lines = (
        Line.between(
            "test loss of one power over that of the one before, up to λ = ½, largest",
            0.0,
            1.0,
            expected=0.7,
            measured=max(rises),
            certificate=f"{sizes.steps} steps, n = {sizes.n}; {told}",
        ),
    )
    caption = (
        f"Test loss of AdamE after {sizes.steps} steps and a cool-down by its power, "
        f"d = {D}, κ = {K}, n = {sizes.n}."
    )
    axes = pn.plotting.curves(
        {"AdamE": (np.array(sizes.exponents), np.maximum(losses, 1e-8))},
        xlabel="λ",
        ylabel="test loss",
        logx=False,
        logy=True,
        dots=True,
    )
    return Figure(lines, {caption: pn.plotting.themed_svg(axes, caption)})
