"""The slow flow, corrected and as printed, against runs of ever smaller steps."""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import solve_ivp

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.adam_sharpness._setup import (
    HUES,
    AfterRunIn,
    monomial,
    onto_monomial,
)

POWERS, START = (2, 1), (2.0, 1.0)

RATE = 2.0
"""c of 1 - β2 = cη²."""

SETTLED = 3.0
"""Memories of v without a step, before a run begins: its bias is corrected for."""


class Sizes(NamedTuple):
    """Step sizes, each half the one before, seeds, and rules by name."""

    step_sizes: tuple[float, ...]
    seeds: int
    rules: tuple[str, ...] = ("Adam", "AdamE, λ = ¼")
    time: float = 4.0


SIZES = Presets(
    Sizes((0.04, 0.02), 512, ("Adam",), 2.0), Sizes((0.04, 0.02, 0.01), 4096)
)


def make(name: str, step_size: float) -> tuple[Any, float]:
    """A rule of the 2-scheme, and its power."""
    b2 = 1 - RATE * step_size**2
    if name == "Adam":
        return pn.optimizers.Adam(0.9, b2, 0.0, bias_correction=True), 0.5
    if name == "AdamE, λ = ¼":
        return pn.optimizers.AdamE(0.9, b2, 0.0, 0.25, bias_correction=True), 0.25
    return pn.optimizers.GradientDescent(), 0.0


def moments(t: float) -> float:
    r"""Rate of a corrected memory after the run-in: $c/(1-e^{-c(t+t_0)})$."""
    return RATE / -math.expm1(-RATE * t - SETTLED)


def right(t: float, state: np.ndarray, exponent: float, printed: bool) -> np.ndarray:
    r"""The slow flow on $x^2y=1$ for $S=v^{-\lambda}$, $\alpha=1$, by hand.

    With $n=\nabla h$, $H=nn^\top$ there and $\nabla\langle H,S\rangle=2\sum_jS_jn_j
    \nabla n_j$. Corrected: $-\frac14\partial\Phi_SS\nabla\langle H,S\rangle$; printed:
    $-\frac12S\,\partial\Phi_SS\nabla\langle H,S\rangle$.
    """
    (x, y), v = state[:2], state[2:]
    n = np.array([2 * x * y, x * x])
    hessian = np.array([[2 * y, 2 * x], [2 * x, 0.0]])
    S = v**-exponent
    q = S * (hessian @ (2 * S * n))
    u = q - S * n * (n @ q) / (n @ (S * n))
    drift = -0.5 * S * u if printed else -0.25 * u
    if not printed:  # held on the curve against rounding
        drift = drift - 50.0 * S * n * (x * x * y - 1) / (n @ (S * n))
    return np.concatenate([drift, moments(t) * (n * n - v)])


def followed(exponent: float, at: np.ndarray, printed: bool) -> np.ndarray:
    """The flow's weights, then v, at some times; v is settled at the start."""
    x = np.array([START[0], START[0] ** -2.0])
    n = np.array([2 * x[0] * x[1], x[0] ** 2])
    told = solve_ivp(
        right, (0.0, float(at[-1]) + 1e-9), np.concatenate([x, n * n]),
        args=(exponent, printed), method="LSODA", t_eval=at, rtol=1e-10, atol=1e-12,
    )  # fmt: skip
    return told.y.T


class Seen(NamedTuple):
    """Times, the mean of projected runs, its largest error, and both flows there."""

    times: np.ndarray
    mean: np.ndarray
    error: float
    right: np.ndarray
    printed: np.ndarray


def runs(name: str, step_size: float, sizes: Sizes, seed: int) -> Seen:
    """Projected runs of one rule with label noise 1, averaged over seeds."""
    rule, exponent = make(name, step_size)
    run_in = round(SETTLED / (RATE * step_size**2)) if exponent else 0
    steps = run_in + round(sizes.time / step_size**2)
    seeds = list(range(seed, seed + sizes.seeds))
    seen = pn.sweep(
        monomial(POWERS, START), rule, grid={"seed": seeds},
        steps=steps, step_size=AfterRunIn(step_size, run_in), record=300,
        progress=False,
    )  # fmt: skip
    times = (np.asarray(seen.step) - run_in) * step_size**2
    kept = times > 0.05 * sizes.time
    told = followed(exponent, times[kept], printed=False)
    S = told[:, 2:] ** -exponent
    at = onto_monomial(np.asarray(seen.weights)[:, kept], POWERS, S)
    error = at.std(axis=0, ddof=1).max() / np.sqrt(sizes.seeds)
    wrong = followed(exponent, times[kept], printed=True)
    return Seen(times[kept], at.mean(axis=0), float(error), told[:, :2], wrong[:, :2])


def flow(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Runs on $x^2y=1$ against the slow flow, corrected and as printed.

    The weak error of a slow flow that is right falls at least as fast as the step size,
    faster where a term of second order still counts; that of the printed one, with a
    factor $S$ and a factor 2 too many, stays. Memories begin settled, after steps of
    size 0, and the flows have the corrected memory's rate.
    """
    sizes = SIZES.of(preset)
    lines, drawn, points = [], {}, {}
    for name in sizes.rules:
        errors, missed, spreads = [], [], []
        for step_size in sizes.step_sizes:
            seen = runs(name, step_size, sizes, seed)
            errors.append(float(np.abs(seen.mean - seen.right).max()))
            missed.append(float(np.abs(seen.mean - seen.printed).max()))
            spreads.append(seen.error)
            points[name] = (seen.times[::12], seen.mean[::12, 0])
        told = ", ".join(
            f"{e:.4f} ± {s:.1g} at η = {eta:g}"
            for e, s, eta in zip(errors, spreads, sizes.step_sizes, strict=True)
        )
        for (coarse, fine), at, eta in zip(
            itertools.pairwise(errors),
            itertools.pairwise(spreads),
            sizes.step_sizes[1:],
            strict=True,
        ):
            ratio = coarse / fine
            # of independent errors; the largest over time is at least its mean
            share = math.hypot(*(2 * s / e for s, e in zip(at, (coarse, fine),
                                                           strict=True)))  # fmt: skip
            lines.append(
                Line.least(
                    f"{name}: error at twice η = {eta:g} over that at it",
                    1.7 - ratio * share,
                    expected=2.0,
                    measured=ratio,
                    certificate=f"± {ratio * share:.2g} (two standard errors); {told}",
                )
            )
        lines.append(
            Line.least(
                f"{name}: least error of the flow as printed",
                10 * errors[-1],
                expected=missed[0],
                measured=min(missed),
                certificate=f"corrected: {errors[-1]:.4f}",
            )
        )
        exponent = make(name, sizes.step_sizes[0])[1]
        at = np.linspace(0.0, sizes.time, 200)[1:]
        drawn[name] = (at, followed(exponent, at, printed=False)[:, 0])
        drawn[f"{name}, printed"] = (at, followed(exponent, at, printed=True)[:, 0])
    caption = (
        "Slow flows on x²y = 1 (lines; dashed as printed) and projected runs "
        f"(circles), mean of {sizes.seeds} seeds, η = {sizes.step_sizes[-1]:g}, "
        "label noise 1, 1 - β₂ = 2η²."
    )
    axes = pn.plotting.curves(
        drawn,
        points=points,
        xlabel="slow time T",
        ylabel="x",
        logx=False,
        dashed=[name for name in drawn if "printed" in name],
        colours={name: HUES[name.removesuffix(", printed")] for name in drawn},
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})
