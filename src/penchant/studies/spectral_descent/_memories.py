from typing import Any, NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._statistics import interval
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.spectral_descent._setup import (
    best,
    data,
    named,
    over_seeds,
    shares,
)


class Memories(NamedTuple):
    """How many seeds; of Adam and Shampoo, b2 and the share that seed 0 has.

    By loops in plain NumPy, tests/studies/test_expected.py.
    """

    seeds: int
    adam: tuple[tuple[float, float], ...]
    shampoo: tuple[tuple[float, float], ...]


MEMORIES = Presets(
    Memories(2, ((0.95, 0.940), (0.999, 0.670)), ((0.9, 0.967),)),
    Memories(
        5,
        ((0.95, 0.940), (0.99, 0.714), (0.999, 0.670)),
        ((0.9, 0.967), (0.99, 0.951)),
    ),
)

# what one more draw of the data has, with 99 %: mean and half width by Student's t over
# the seeds 0 to 7, measured by this figure. Of Adam with .999, whose memory covers a
# tenth of the run, seed 0 has far more than the seven others, .473 to .577
TYPICAL = {
    ("Adam", 0.95): (0.937, 0.041),
    ("Adam", 0.99): (0.697, 0.092),
    ("Adam", 0.999): (0.558, 0.223),
    ("Shampoo", 0.9): (0.964, 0.028),
    ("Shampoo", 0.99): (0.939, 0.048),
}


def memories(preset: Preset | Memories = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Adam without ε and Shampoo: how long a memory hides the geometry.

    Steps $\eta_0t^{-1/2}$, $10^4$ of them. Adam becomes sign-like after
    $t_A=(2\gamma\eta_0/(1-\beta_2))^2$ steps only, which is far beyond the run for the
    usual $\beta_2=.999$. Numbers are those of the seed asked for; what is expected is
    of seed 0, and of any other what draws typically have. Beside them is what five
    seeds have (two in the quick preset).
    """
    count, adam, shampoo = MEMORIES.of(preset)
    some = range(seed, seed + count)
    gamma = best(seed, "ℓ∞").margin
    lines: list[Line] = []
    drawn: dict[str, list[tuple[Any, Any]]] = {}

    def add(
        name: str,
        rule: pn.optimizers.AbstractOptimizer,
        first: float,
        label: str,
        *wanted: Any,
    ) -> None:
        value, wide, more = wanted
        step_size = pn.schedules.power(first, 0.5, offset=1)
        ends = []
        for s in some:
            run = pn.train(data(s), rule, steps=10_000, step_size=step_size)
            ratio = shares(finished(run), s, (label,))[label]
            ends.append(float(ratio[-1]))
            curve = (np.asarray(run.steps), np.where(ratio > 0, ratio, np.nan))
            drawn.setdefault(name, []).append(curve)
        lines.append(
            Line.near(
                f"{name}, {label} share after 10,000 steps",
                expected=value,
                within=wide,
                measured=ends[0],
                certificate=f"seed {seed}; {interval(ends)}{more}",
            )
        )

    for b2, value in adam:
        start = pn.theory.papers.fan2025spectral.sign_phase_start(
            gamma, pn.schedules.power(0.1, 0.5, offset=1), b2
        )
        rule = pn.optimizers.Adam(0.9, b2, 0.0, bias_correction=True)
        expected = (value, 0.004) if seed == 0 else TYPICAL["Adam", b2]
        more = f"; sign-like from step {start:.2g} on"
        add(f"Adam, b2 = {b2:g}", rule, 0.1, "ℓ∞", *expected, more)
    for b2, value in shampoo:
        expected = (value, 0.005) if seed == 0 else TYPICAL["Shampoo", b2]
        rule = pn.optimizers.Shampoo(b2)
        add(f"Shampoo, b2 = {b2:g}", rule, 0.05, "spectral", *expected, "")
    caption = (
        "Share of the largest margin, ℓ∞ for Adam without ε and spectral for Shampoo, "
        f"by the memory of the second moments; steps .1 and .05 t^-1/2, mean of "
        f"{named(some)}, bands from least to greatest."
    )
    means, bands = over_seeds(drawn)
    axes = pn.plotting.curves(
        means, bands=bands, xlabel="steps", ylabel="share of the margin"
    )
    axes.set_ylim(0.0, 1.02)
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})
