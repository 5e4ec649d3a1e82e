from typing import NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._study import Figure, Preset, Presets

# by step size: distances at 10^1, 10^2, .. of a loop in plain Python, and the limit by
# SciPy; tests/studies/test_expected.py has both
DISTANCES = {
    0.5: (0.49703, 0.48506, 0.47130, 0.45735, 0.44403, 0.43162, 0.42017),
    0.1: (0.50331,),
}
LIMITS = {0.5: 0.24707, 0.1: 0.25328}


class Sizes(NamedTuple):
    """The power of ten of the steps, step sizes, and if figures 1 and 3 are run."""

    power: int
    step_sizes: tuple[float, ...]
    others: bool


SIZES = Presets(Sizes(5, (0.5, 0.1), True), Sizes(7, (0.5, 0.1), True))


def pair(first: float, second: float) -> pn.LinearClassification:
    """Two samples on the unit circle at two angles, labels absorbed."""
    angles = np.array([first, second])
    X = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return pn.LinearClassification(X, [1, 1], loss=pn.losses.Exponential())


def qian(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Where AdaGrad on two samples goes, and how little of the way runs make.

    The three cases of `qian2019adagrad`: two samples in the plane, exponential loss,
    $w_0=0$, $\varepsilon=10^{-8}$ inside the root for the sum of losses. The
    paper shows the distance to the max margin direction over $10^8$ steps; its
    limit is known here, and after all of them more than half of the way is missing.
    """
    power, step_sizes, others = SIZES.of(preset)
    problem = pair(np.pi / 8, np.pi / 20)
    best = pn.max_margin(problem, pn.norms.L2(), tol=1e-10)
    rule = pn.optimizers.AdaGrad(1e-8 / 4, eps_inside=True)
    lines, drawn, levels = [], {}, {}
    for eta in step_sizes:
        known = DISTANCES[eta]
        run = finished(
            pn.train(problem, rule, steps=10**power, step_size=eta, record=60 * power)
        )
        at, w = np.asarray(run.steps), np.asarray(run.weights).reshape(-1, 2)
        off = np.array([_distance(x, best) for x in w])
        for k, wanted in enumerate(known[:power], start=1):
            # the other one counts its start; records are log-spaced
            measured = float(np.interp(np.log(10.0**k - 1), np.log(at), off))
            lines.append(
                Line.near(
                    f"fig. 2, η = {eta:g}: distance after 10^{k} - 1 steps",
                    expected=wanted,
                    within=2e-5,
                    measured=measured,
                    certificate="expected: a loop in plain Python, to 5 digits",
                )
            )
        found = pn.limit(problem, run)
        limit = _distance(np.asarray(found.weights), best)
        drawn[f"η = {eta:g}, limit {limit:.5f}"] = (at, off)
        levels["limits" if limit > max([*levels.values(), 0.25]) else ""] = limit
        lines += [
            Line.near(
                f"fig. 2, η = {eta:g}: distance of the limit",
                expected=LIMITS[eta],
                within=2e-5,
                measured=limit,
                certificate=f"KKT residual {float(found.kkt_residual):.0e}",
            ),
            _missing(eta, power, off[-1], off[0], limit),
        ]
    lines += _others(rule) if others else []
    caption = (
        "Distance of AdaGrad's direction to the ℓ2 max margin direction, samples at "
        "angles π/8 and π/20, exponential loss, from 0, ε = 1e-8 inside the root for "
        f"the sum of losses, 10^{power} steps; dashed: where it goes. No randomness."
    )
    axes = pn.plotting.curves(
        drawn,
        xlabel="steps",
        ylabel="distance to the max margin direction",
        levels=levels,
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _missing(eta: float, power: int, off: float, first: float, limit: float) -> Line:
    return Line.between(
        f"fig. 2, η = {eta:g}: share of the way still missing after 10^{power} steps",
        0.6,
        1.0,
        expected=0.7,
        measured=float((off - limit) / (first - limit)),
        certificate="60 % after 10^8 steps",
    )


def _others(rule: pn.optimizers.AdaGrad) -> list[Line]:
    """Figures 1 and 3: a case that weights turn, and one that they can't."""
    lines = []
    turned = pair(3 * np.pi / 8, 9 * np.pi / 20)
    stable = pair(5 * np.pi / 8, -np.pi / 8)
    for name, problem in {"fig. 1": turned, "fig. 3": stable}.items():
        best = pn.max_margin(problem, pn.norms.L2(), tol=1e-10)
        run = finished(pn.train(problem, rule, steps=10_000, step_size=0.5, record=20))
        found = pn.limit(problem, run)
        weights = np.asarray(found.weights)
        # AdaGrad's own weights, and the quadratic program that they pose
        own = pn.max_margin(problem, found.norm, tol=1e-10)
        lines.append(
            Line.most(
                f"{name}: distance of the limit from the max margin of its weights",
                1e-6,
                measured=_distance(weights, own),
                certificate=(
                    f"KKT residual {float(found.kkt_residual):.0e}, gap of the largest "
                    f"margin {float(own.gap):.0e}"
                ),
            )
        )
        distance = _distance(weights, best)
        if name == "fig. 3":
            lines.append(
                Line.most(
                    "fig. 3: distance of the limit from the ℓ2 max margin",
                    1e-6,
                    measured=distance,
                    certificate="stable: every diagonal weighting has this direction",
                )
            )
        else:
            lines.append(
                Line.near(
                    "fig. 1: distance of the limit from the ℓ2 max margin",
                    expected=LIMITS[0.5],
                    within=2e-5,
                    measured=distance,
                    certificate="expected: that of fig. 2, whose mirror image it is",
                )
            )
    return lines


def _distance(w: np.ndarray, best: pn.MaxMargin) -> float:
    a, b = np.ravel(w), np.ravel(np.asarray(best.weights))
    return float(np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b)))
