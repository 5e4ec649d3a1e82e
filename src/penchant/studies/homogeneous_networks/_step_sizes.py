import numpy as np

import penchant as pn
from penchant.studies._study import Figure, Line, Preset
from penchant.studies.homogeneous_networks._setup import at, finished, toy

RULES = {
    "sign descent, a = .6": (pn.optimizers.SignDescent(), 0.6),
    "RMSProp, a = .6": (pn.optimizers.RMSProp(0.9, 0.0), 0.6),
    "RMSProp, a = .8": (pn.optimizers.RMSProp(0.9, 0.0), 0.8),
}


def step_sizes(preset: Preset = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Without $\varepsilon$, which step sizes lead RMSProp to $\ell_\infty$.

    Steps $.1\,(t+2)^{-a}$ on the squared-ReLU network ($L=3$), exponential loss,
    $b_2=.9$. Theory for a short memory needs $\eta=o(t^{1/L-1})$, so $a>\frac23$.
    With $a=.6$ sign descent, which has no memory, closes the $\ell_\infty$ gap of the
    KKT conditions all the same; RMSProp does not.
    """
    power = 5 if preset.quick else 6
    problem = toy("squared ReLU", seed)
    drawn = {}
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
        shown = np.flatnonzero(steps >= 100)[:: 2 if preset.quick else 1]
        shown = np.unique([*shown, len(steps) - 1])
        shown = [i for i in shown if float(run.margins[i].min()) > 0]
        gaps = [
            float(pn.kkt(problem, at(run.weights, i), pn.norms.Linf(), draws=1).gap)
            for i in shown
        ]
        drawn[name] = (steps[shown], np.array(gaps))
    ends = {name: gaps[-1] for name, (_, gaps) in drawn.items()}
    sign, short, long = (ends[name] for name in RULES)
    late, gaps = drawn["sign descent, a = .6"]
    half = late > 1000
    slope = np.polyfit(np.log(late[half]), np.log(gaps[half]), 1)[0]
    lines = (
        Line(
            "sign descent, a = .6: exponent of the ℓ∞ gap in steps",
            -0.4,
            -0.6,
            -0.25,
            float(slope),
            f"gap {sign:.3g} at the end; -(1 - a) is expected",
        ),
        Line(
            "RMSProp, a = .6: ℓ∞ gap at the end over that of sign descent",
            6.7 if preset.quick else 40.0,
            3.0,
            np.inf,
            short / sign,
            f"gap {short:.3g}; expected: the note's, of another start",
        ),
        Line(
            "RMSProp, a = .8: ℓ∞ gap at the end over that at 1000 steps",
            0.7,
            0.0,
            0.95,
            long / float(np.interp(1000, *drawn["RMSProp, a = .8"])),
            f"gap {long:.3g}: falling",
        ),
    )
    caption = (
        "ℓ∞ gap of the KKT conditions along runs without ε, squared-ReLU network "
        f"3-5-1, steps .1 (t + 2)^-a, b₂ = .9, 10^{power} steps, exponential loss, "
        f"8 samples, seed {seed}. RMSProp needs a > 2/3."
    )
    axes = pn.plotting.curves(drawn, xlabel="steps", ylabel="ℓ∞ gap", logy=True)
    return Figure(lines, {caption: pn.plotting.themed_svg(axes, caption)})
