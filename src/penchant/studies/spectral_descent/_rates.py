from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._statistics import interval
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.spectral_descent._setup import (
    best,
    data,
    descent,
    gap_of,
    named,
    norm_of,
    over_seeds,
    shares,
)

# exponent a of the step sizes, and first steps of sign and of spectral descent
SCHEDULES = {
    "1/3": (1 / 3, 0.03, 0.1),
    "1/2": (0.5, 0.1, 0.5),
    "2/3": (2 / 3, 0.15, 1.0),
    "1": (1.0, 0.5, 1.0),
    "constant": (0.0, 0.0, 0.0),
}


class Sizes(NamedTuple):
    """How long runs are, how many seeds, which step sizes, and in which norms."""

    steps: int
    seeds: int
    schedules: tuple[str, ...]
    norms: tuple[str, ...]


SIZES = Presets(
    Sizes(10_000, 2, ("1/3", "1/2", "constant"), ("ℓ∞", "spectral")),
    Sizes(30_000, 5, tuple(SCHEDULES), ("ℓ∞", "ℓ2", "spectral")),
)


def rates(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""How fast gaps fall: steps $t^{-a}$ with a in 1/3, 1/2, 2/3, 1, and constant.

    Sign, Frobenius and spectral descent. The exponent is fitted over the last decade
    and after burn-in (`gap_law`), where there is enough of it; $1-a$ is expected for
    every $a$, which the theorems have for $a>\frac12$ only. Against the length of the
    weights it is 1 if the deficit $D_t=\gamma\|W_t\|-\min q$ has settled. Constant
    steps are $.2/R_*$. Five seeds; the quick preset takes two, fewer steps, and leaves
    out 2/3, 1 and the Frobenius norm.
    """
    steps, count, chosen, labels = SIZES.of(preset)
    some = range(seed, seed + count)
    lines, pictures = [], {}
    for label in labels:
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
        axes = pn.plotting.curves(
            means, bands=bands, xlabel="steps", ylabel=y, logy=True
        )
        pictures[caption] = pn.plotting.themed_svg(axes, caption)
        caption = (
            f"The deficit γ‖W‖ − min margin of the same runs in the {label} norm: "
            "constant where gaps fall like 1/‖W‖."
        )
        means, bands = over_seeds(deficits)
        axes = pn.plotting.curves(
            means,
            bands=bands,
            xlabel="steps",
            ylabel="deficit",
            size=(7.2, 2.8),
            logy=True,
        )
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
        Line.between(
            f"{label}, a = {name}, exponent of the gap against ‖W‖",
            0.85,
            1.4,
            expected=1.0,
            measured=float(np.mean(lengths)),
            certificate=(
                f"{interval(lengths)}; {fits}, each ± "
                f"{max(law.length_error for law in laws):.1g}"
            ),
        ),
        Line.between(
            f"{label}, a = {name}, exponent of the gap against steps",
            # from above: two seeds have 1.01 to 1.34 at constant steps, seeds 0 to 8
            wanted - 0.1,
            wanted + 0.4,
            expected=wanted,
            measured=float(np.mean(exponents)),
            certificate=(
                f"{interval(exponents)}; {fits}, each ± "
                f"{max(law.error for law in laws):.1g}; proved: "
                f"{_proved(SCHEDULES[name][0])}"
            ),
        ),
        Line.between(
            f"{label}, a = {name}, deficit at the end",
            0.3,
            4.0,
            expected=1.2,
            measured=float(np.mean(ends)),
            certificate=(
                f"{interval(ends)}; flat over a decade in {settled} of {len(laws)}"
            ),
        ),
    ]


def _proved(a: float) -> str:
    if a == 0.0:
        return "nothing, steps do not fall"
    return repr(pn.theory.papers.fan2025spectral.proved_rate(a))


# first step; of seed 0 the bounds with 2B and with R*, and the margin: all three are in
# tests/theory/papers/test_fan2025spectral.py too, for three of the norms
BOUNDS = {
    "ℓ∞": (0.1, -3.9e4, 57.7, 304.8),
    "ℓ2": (0.1, -1.38e4, 17.2, 25.2),
    "spectral": (0.05, -245.0, 27.0, 33.5),
    "nuclear": (0.25, -4.93e8, 8.86, 22.3),
}


class Proofs(NamedTuple):
    """Norms, and seeds of the data."""

    norms: tuple[str, ...]
    seeds: int


PROOFS = Presets(Proofs(("ℓ∞", "spectral"), 3), Proofs(tuple(BOUNDS), 5))


def bounds(preset: Preset | Proofs = Preset.QUICK, seed: int = 0) -> Figure:
    r"""What is proved, beside what is: the lemmas' sums along runs of $10^4$ steps.

    Lemma 5 with the paper's constants ($R=2B$) and with the sharper ones ($R_*$, every
    step's own growth), and the least slack of Lemma 1 along the way. With the paper's
    constants the bound of the margin is negative: it says nothing. Numbers are those of
    the seed asked for, as those expected are of seed 0; beside them is what five seeds
    have, three in the quick preset.
    """
    lines = []
    wide = 0.05 if seed == 0 else 5.0
    labels, count = PROOFS.of(preset)
    some = range(seed, seed + count)
    for label in labels:
        first, coarse, sharp, margin = BOUNDS[label]
        norm = norm_of(label)
        runs = {s: descent(s, label, first, 0.5, 10_000) for s in some}
        ends = [float(np.asarray(r.margins)[-1].min()) for r in runs.values()]
        for sharper, value in ((False, coarse), (True, sharp)):
            told = [_along(run, label, s, sharper) for s, run in runs.items()]
            found = [float(t.margin[-1]) for t in told]
            constants = told[0].constants
            empty = sum(bool(t.vacuous[-1]) for t in told)
            lines.append(
                Line.near(
                    f"{label}, margin proved with {constants.name} = {constants.R:.3g}",
                    expected=value,
                    within=wide * abs(value),
                    most=ends[0],
                    measured=found[0],
                    certificate=(
                        f"vacuous on {empty} of {len(told)} seeds, else a bound from "
                        f"below; seed {seed}; {interval(found)}"
                    ),
                )
            )
        lines.append(
            Line.between(
                f"{label}, margin reached",
                margin * (1 - min(wide, 0.9)),
                margin * (1 + wide),
                expected=margin,
                measured=ends[0],
                certificate=f"seed {seed}; {interval(ends)}",
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
            Line.near(
                f"{label}, inequalities of Lemmas 1 to 4 and descent that fail",
                expected=0,
                within=0.0,
                measured=sum(not inequality.holds for inequality in held),
                certificate=(
                    f"of {len(held)} checked along the runs of {len(runs)} seeds"
                ),
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
