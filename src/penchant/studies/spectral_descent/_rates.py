from collections.abc import Sequence
from typing import Any

import numpy as np

import penchant as pn
from penchant.studies._study import Figure, Line, Preset
from penchant.studies.spectral_descent._setup import (
    best,
    curves,
    data,
    descent,
    gap_of,
    interval,
    named,
    norm_of,
    over_seeds,
    seeds,
    shares,
    steps_of,
)

# exponent a of the step sizes, and first steps of sign and of spectral descent
SCHEDULES = {
    "1/3": (1 / 3, 0.03, 0.1),
    "1/2": (0.5, 0.1, 0.5),
    "2/3": (2 / 3, 0.15, 1.0),
    "1": (1.0, 0.5, 1.0),
    "constant": (0.0, 0.0, 0.0),
}


def rates(preset: Preset = Preset.QUICK, seed: int = 0) -> Figure:
    r"""How fast gaps fall: steps $t^{-a}$ with a in 1/3, 1/2, 2/3, 1, and constant.

    Sign, Frobenius and spectral descent. The exponent is fitted over the last decade
    and after burn-in (`gap_law`), where there is enough of it; $1-a$ is expected for
    every $a$, which the theorems have for $a>\frac12$ only. Against the length of the
    weights it is 1 if the deficit $D_t=\gamma\|W_t\|-\min q$ has settled. Constant
    steps are $.2/R_*$. Five seeds; the quick preset takes two, fewer steps, and leaves
    out 2/3, 1 and the Frobenius norm.
    """
    steps = steps_of(preset, 10_000, 30_000)
    some = seeds(seed, preset, quick=2)
    lines, pictures = [], {}
    chosen = ("1/3", "1/2", "constant") if preset.quick else tuple(SCHEDULES)
    for label in ("ℓ∞", "spectral") if preset.quick else ("ℓ∞", "ℓ2", "spectral"):
        norm = norm_of(label)
        drawn: dict[str, list[tuple[Any, Any]]] = {}
        deficits: dict[str, list[tuple[Any, Any]]] = {}
        for name in chosen:
            a, sign, other = SCHEDULES[name]
            laws = []
            for s in some:
                first = sign if label == "ℓ∞" else other
                if name == "constant":
                    first = 0.2 / pn.theory.longest_row(data(s), norm)
                run = descent(s, label, first, a, steps)
                upper = best(s, label).upper_bound
                laws.append(pn.estimators.gap_law(run, norm, upper))
                at, share = np.asarray(run.steps), shares(run, s, (label,))[label]
                drawn.setdefault(f"a = {name}", []).append((at, gap_of(share)))
                deficits.setdefault(f"a = {name}", []).append((
                    at,
                    np.asarray(laws[-1].deficits),
                ))
            lines += _of_laws(label, name, laws)
        caption = (
            f"Relative {label} margin gap of steepest descent in that norm, by the "
            f"exponent of its steps; {steps:,} steps, mean of {named(some)}, bands "
            "from least to greatest."
        )
        means, bands = over_seeds(drawn)
        y = f"relative {label} margin gap"
        axes = curves(means, bands=bands, x="steps", y=y)
        pictures[caption] = pn.plotting.themed_svg(axes, caption)
        caption = (
            f"The deficit γ‖W‖ − min margin of the same runs in the {label} norm: "
            "constant where gaps fall like 1/‖W‖."
        )
        means, bands = over_seeds(deficits)
        axes = curves(means, bands=bands, x="steps", y="deficit", size=(7.2, 2.8))
        pictures[caption] = pn.plotting.themed_svg(axes, caption)
    return Figure(tuple(lines), pictures)


def _of_laws(label: str, name: str, laws: Sequence[pn.estimators.GapLaw]) -> list[Line]:
    """The lines of one schedule over the seeds; none where a seed has no fit."""
    if name == "1" or any(np.isnan(law.exponent) for law in laws):
        # a logarithm of a length, or too little after burn-in: no exponent
        return []
    fits = f"fits to {min(law.records for law in laws)} records or more"
    wanted = laws[0].expected
    lengths = [law.against_length for law in laws]
    exponents = [law.exponent for law in laws]
    ends = [law.deficit for law in laws]
    settled = sum(law.settled for law in laws)
    return [
        Line(
            f"{label}, a = {name}, exponent of the gap against ‖W‖",
            1.0,
            0.85,
            1.4,
            float(np.mean(lengths)),
            f"{interval(lengths)}; {fits}, each ± "
            f"{max(law.length_error for law in laws):.1g}",
        ),
        Line(
            f"{label}, a = {name}, exponent of the gap against steps",
            wanted,
            wanted - 0.1,
            wanted + 0.25,
            float(np.mean(exponents)),
            f"{interval(exponents)}; {fits}, each ± "
            f"{max(law.error for law in laws):.1g}; proved: "
            f"{_proved(SCHEDULES[name][0])}",
        ),
        Line(
            f"{label}, a = {name}, deficit at the end",
            1.2,
            0.3,
            4.0,
            float(np.mean(ends)),
            f"{interval(ends)}; flat over a decade in {settled} of {len(laws)}",
        ),
    ]


def _proved(a: float) -> str:
    if a == 0.0:
        return "nothing, steps do not fall"
    return repr(pn.theory.papers.fan2025spectral.proved_rate(a))


def bounds(preset: Preset = Preset.QUICK, seed: int = 0) -> Figure:
    r"""What is proved, beside what is: the lemmas' sums along runs of $10^4$ steps.

    Lemma 5 with the paper's constants ($R=2B$) and with the sharper ones ($R_*$, every
    step's own growth), and the least slack of Lemma 1 along the way. With the paper's
    constants the bound of the margin is negative: it says nothing. Numbers are those of
    the seed asked for, as the note's are of one; beside them is what five seeds have,
    three in the quick preset.
    """
    lines = []
    # first step; with seed 0 the note's bound with 2B, ours with R*, the margin
    cases = {
        "ℓ∞": (0.1, -3.9e4, 57.7, 304.8),
        "ℓ2": (0.1, -1.38e4, 17.2, 25.2),
        "spectral": (0.05, -245.0, 27.0, 33.5),
        "nuclear": (0.25, -4.93e8, 8.86, 22.3),
    }
    wide = 0.05 if seed == 0 else 5.0
    some = seeds(seed, preset)
    for label in ("ℓ∞", "spectral") if preset.quick else cases:
        first, coarse, sharp, margin = cases[label]
        norm = norm_of(label)
        runs = {s: descent(s, label, first, 0.5, 10_000) for s in some}
        ends = [float(np.asarray(r.margins)[-1].min()) for r in runs.values()]
        for sharper, value in ((False, coarse), (True, sharp)):
            told = [_along(run, label, s, sharper) for s, run in runs.items()]
            found = [float(t.margin[-1]) for t in told]
            constants = told[0].constants
            empty = sum(bool(t.vacuous[-1]) for t in told)
            lines.append(
                Line(
                    f"{label}, margin proved with {constants.name} = {constants.R:.3g}",
                    value,
                    value - wide * abs(value),
                    min(value + wide * abs(value), ends[0]),
                    found[0],
                    f"vacuous on {empty} of {len(told)} seeds, else a bound from "
                    f"below; seed {seed}; {interval(found)}",
                )
            )
        lines.append(
            Line(
                f"{label}, margin reached",
                margin,
                margin * (1 - min(wide, 0.9)),
                margin * (1 + wide),
                ends[0],
                f"seed {seed}; {interval(ends)}",
            )
        )
        held = [
            inequality
            for s, run in runs.items()
            for i in range(0, len(run.steps), 25)
            for inequality in pn.theory.descent.lemmas(
                data(s),
                norm,
                run.weights[i],
                first * float(run.steps[i]) ** -0.5,
                gamma=best(s, label).margin,
            )
        ]
        lines.append(
            Line(
                f"{label}, inequalities of Lemmas 1 to 4 and descent that fail",
                0,
                0,
                0,
                sum(not inequality.holds for inequality in held),
                f"of {len(held)} checked along the runs of {len(runs)} seeds",
            )
        )
    return Figure(tuple(lines))


def _along(
    run: pn.Trajectory, label: str, seed: int, sharper: bool
) -> pn.theory.descent.Guarantee:
    problem, norm = data(seed), norm_of(label)
    constants = (
        pn.theory.descent.sharp_constants(problem, norm)
        if sharper
        else pn.theory.descent.paper_constants(problem)
    )
    gamma = best(seed, label).margin
    return pn.theory.descent.guarantee_along(
        run, norm, gamma=gamma, constants=constants
    )
