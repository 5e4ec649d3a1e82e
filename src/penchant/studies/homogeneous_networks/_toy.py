import itertools

import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._study import Figure, Line, Preset
from penchant.studies.homogeneous_networks._setup import RULES, N

STARTS = 6

NETWORK = pn.networks.MLP((2, 1, 1), pn.networks.LeakyReLU(0.5))


def _problem(seed: int) -> pn.NetworkClassification:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, 2))
    X[:, 0] += np.sign(X[:, 0])
    return pn.NetworkClassification(
        NETWORK, NETWORK.params(0), X, np.sign(X[:, 0]), loss=pn.losses.Exponential()
    )


def toy(preset: Preset = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Experiment 2: the direction of $h_\infty$ by the start, three parameters.

    $w_3\,\sigma(w_1x_1+w_2x_2)$, leaky ReLU of slope ½, eight separable samples in the
    plane, exponential loss; flows to a log-loss of -1000 from a standard normal.
    $h_\infty$ is isotropic for RMSProp and Adam; for AdaGrad each start has its own.
    """
    problem = _problem(seed)
    count = STARTS if preset.quick else 2 * STARTS
    inits = [
        np.random.default_rng(k).normal(size=3)
        for k in range(seed + 1, seed + 1 + count)
    ]
    rules = (
        ("AdaGrad", "RMSProp") if preset.quick else ("AdaGrad", "RMSProp", "Adam w/m")
    )
    lines, drawn, plain = [], {}, {}
    for rule in rules:
        directions, residuals, euclidean = [], [], []
        for init in inits:
            run = pn.flows.adaptive_flow(
                problem, RULES[rule], init=problem.unflat(jnp.asarray(init)), record=30
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
                Line(
                    "AdaGrad: largest angle between directions of h∞, degrees",
                    32.0,
                    10.0,
                    90.0,
                    float(max(angles)),
                    f"{told}; expected: of the note's six starts",
                )
            )
        else:
            off = max(np.abs(h * 3.0**0.5 - 1.0).max() for h in directions)
            lines.append(
                Line(
                    f"{rule}: largest relative departure of h∞ from isotropic",
                    0.0,
                    0.0,
                    1e-6,
                    float(off),
                    told,
                )
            )
    share = plain["AdaGrad"] / plain["RMSProp"]
    lines.append(
        Line(
            "ℓ2 margin of AdaGrad's limit over RMSProp's from the same start, least",
            0.7,
            0.3,
            0.99,
            float(share.min()),
            f"up to {share.max():.4f} over {count} starts",
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
