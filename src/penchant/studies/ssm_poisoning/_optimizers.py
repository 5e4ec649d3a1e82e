from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.ssm_poisoning._setup import LAGS, SMALL


class Sweep(NamedTuple):
    """ε of Adam with the error it leads to, and how many steps."""

    eps: dict[float, tuple[float, float]]
    steps: int


SWEEP = Presets(
    Sweep({1e-30: (5.0, 6.0), 1e-16: (4.0, 6.0)}, 100_000),
    Sweep(
        {
            1e-30: (5.5, 6.0),
            1e-16: (4.0, 6.0),
            1e-12: (1.0, 4.5),
            1e-10: (0.5, 1.5),
            1e-8: (0.4, 0.9),
        },
        2_000_000,
    ),
)


def optimizers(preset: Preset | Sweep = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Which rules keep the bias to few poles, on clean data: ε decides.

    Theorem 1's baseline sequence, κ = 7, d = 10. Gradient flow ends with an error of
    .012; sign descent, and Adam with a small ε, move all poles at one speed and end
    where $d\,a^{\kappa-1}=1$, with an error of 5.81: *clean* data fail.
    """
    eps, steps = SWEEP.of(preset)
    a = SMALL.poles(242 + seed)
    problem = SMALL.problem(a)
    teacher = SMALL.teacher
    foretold = pn.theory.state_space.sign_descent_error(a, 7, LAGS)
    lines, seen = [], []

    def error(rule: pn.optimizers.AbstractOptimizer, count: int, step: float) -> float:
        run = finished(
            pn.train(
                problem, rule, steps=count, step_size=step, record=50, progress=False
            )
        )
        return float(run.last.extrapolation_error(teacher, LAGS))

    sign = error(pn.optimizers.SignDescent(), 80_000, 1e-5)
    lines.append(
        Line.near(
            "sign descent: error",
            expected=foretold,
            within=2e-3 * foretold,
            measured=sign,
            certificate="steps of 1e-5, whose sum oscillates by so much; expected: "
            "closed form",
        )
    )
    for value, (low, high) in eps.items():
        rule = pn.optimizers.Adam(0.9, 0.999, value, bias_correction=True)
        measured = error(rule, steps, 1e-5)
        seen.append((value, measured))
        lines.append(
            Line.between(
                f"Adam, ε = {value:g}: error",
                low,
                high,
                expected=(low + high) / 2,
                measured=measured,
                certificate=f"{steps:,} steps of 1e-5; expected: middle of the range",
            )
        )
    exact = pn.ssm.baseline_limit(a, 7)
    flow = pn.ssm.flow(problem)
    clean = float(flow.limit.extrapolation_error(teacher, LAGS))
    ones = np.ones(10)
    lines.append(
        Line.near(
            "gradient flow: error",
            expected=float(
                pn.ssm.StateSpace(exact, ones, ones).extrapolation_error(teacher, LAGS)
            ),
            within=1e-6,
            measured=clean,
            certificate="expected: exact formula",
        )
    )
    caption = (
        "Error over 20 lags on clean data by Adam's ε, κ = 7, d = 10; dashed: sign "
        "descent's closed form, and gradient flow."
    )
    x = np.array([v for v, _ in seen])
    order = np.argsort(x)
    y = np.array([e for _, e in seen])
    axes = pn.plotting.curves(
        {
            "Adam": (x[order], y[order]),
            "sign descent": (x[order], np.full(len(x), foretold)),
            "gradient flow": (x[order], np.full(len(x), clean)),
        },
        xlabel="ε",
        ylabel="error over 20 lags",
        logy=True,
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


class Perceptrons(NamedTuple):
    """How many starts, and the most steps of Adam."""

    starts: int
    steps: int


PERCEPTRONS = Presets(Perceptrons(1, 60_000), Perceptrons(4, 150_000))


def with_mlp(preset: Preset | Perceptrons = Preset.QUICK, seed: int = 0) -> Figure:
    r"""A model with an MLP on top, trained by Adam: the failure outlives long training.

    κ = 6, d = 10, three layers of width 15 without biases, the teacher's ones, identity
    and halves; 20 baseline and 20 special sequences; Adam with ε = 1e-7, its step .01,
    which falls to a hundredth over the last fifth. The error is
    $\|\hat y-y\|/\|y\|$ on 2000 normal sequences of length 40. Starts are ours; runs
    that are still on their plateau, with a loss above .01 of the labels' square, are
    left out and counted.
    """
    count, steps = PERCEPTRONS.of(preset)
    teacher = pn.ssm.Headed(
        pn.ssm.StateSpace([1.0], [1.0], [1.0]), pn.ssm.MLP.teacher(15)
    )
    test = np.random.default_rng(12).normal(size=(2000, 40))
    wanted = np.asarray(teacher(jnp.asarray(test)))
    errors: dict[str, list[float]] = {"baseline": [], "poisoned": []}
    stuck = 0
    for s in range(seed, seed + count):
        for name, poisoned in (("baseline", False), ("poisoned", True)):
            problem = _perceptron(teacher, s, poisoned)
            run = finished(
                pn.train(
                    problem,
                    pn.optimizers.Adam(0.9, 0.999, 1e-7, bias_correction=True),
                    steps=steps,
                    step_size=lambda t: (
                        0.01 * 0.01 ** jnp.maximum(5.0 * t / steps - 4.0, 0.0)
                    ),
                    record=50,
                    progress=False,
                )
            )
            if float(run.loss[-1]) > 0.01 * float(jnp.mean(problem.y**2)):
                stuck += 1
                continue
            seen = np.asarray(problem.outputs(run.last, jnp.asarray(test)))
            errors[name].append(
                float(np.linalg.norm(seen - wanted) / np.linalg.norm(wanted))
            )
    told = "; ".join(
        f"{name} " + (", ".join(f"{e:.3g}" for e in values) or "none")
        for name, values in errors.items()
    )
    least = min(map(len, errors.values()))
    ratio = (
        float(np.median(errors["poisoned"]) / np.median(errors["baseline"]))
        if least
        else float("nan")
    )
    return Figure((
        Line.least(
            "error with special sequences over that without, medians",
            2.0,
            expected=30.0,
            measured=ratio,
            certificate=f"{told}; {stuck} of {2 * count} runs stayed on a plateau",
        ),
    ))


def _perceptron(
    teacher: pn.ssm.Headed, s: int, poisoned: bool
) -> pn.ssm.SequenceRegression:
    rng = np.random.default_rng(4540 + s)
    X = np.zeros((40 if poisoned else 20, 6))
    X[:20, :2] = rng.normal(size=(20, 2))
    X[20:, 4] = rng.normal(size=len(X) - 20)
    own = np.random.default_rng(s)
    a, b = (np.sort(np.abs(0.01 * own.normal(size=10)))[::-1].copy() for _ in range(2))
    gap = 0.05 * np.exp(-0.5 * 2.0)
    a[1], b[1] = a[0] - gap, b[0] - gap
    model = pn.ssm.Headed(
        pn.ssm.StateSpace(a + 1e-3, b + 1e-3, np.abs(0.01 * own.normal(size=10))),
        pn.ssm.MLP.normal(15, 0.03, key=s),
    )
    return pn.ssm.regression(teacher, X, model=model)


class Defended(NamedTuple):
    """Whether the larger setting is run too."""

    larger: bool


DEFENDED = Presets(Defended(False), Defended(True))


def defences(preset: Preset | Defended = Preset.QUICK, seed: int = 0) -> Figure:
    """Dropping, reweighting, decay, bounded poles, patience, on Theorem 1's data."""
    from penchant.studies.ssm_poisoning._setup import LARGE

    (larger,) = DEFENDED.of(preset)
    lines = []
    for setting in (SMALL, LARGE) if larger else (SMALL,):
        problem = setting.problem(setting.poles(setting.seeds[0] + seed), 1.0)
        found = pn.audits.defences(problem)
        told = "; ".join(f"{row.name} {row.error:.3g}" for row in found.rows)
        lines.append(
            Line.between(
                f"κ = {setting.length}: error after dropping what pulls at lag 1, over "
                "that of doing nothing",
                0.0,
                0.5,
                expected=0.03 if setting.length == 7 else 0.2,
                measured=found["drop"].error / found["longer"].error,
                certificate=told,
            )
        )
    return Figure(tuple(lines))
