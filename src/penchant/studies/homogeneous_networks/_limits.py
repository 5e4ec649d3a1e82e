from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.homogeneous_networks._setup import (
    EPS,
    RULES,
    at,
    depths,
    flow,
    start,
    tail,
    toy,
)

RESIDUAL = 0.003995
"""Of gradient descent's flow on the linear model at log 1/L of 1000, seed 0.

By SciPy's integrator on the three weights: `tests/studies/test_expected.py`.
"""

SQUARED_RELU = 0.287414
"""The margin of three rules' limits in the squared-ReLU network, seed 0.

By SciPy's optimizer on the margin itself: `tests/studies/test_expected.py`.
"""


EVERY = ("GD", "AdaGrad", "RMSProp", "Adam w/m")


class Residuals(NamedTuple):
    """Rules by model, and every how many records a residual is computed."""

    rules: Mapping[str, tuple[str, ...]]
    every: int


RESIDUALS = Presets(
    Residuals({"linear": EVERY[:2], "ReLU": EVERY[:1], "squared ReLU": EVERY}, every=2),
    Residuals(dict.fromkeys(("linear", "ReLU", "squared ReLU"), EVERY), every=1),
)


def kkt(preset: Preset | Residuals = Preset.QUICK, seed: int = 0) -> Figure:
    r"""How far from a KKT point a run is: the residual against $\log1/\mathcal L$.

    Flows of GD, AdaGrad, RMSProp and Adam without momentum on eight samples in three
    dimensions, exponential loss, $\varepsilon=10^{-2}$ inside the root for the *sum* of
    losses (that over $N^2$ for the mean), $b_2=.9$. The residual is the distance of the
    direction from the negative gradient's. It falls like $1/\log$ for linear models
    and at best like $\log^{-1/L}$ in networks, where parameters without a gradient
    keep their size: as slow as training gets. AdaGrad's is small in its own norm
    and not in the Euclidean one.
    """
    sizes = RESIDUALS.of(preset)
    lines, pictures = [], {}
    for name, rules in sizes.rules.items():
        problem, drawn = toy(name, seed), {}
        for rule in rules:
            run = flow(name, rule, seed)
            norm, depth = run.norm(), depths(run)
            shown = np.flatnonzero(depth > 10.0)[:: sizes.every]
            shown = np.unique([*shown, len(depth) - 1])
            norms = {"": norm}
            if rule == "AdaGrad":
                norms = {" in its norm": norm, " in ℓ2": pn.norms.L2()}
            for where, of in norms.items():
                residuals = [
                    float(pn.kkt(problem, at(run.weights, i), of, draws=1).dynamic)
                    for i in shown
                ]
                drawn[rule + where] = depth[shown], np.array(residuals)
            lines += _fallen(name, rule, seed, drawn)
        caption = (
            f"KKT residual of flows on the {name} model (degree {problem.degree:g}, "
            f"{problem.parameters} parameters) against the log of 1/loss: 8 samples, "
            "exponential loss, ε = .01 inside the root for the sum of losses, "
            f"b₂ = .9; data and start of seed {seed}."
        )
        axes = pn.plotting.curves(
            drawn,
            xlabel="log of 1 / sum of losses",
            ylabel="KKT residual",
            logy=True,
        )
        pictures[caption] = pn.plotting.themed_svg(axes, caption)
    return Figure(tuple(lines), pictures)


def _fallen(name: str, rule: str, seed: int, drawn: dict) -> list[Line]:
    if rule == "AdaGrad":
        _, weighted = drawn["AdaGrad in its norm"]
        _, plain = drawn["AdaGrad in ℓ2"]
        lines = [
            Line.between(
                f"{name}, AdaGrad: residual in ℓ2 over that in its norm, at 1000",
                100.0 if name == "linear" else 1.5,
                1e4,
                expected=1600.0 if name == "linear" else 4.0,
                measured=float(plain[-1] / weighted[-1]),
                certificate=(
                    f"{plain[-1]:.3g} and {weighted[-1]:.3g}; expected: typical, any "
                    "start passes"
                ),
            )
        ]
        return lines if name != "linear" else lines + _rate(name, rule, drawn)
    if name == "squared ReLU":
        # unsettled at 1000: how it falls later is in the figure of limits
        return []
    lines = _rate(name, rule, drawn)
    if name == "linear" and rule == "GD" and seed == 0:
        depth, residual = drawn[rule]
        lines.append(
            Line.near(
                "linear, GD: residual at 1000",
                expected=RESIDUAL,
                within=5e-3 * RESIDUAL,
                measured=float(np.interp(1000.0, depth, residual)),
                certificate="expected: SciPy's integrator, on the same start",
            )
        )
    return lines


def _rate(name: str, rule: str, drawn: dict) -> list[Line]:
    depth, residual = drawn.get(rule) or drawn[f"{rule} in its norm"]
    wanted = -1.0 if name == "linear" else -0.5
    late = depth > 99.0
    slope = np.polyfit(np.log(depth[late]), np.log(residual[late]), 1)[0]
    return [
        Line.near(
            f"{name}, {rule}: exponent of the residual in log(1/L), 100 to 1000",
            expected=wanted,
            within=0.1,
            measured=float(slope),
            certificate=f"fit to {late.sum()} records; expected: -1/L",
        )
    ]


class Limits(NamedTuple):
    """The rules whose limits in a deep linear network are found too."""

    deep: tuple[str, ...]


LIMITS = Presets(Limits(("RMSProp",)), Limits(("GD", "RMSProp", "Adam w/m")))


def limits(preset: Preset | Limits = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Limits at infinite time: which margins, and which KKT conditions, they have.

    Flows to $\log1/\mathcal L=1000$, then their tails to $\log\|w\|=30$, where the
    loss is below $e^{-e^{60}}$. GD, RMSProp and Adam end at the same margin on the
    squared-ReLU network; a deep linear network has the linear maximum over
    $3^{3/2}$; AdaGrad's limit satisfies the KKT conditions of its own norm only.
    """
    lines, drawn = [], {}
    rules = ("GD", "RMSProp", "Adam w/m")
    reached = {}
    for rule in rules:
        end, found = tail("squared ReLU", rule, seed)
        reached[rule] = float(found.margin)
        drawn[f"{rule}, squared ReLU"] = _path(end)
        if seed == 0:
            lines.append(
                Line.near(
                    f"squared ReLU, {rule}: ℓ2 margin of the limit",
                    expected=SQUARED_RELU,
                    within=1e-6,
                    measured=reached[rule],
                    certificate=f"KKT residual {float(found.residual):.0e}",
                )
            )
        lines.append(
            Line.most(
                f"squared ReLU, {rule}: KKT residual of the limit",
                1e-9,
                measured=float(found.residual),
                certificate="settled" if end.settled else "still turning",
            )
        )
    near = [tail("squared ReLU", "GD", seed, ell)[1] for ell in (8.0, 14.0)]
    fell = np.log(float(near[1].residual) / float(near[0].residual)) / 6.0
    lines.append(
        Line.near(
            "squared ReLU, GD: log of the residual per unit of log-norm, 8 to 14",
            expected=-1.0,
            within=0.02,
            measured=float(fell),
            certificate="expected: units without a gradient keep their size",
        )
    )
    end, found = tail("squared ReLU", "AdaGrad", seed)
    run, problem = flow("squared ReLU", "AdaGrad", seed), toy("squared ReLU", seed)
    plain = pn.kkt(problem, end.weights)
    drawn["AdaGrad, squared ReLU"] = _path(end)
    weights = np.exp(-np.asarray(run.log_preconditioner[-1]))
    lines += [
        Line.most(
            "squared ReLU, AdaGrad: KKT residual of the limit in its norm",
            1e-5,
            measured=float(found.residual),
            certificate=f"1/h from {weights.min():.3g} to {weights.max():.3g}",
        ),
        Line.between(
            "squared ReLU, AdaGrad: KKT residual of the limit in ℓ2",
            0.2,
            1.0,
            expected=0.44,
            measured=float(plain.residual),
            certificate="no KKT point of ℓ2; expected: typical, any start's passes",
        ),
    ]
    linear = pn.LinearClassification(problem.X, problem.y, loss=pn.losses.Exponential())
    best = pn.max_margin(linear, pn.norms.L2(), tol=1e-10)
    wanted = float(best.margin) / 3.0**1.5
    for rule in LIMITS.of(preset).deep:
        end, found = tail("deep linear", rule, seed)
        drawn[f"{rule}, deep linear"] = _path(end)
        lines.append(
            Line.near(
                f"deep linear, {rule}: ℓ2 margin of the limit",
                expected=wanted,
                within=1e-6,
                measured=float(found.margin),
                certificate=(
                    f"γ₂/3^1.5, γ₂ to {max(float(best.gap), 1e-15):.0e}; "
                    f"KKT residual {float(found.residual):.0e}"
                ),
            )
        )
    caption = (
        "How far directions turn per unit of log-norm, from a log-loss of -1000 to a "
        "log-norm of 30: squared-ReLU network 3-5-1 and deep linear network 3-4-4-1, "
        f"8 samples, exponential loss, seed {seed}."
    )
    axes = pn.plotting.curves(
        drawn,
        xlabel="log of the norm",
        ylabel="turn per unit of log-norm (rad)",
        logx=False,
        logy=True,
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _path(end: pn.flows.Tail) -> tuple:
    ell, turns = np.asarray(end.log_norms), np.asarray(end.turns)
    return ell[1:], turns[1:] / np.maximum(np.diff(ell), 1e-12)


class Runs(NamedTuple):
    """How long real runs are, from how many starts, and of which rules."""

    steps: int
    starts: int
    rules: tuple[str, ...]


RUNS = Presets(
    Runs(50_000, 2, ("AdaGrad", "RMSProp")),
    Runs(200_000, 5, ("AdaGrad", "RMSProp", "Adam w/m")),
)


def handoff(preset: Preset | Runs = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Real runs continued to their limit by one call, `pn.limit`.

    Constant steps of size $10^{-2}$ on the squared-ReLU network, from several starts.
    After all steps the KKT residual is a tenth or more; that of the limit is not. Run,
    flow and tail hand over to each other.
    """
    steps, count, rules = RUNS.of(preset)
    starts = range(seed, seed + count)
    lines, drawn = [], {}
    for rule in rules:
        for k in starts:
            problem = toy("squared ReLU", seed)
            init = problem.unflat(start(problem, k))
            run = finished(
                pn.train(
                    problem,
                    RULES[rule],
                    steps=steps,
                    step_size=1e-2,
                    init=init,
                    record=20,
                )
            )
            found = pn.limit(problem, run)
            first = found.stages[0]
            if rule == "AdaGrad":
                plain = float(pn.kkt(problem, found.weights).residual)
                lines.append(
                    Line.between(
                        f"AdaGrad, start {k}: KKT residual of the limit in ℓ2",
                        0.2,
                        1.0,
                        expected=0.54,
                        measured=plain,
                        certificate="no KKT point of ℓ2; expected: typical",
                    )
                )
            lines.append(
                Line.most(
                    f"{rule}, start {k}: KKT residual of the limit",
                    1e-5,
                    measured=float(found.kkt_residual),
                    certificate=(
                        f"margin {float(found.margin_l2):.6g} in ℓ2; now "
                        f"{first.residual:.2g} at a log-loss of {first.log_loss:.3g}"
                    ),
                )
            )
            for stage in found.stages:
                norms, residuals = drawn.setdefault(rule, ([], []))
                norms.append(stage.log_norm)
                residuals.append(stage.residual)
    caption = (
        f"KKT residual where {steps:,} constant steps of .01 end, where their flow "
        "ends (log-loss -1000; both on the left) and where its tail ends (log-norm "
        f"30), from {len(starts)} starts each: squared-ReLU "
        f"network 3-5-1, exponential loss, ε = {EPS:.3g} inside the root for the mean "
        f"loss, data of seed {seed}."
    )
    axes = pn.plotting.curves(
        {},
        points=drawn,
        xlabel="log of the norm",
        ylabel="KKT residual",
        logx=False,
        logy=True,
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})
