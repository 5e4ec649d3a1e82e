from typing import NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.homogeneous_networks._setup import at, toy

B2 = 0.9

RULES = {
    "sign descent, a = .6": (pn.optimizers.SignDescent(), 0.6),
    "RMSProp, a = .6": (pn.optimizers.RMSProp(B2, 0.0), 0.6),
    "RMSProp, a = .8": (pn.optimizers.RMSProp(B2, 0.0), 0.8),
}


class Sizes(NamedTuple):
    """The power of ten of the steps, and every how many records a gap is computed.

    `lost` is how many times sign descent's gap RMSProp's is after so many, typically.
    """

    power: int
    every: int
    lost: float


SIZES = Presets(Sizes(5, 2, 6.7), Sizes(6, 1, 42.0))


def step_sizes(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Without $\varepsilon$, which step sizes lead RMSProp to $\ell_\infty$.

    Steps $.1\,(t+2)^{-a}$ on the squared-ReLU network ($L=3$), exponential loss,
    $b_2=.9$. Theory for a short memory needs $\eta=o(t^{1/L-1})$, so $a>\frac23$.
    With $a=.6$ sign descent, which has no memory, closes the $\ell_\infty$ gap of the
    KKT conditions all the same. RMSProp's loss can't fall by more than
    $-\frac12\log b_2$ a step, which it would: its memory is of larger gradients.
    """
    power, every, lost = SIZES.of(preset)
    problem = toy("squared ReLU", seed)
    drawn, pace, nats = {}, {}, {}
    for name, (rule, a) in RULES.items():
        run = finished(
            pn.train(
                problem,
                rule,
                steps=10**power,
                step_size=pn.schedules.power(0.1, a),
                record=60,
            )
        )
        steps = np.asarray(run.steps)
        shown = np.flatnonzero(steps >= 100)[::every]
        shown = np.unique([*shown, len(steps) - 1])
        shown = [i for i in shown if float(run.margins[i].min()) > 0]
        gaps = [
            float(pn.kkt(problem, at(run.weights, i), pn.norms.Linf(), draws=1).gap)
            for i in shown
        ]
        fallen = -np.diff(np.asarray(run.log_loss)) / np.diff(steps)
        middle = np.sqrt(steps[1:] * steps[:-1])
        late = middle >= 10**4
        slope = np.polyfit(np.log(middle[late]), np.log(fallen[late]), 1)[0]
        pace[name] = float(slope)
        nats[name] = float(fallen[-1])
        drawn[name] = (steps[shown], np.array(gaps))
    ends = {name: float(gaps[-1]) for name, (_, gaps) in drawn.items()}
    sign, short, _ = (ends[name] for name in RULES)
    steps, gaps = drawn["sign descent, a = .6"]
    late = steps >= 10**4
    slope = np.polyfit(np.log(steps[late]), np.log(gaps[late]), 1)[0]
    throttle = -0.5 * float(np.log(B2))
    lines = [
        Line.near(
            "sign descent, a = .6: exponent of the ℓ∞ gap in steps, from 10^4 on",
            expected=-0.4,
            within=0.1,
            measured=float(slope),
            certificate=f"gap {sign:.3g} at the end; expected: -(1 - a)",
        ),
        *(
            Line.near(
                f"{name}: exponent of nats a step, from 10^4 on",
                expected=(1 - a) * 2 - a,
                within=wide,
                measured=float(pace[name]),
                certificate="expected: (1 - a)(L - 1) - a",
            )
            for name, a, wide in (
                ("sign descent, a = .6", 0.6, 0.04),
                ("RMSProp, a = .8", 0.8, 0.12),  # its direction still turns
            )
        ),
        Line.between(
            "RMSProp, a = .6: nats a step at the end over the most there can be",
            0.75,
            1.0005,
            expected=1.0,
            measured=nats["RMSProp, a = .6"] / throttle,
            certificate=(
                f"that most is -½ log b₂ = {throttle:.4f}; sign descent has "
                f"{nats['sign descent, a = .6']:.3g}"
            ),
        ),
        Line.least(
            "RMSProp, a = .6: ℓ∞ gap at the end over that of sign descent",
            1.5,
            expected=lost,
            measured=short / sign,
            certificate=f"gap {short:.3g}; expected: typical, starts differ much",
        ),
    ]
    if power > 5:
        gaps = drawn["RMSProp, a = .6"][1]
        lines.append(
            Line.least(
                "RMSProp, a = .6: ℓ∞ gap at the end over its least along the run",
                1.05,
                expected=2.4,
                measured=float(gaps[-1] / gaps.min()),
                certificate="it rises again; expected: typical, starts differ much",
            )
        )
    caption = (
        "ℓ∞ gap of the KKT conditions along runs without ε, squared-ReLU network "
        f"3-5-1, steps .1 (t + 2)^-a, b₂ = .9, 10^{power} steps, exponential loss, "
        f"8 samples, seed {seed}. RMSProp needs a > 2/3."
    )
    axes = pn.plotting.curves(drawn, xlabel="steps", ylabel="ℓ∞ gap", logy=True)
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})
