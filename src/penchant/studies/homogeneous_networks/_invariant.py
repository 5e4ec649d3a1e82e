from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.homogeneous_networks._setup import (
    RULES,
    SHIFT,
    at,
    degree_of,
    depths,
    flow,
    tail,
    toy,
)

PAIRS = (
    ("linear", "GD"),
    ("linear", "AdaGrad"),
    ("ReLU", "GD"),
    ("ReLU", "RMSProp"),
    ("linear", "RMSProp"),
    ("linear", "Adam w/m"),
)


class Sizes(NamedTuple):
    """Models, losses, and the log-losses down to which their flows go."""

    flows: tuple[tuple[str, str, float], ...]


FLOWS = (
    ("linear", "exponential", -1000.0),
    ("squared ReLU", "exponential", -1000.0),
    ("linear", "logistic", -100.0),
    ("ReLU", "exponential", -1000.0),
    ("deep linear", "exponential", -1000.0),
    ("ReLU", "logistic", -100.0),
    ("squared ReLU", "logistic", -100.0),
    ("deep linear", "logistic", -100.0),
)
SIZES = Presets(Sizes(FLOWS[:3]), Sizes(FLOWS))


def invariant(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""What AdaGrad's flow conserves, along the whole of it.

    $\mathcal L+2\eta\sum_i\sqrt{\varepsilon+v_i}$ is constant for any model and loss.
    Flows at relative tolerance $3\cdot10^{-10}$ down to $\log1/\mathcal L=1000$ with
    the exponential loss, 100 with the logistic one. From it, $h_\infty$ is known to add
    up to $p\sqrt\varepsilon+\mathcal L(0)/2\eta$.
    """
    (pairs,) = SIZES.of(preset)
    lines, drawn = [], {}
    for name, loss, log_loss in pairs:
        run = flow(name, "AdaGrad", seed, loss, log_loss)
        values = np.asarray(run.invariant())
        off = np.abs(values / values[0] - 1.0)
        drawn[f"{name}, {loss}"] = (depths(run) + SHIFT + 1.0, off)
        lines.append(
            Line.most(
                f"{name}, {loss}: largest relative change of the invariant",
                1e-9,
                measured=float(off.max()),
                certificate=(
                    f"{len(values)} records, log-loss from "
                    f"{float(run.log_loss[0]):.3g} "
                    f"to {float(run.log_loss[-1]):.0f}"
                ),
            )
        )
        problem, eps = toy(name, seed, loss), float(RULES["AdaGrad"].eps)
        wanted = problem.parameters * eps**0.5 + 0.5 * np.exp(float(run.log_loss[0]))
        total = float(np.sum(np.exp(-np.asarray(run.log_preconditioner[-1]))))
        lines.append(
            Line.near(
                f"{name}, {loss}: sum of 1/h at the end",
                expected=float(wanted),
                within=1e-8 * float(wanted),
                measured=total,
                certificate="expected: p√ε + L(0)/2η",
            )
        )
    caption = (
        "Relative change of AdaGrad's invariant along its flow, tolerance 3e-10, "
        "8 samples, ε = .01 inside the root for the sum of losses, η = 1, by model and "
        f"loss; seed {seed}."
    )
    axes = pn.plotting.curves(
        drawn,
        xlabel="1 − log of the mean loss",
        ylabel="relative change",
        logy=True,
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


class Cases(NamedTuple):
    """Models and the rules of their flows."""

    flows: tuple[tuple[str, str], ...]


CASES = Presets(Cases(PAIRS[:3]), Cases(PAIRS))


def rates(preset: Preset | Cases = Preset.QUICK, seed: int = 0) -> Figure:
    r"""The sharp constant of the rate, and of the norm's growth.

    With $\gamma$ the limit's margin in the coordinates $h_\infty^{-1/2}\odot w$,
    $C=T\,\mathcal L\,L^2\gamma^{2/L}(\log1/\mathcal L)^{2-2/L}\to1$ and
    $\gamma\|v\|^L/\log\frac1{\mathcal L}\to1$. Both at $\log1/\mathcal L=1000$, for the
    sum of losses. Where the direction has not settled by then $C$ is not near 1 yet.
    """
    (cases,) = CASES.of(preset)
    lines, drawn = [], {}
    for name, rule in cases:
        problem, run = toy(name, seed), flow(name, rule, seed)
        degree = degree_of(problem)
        log_h = np.asarray(run.log_preconditioner[-1])
        limit = np.asarray(problem.flat(tail(name, rule, seed)[0].weights))
        gamma = _margin(problem, limit, log_h)
        depth = depths(run)
        deep = depth > 10.0
        log_C = (
            np.asarray(run.log_time)[deep]
            - depth[deep]
            - SHIFT
            + 2.0 * np.log(degree)
            + 2.0 / degree * np.log(gamma)
            + (2.0 - 2.0 / degree) * np.log(depth[deep])
        )
        drawn[f"{name}, {rule}"] = (depth[deep], np.abs(np.exp(log_C) - 1.0))
        final = float(np.exp(log_C[-1]))
        residual = float(tail(name, rule, seed)[1].residual)
        exact = name == "linear" and rule in ("GD", "AdaGrad")
        wide = 1e-4 if exact else 1e-3
        lines.append(
            Line.near(
                f"{name}, {rule}: constant of the loss's rate at 1000",
                expected=1.0,
                within=wide,
                measured=final,
                certificate=(
                    "expected: the limit; "
                    f"γ of a limit with KKT residual {residual:.0e}"
                ),
            )
        )
        w = np.asarray(problem.flat(at(run.weights, -1)))
        v = np.linalg.norm(w * np.exp(-0.5 * log_h))
        grown = float(gamma * v**degree / depth[-1])
        lines.append(
            Line.between(
                f"{name}, {rule}: γ‖v‖^L over log 1/L at 1000",
                0.998,
                1.003,
                expected=1.0,
                measured=grown,
                certificate="of order log(N)/1000",
            )
        )
    caption = (
        "How far the constant of the loss's rate is from 1, flows on 8 samples, "
        "exponential loss, ε = .01 inside the root for the sum of losses, "
        f"b₂ = .9; seed {seed}."
    )
    axes = pn.plotting.curves(
        drawn, xlabel="log of 1 / sum of losses", ylabel="|C − 1|", logy=True
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _margin(
    problem: pn.NetworkClassification, w: np.ndarray, log_h: np.ndarray
) -> float:
    least = float(np.asarray(problem.margins(problem.unflat(jnp.asarray(w)))).min())
    return least / float(np.linalg.norm(w * np.exp(-0.5 * log_h))) ** degree_of(problem)
