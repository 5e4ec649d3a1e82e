from typing import NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._study import Figure, Preset, Presets


class Sizes(NamedTuple):
    """Classes, features and samples of each, steps of a run, and records of it."""

    classes: int
    features: int
    each: int
    steps: int
    records: int


SIZES = Presets(Sizes(4, 12, 8, 20_000, 11), Sizes(6, 25, 20, 100_000, 17))

N = pn.norms
NORMS = (N.L1(), N.L2(), N.Linf(), N.Spectral(), N.Nuclear())
RULES = {
    "normalised gradient": (pn.optimizers.SteepestDescent(N.Frobenius()), "ℓ2"),
    "sign descent": (pn.optimizers.SignDescent(), "ℓ∞"),
    "Adam, ε = 0": (pn.optimizers.Adam(0.9, 0.99, 0.0), "ℓ∞"),
    "greedy coordinate": (pn.optimizers.SteepestDescent(N.L1()), "ℓ1"),
    "spectral descent": (pn.optimizers.SteepestDescent(N.Spectral()), "spectral"),
    "rank one": (pn.optimizers.SteepestDescent(N.Nuclear()), "nuclear"),
}


def norms(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Which regulariser six rules imitate, over time: no penalty, no limit needed.

    Cross-entropy of a linear model on classes about random centres, steps
    $.05/\sqrt{t+2}$. At every record $\langle w,-g\rangle/(N(w)N_*(g))$ with the
    gradient $g$ of the whole loss there: 1 exactly where $w$ has the least loss among
    weights no larger in $N$.
    """
    sizes = SIZES.of(preset)
    data = pn.datasets.class_centres(
        sizes.classes, sizes.features, sizes.each, 0.3, seed=seed
    )
    problem = data.problem(pn.losses.Logistic())
    lines, own, seen = [], {}, {}
    for name, (rule, label) in RULES.items():
        run = finished(
            pn.train(
                problem,
                rule,
                steps=sizes.steps,
                step_size=pn.schedules.power(0.05, 0.5),
                record=sizes.records,
            )
        )
        rows = np.array([
            [row.alignment for row in pn.estimators.alignment(problem, w, NORMS)]
            for w in run.weights
        ])
        ours = [norm.label for norm in NORMS].index(label)
        seen[name] = (np.asarray(run.steps), rows)
        own[name] = (np.asarray(run.steps), rows[:, ours])
        rest = np.delete(rows[-1], ours)
        lines += [
            Line.between(
                f"{name}: alignment in {label} at the end",
                0.8,
                1.0,
                expected=1.0,
                measured=float(rows[-1, ours]),
            ),
            Line.least(
                f"{name}: which is more than in any other norm, by",
                0.0,
                expected=0.1,
                measured=float(rows[-1, ours] - rest.max()),
                certificate=f"the next has {rest.max():.4f}",
            ),
        ]
    caption = (
        "Alignment of a run's weights with its gradient in the norm of the rule's own "
        f"steps ({sizes.classes} classes of {sizes.each} in {sizes.features} features, "
        f"seed {seed}); 1 is a constrained minimiser."
    )
    axes = pn.plotting.curves(
        own,
        xlabel="steps",
        ylabel="alignment in its own norm",
        dots=True,
        dashed=("rank one",),
    )
    pictures = {caption: pn.plotting.themed_svg(axes, caption)}
    name = "Adam, ε = 0"
    steps, rows = seen[name]
    other = f"Alignment of Adam's weights in each norm, the same data (seed {seed})."
    axes = pn.plotting.curves(
        {norm.label: (steps, rows[:, i]) for i, norm in enumerate(NORMS)},
        xlabel="steps",
        ylabel="alignment",
        dots=True,
    )
    pictures[other] = pn.plotting.themed_svg(axes, other)
    return Figure(tuple(lines), pictures)
