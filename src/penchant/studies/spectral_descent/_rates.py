import numpy as np

import penchant as pn
from penchant.studies._study import Figure, Line, Preset
from penchant.studies.spectral_descent._setup import (
    best,
    curves,
    data,
    finished,
    norm_of,
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
    steps are $.2/R_*$. The quick preset leaves out 2/3, 1 and the Frobenius norm.
    """
    steps = steps_of(preset, 20_000, 300_000)
    lines, pictures = [], {}
    chosen = ("1/3", "1/2", "constant") if preset.quick else tuple(SCHEDULES)
    for label in ("ℓ∞", "spectral") if preset.quick else ("ℓ∞", "ℓ2", "spectral"):
        norm, drawn, deficits = norm_of(label), {}, {}
        for name in chosen:
            a, sign, other = SCHEDULES[name]
            if name == "constant":
                step_size = pn.theory.scale_free_step(data(seed), norm, 0.2)
            else:
                scale = sign if label == "ℓ∞" else other
                step_size = pn.schedules.power(scale, a, offset=1)
            run = finished(
                pn.train(
                    data(seed),
                    pn.optimizers.SteepestDescent(norm),
                    steps=steps,
                    step_size=step_size,
                )
            )
            found = best(seed, label)
            law = pn.theory.gap_law(run, norm, found.upper_bound)
            share = shares(run, seed, (label,))[label]
            at = np.asarray(run.steps)
            drawn[f"a = {name}"] = (at, np.where(share > 0, 1 - share, np.nan))
            deficits[f"a = {name}"] = (at, np.asarray(law.deficits))
            if np.isnan(law.exponent) or name == "1":
                # too little after burn-in, or a logarithm of a length: no exponent
                continue
            lines.append(
                Line(
                    f"{label}, a = {name}, exponent of the gap against ‖W‖",
                    1.0,
                    0.85,
                    1.4,
                    law.against_length,
                    f"± {law.length_error:.1g} (fit), {law.records} records",
                )
            )
            lines.append(
                Line(
                    f"{label}, a = {name}, exponent of the gap against steps",
                    law.expected,
                    law.expected - 0.1,
                    law.expected + 0.25,
                    law.exponent,
                    f"± {law.error:.1g} (fit), {law.records} records; "
                    f"proved: {_proved(a)}",
                )
            )
            lines.append(
                Line(
                    f"{label}, a = {name}, deficit at the end",
                    1.2,
                    0.3,
                    4.0,
                    law.deficit,
                    "settled" if law.settled else "not yet flat over a decade",
                )
            )
        caption = (
            f"Relative {label} margin gap of steepest descent in that norm, by the "
            f"exponent of its steps; {steps:,} steps, seed {seed}."
        )
        axes = curves(drawn, x="steps", y=f"relative {label} margin gap")
        pictures[caption] = pn.plotting.themed_svg(axes, caption)
        caption = (
            f"The deficit γ‖W‖ − min margin of the same runs in the {label} norm: "
            "constant where gaps fall like 1/‖W‖."
        )
        axes = curves(deficits, x="steps", y="deficit", logs="xy", size=(7.2, 2.8))
        pictures[caption] = pn.plotting.themed_svg(axes, caption)
    return Figure(tuple(lines), pictures)


def _proved(a: float) -> str:
    if a == 0.0:
        return "nothing, steps do not fall"
    return repr(pn.theory.proved_rate(a))


def bounds(preset: Preset = Preset.QUICK, seed: int = 0) -> Figure:
    r"""What is proved, beside what is: the lemmas' sums along runs of $10^4$ steps.

    Lemma 5 with the paper's constants ($R=2B$) and with the sharper ones ($R_*$, every
    step's own growth), and the least slack of Lemma 1 along the way. With the paper's
    constants the bound of the margin is negative: it says nothing.
    """
    lines = []
    # first step; with seed 0 the note's bound with 2B, ours with R*, the margin
    cases = {
        "ℓ∞": (0.1, -3.9e4, 57.7, 304.8),
        "ℓ2": (0.1, -1.38e4, 17.2, 25.2),
        "spectral": (0.05, -245.0, 27.0, 33.5),
        "nuclear": (0.25, -4.93e8, 8.86, 22.3),
    }
    for label in ("ℓ∞", "spectral") if preset.quick else cases:
        first, coarse, sharp, margin = cases[label]
        norm, problem = norm_of(label), data(seed)
        run = finished(
            pn.train(
                problem,
                pn.optimizers.SteepestDescent(norm),
                steps=10_000,
                step_size=pn.schedules.power(first, 0.5, offset=1),
            )
        )
        gamma = best(seed, label).margin
        wide = 0.05 if seed == 0 else 5.0
        reached = float(np.asarray(run.margins).min(axis=1)[-1])
        for constants, value in (
            (pn.theory.paper_constants(problem), coarse),
            (pn.theory.sharp_constants(problem, norm), sharp),
        ):
            told = pn.theory.guarantee_along(
                run, norm, gamma=gamma, constants=constants
            )
            found = float(told.margin[-1])
            lines.append(
                Line(
                    f"{label}, margin proved with {constants.name} = {constants.R:.3g}",
                    value,
                    value - wide * abs(value),
                    min(value + wide * abs(value), reached),
                    found,
                    "vacuous" if bool(told.vacuous[-1]) else "a bound from below",
                )
            )
        lines.append(
            Line(
                f"{label}, margin reached",
                margin,
                margin * (1 - min(wide, 0.9)),
                margin * (1 + wide),
                reached,
            )
        )
        held = [
            pn.theory.lemmas(
                problem, norm, run.weights[i], first * float(t) ** -0.5, gamma=gamma
            )
            for i, t in list(enumerate(run.steps))[::25]
        ]
        broken = sum(not x.holds for found in held for x in found)
        lines.append(
            Line(
                f"{label}, inequalities of Lemmas 1 to 4 and descent that fail",
                0,
                0,
                0,
                broken,
                f"of {sum(map(len, held))} checked along the run",
            )
        )
    return Figure(tuple(lines))
