import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.homogeneous_networks._setup import RULES, N

NETWORK = pn.networks.MLP((2, 1, 1), pn.networks.LeakyReLU(0.5))


class Sizes(NamedTuple):
    """How many starts, and rules by name; AdaGrad and RMSProp are compared."""

    starts: int
    rules: dict[str, pn.optimizers.AbstractOptimizer]


SIZES = Presets(
    Sizes(6, {name: RULES[name] for name in ("AdaGrad", "RMSProp")}),
    Sizes(12, {name: RULES[name] for name in ("AdaGrad", "RMSProp", "Adam w/m")}),
)


def _problem(seed: int) -> pn.NetworkClassification:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, 2))
    X[:, 0] += np.sign(X[:, 0])
    return pn.NetworkClassification(
        NETWORK, NETWORK.params(0), X, np.sign(X[:, 0]), loss=pn.losses.Exponential()
    )


def toy(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Experiment 2: the direction of $h_\infty$ by the start, three parameters.

    $w_3\,\sigma(w_1x_1+w_2x_2)$, leaky ReLU of slope ½, eight separable samples in the
    plane, exponential loss; flows to a log-loss of -1000 from a standard normal.
    $h_\infty$ is isotropic for RMSProp and Adam; for AdaGrad each start has its own.
    """
    problem = _problem(seed)
    count, rules = SIZES.of(preset)
    inits = [
        np.random.default_rng(k).normal(size=3)
        for k in range(seed + 1, seed + 1 + count)
    ]
    lines, drawn, plain = [], {}, {}
    for rule, optimizer in rules.items():
        directions, residuals, euclidean = [], [], []
        for init in inits:
            run = pn.flows.adaptive_flow(
                problem, optimizer, init=problem.unflat(jnp.asarray(init)), record=30
            )
            norm = run.norm()
            end = pn.flows.tail_flow(problem, run.last, norm=norm)
            residuals.append(float(pn.kkt(problem, end.weights, norm).residual))
            euclidean.append(float(pn.kkt(problem, end.weights).margin))
            h = np.exp(np.asarray(run.log_preconditioner[-1]))
            directions.append(h / np.linalg.norm(h))
        drawn[rule], plain[rule] = directions, np.array(euclidean)
        angles = [
            np.degrees(np.arccos(np.clip(a @ b, -1.0, 1.0)))
            for a, b in itertools.combinations(directions, 2)
        ]
        told = f"{count} starts; KKT residuals of their limits to {max(residuals):.0e}"
        if rule == "AdaGrad":
            lines.append(
                Line.between(
                    "AdaGrad: largest angle between directions of h∞, degrees",
                    10.0,
                    90.0,
                    expected=32.0,
                    measured=float(max(angles)),
                    certificate=f"{told}; expected: typical of six",
                )
            )
        else:
            off = max(np.abs(h * 3.0**0.5 - 1.0).max() for h in directions)
            lines.append(
                Line.most(
                    f"{rule}: largest relative departure of h∞ from isotropic",
                    1e-6,
                    measured=float(off),
                    certificate=told,
                )
            )
    share = plain["AdaGrad"] / plain["RMSProp"]
    lines.append(
        Line.between(
            "ℓ2 margin of AdaGrad's limit over RMSProp's from the same start, least",
            0.3,
            0.99,
            expected=0.7,
            measured=float(share.min()),
            certificate=f"up to {share.max():.4f} over {count} starts",
        )
    )
    caption = (
        "Direction of h∞ (unit length) in the plane of w₁ and w₃, one point a start; "
        "RMSProp's and Adam's are all at (.577, .577). Leaky ReLU unit, "
        f"8 samples in the plane, {count} starts, exponential "
        f"loss, data of seed {seed}."
    )
    axes = pn.plotting.curves(
        {},
        points={
            rule: (np.array(hs)[:, 0], np.array(hs)[:, 2]) for rule, hs in drawn.items()
        },
        xlabel="h∞ of w₁",
        ylabel="h∞ of w₃",
        logx=False,
        size=(5.6, 3.6),
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})
