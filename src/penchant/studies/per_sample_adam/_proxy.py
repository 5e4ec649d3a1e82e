from typing import NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.per_sample_adam._runs import gap, share


class Sizes(NamedTuple):
    """How long a run is."""

    steps: int


SIZES = Presets(Sizes(100_000), Sizes(1_000_000))


def proxy(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""AdamProxy as an algorithm: its limit, which $w/\|w\|$ nears like $1/s$.

    $s=\sum_t\eta_t$. Increments arrive exponentially fast.
    """
    (steps,) = SIZES.of(preset)
    data = {
        "Gaussian": pn.datasets.gaussian(10, 50, seed=seed),
        "shifted diagonal": pn.datasets.shifted_diagonal(tuple(range(1, 11)), 0.1),
    }
    lines, curves = [], {}
    for name, dataset in data.items():
        problem = dataset.problem(pn.losses.Exponential())
        step = pn.theory.per_sample.adam_proxy(problem)
        rest = pn.theory.per_sample.equilibrium(step)
        at, w = map(
            np.asarray, pn.theory.per_sample.follow(step, steps=steps, step_size=0.02)
        )
        moved = np.asarray(
            pn.theory.per_sample.fixed_point_map(problem, rest.c) - rest.c
        )
        half = int(np.searchsorted(at, steps // 2))
        lines.append(
            Line.most(
                f"{name}: 1 - cosine of AdamProxy's increment and the fixed point",
                1e-12,
                measured=gap(w[-1] - w[half], rest.step),
                certificate=(
                    f"VI gap {rest.gap:.0e}, ‖T(c) - c‖₁ {np.abs(moved).sum():.0e}"
                ),
            )
        )
        s = 0.02 * at
        angle = np.sqrt(2.0 * np.array([gap(x, rest.step) for x in w]))
        late = s > 0.1 * s[-1]
        slope = float(np.polyfit(np.log(s[late]), np.log(angle[late]), 1)[0])
        lines.append(
            Line.near(
                f"{name}: power of s in the angle of w",
                expected=-1.0,
                within=0.02,
                measured=slope,
                certificate="least squares over the last decade",
            )
        )
        curves[f"{name}, w"] = s, angle
    problem = data["shifted diagonal"].problem(pn.losses.Exponential())
    linf = pn.max_margin(problem, pn.norms.Linf())
    decided = pn.theory.per_sample.equilibrium(pn.theory.per_sample.adam_proxy(problem))
    lines += [
        Line.near(
            "shifted diagonal: share of the largest ℓ∞ margin at the fixed point",
            expected=1.0,
            within=1e-09,
            measured=share(problem, linf, decided.step),
            certificate=f"largest margin known to {float(linf.gap):.0e}",
        ),
        Line.between(
            "shifted diagonal: weight of the least sample",
            1.0 - 1e-9,
            1.0,
            expected=1.0,
            measured=float(decided.c[0]),
            certificate=f"VI gap {decided.gap:.0e}",
        ),
    ]
    caption = (
        "Angle between AdamProxy's weights and its fixed point against s = Σ η "
        f"(η = .02, {steps:,} steps, zero start, seed {seed}): a line of slope -1."
    )
    axes = pn.plotting.curves(
        curves, xlabel="s = Σ η", ylabel="angle of w, radians", logy=True
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})
