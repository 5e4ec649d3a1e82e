import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._study import Figure, Line, Preset
from penchant.studies.spectral_descent._setup import (
    best,
    curves,
    data,
    descent,
    finished,
    gap_of,
    interval,
    known,
    named,
    over_seeds,
    seeds,
    shares,
    steps_of,
)

# a polar map, its matrix products, and the note's spectral and Frobenius shares of seed
# 0 after 10^5 constant steps; Polar Express is not in the note
POLARS: dict[str, tuple[Any, int, tuple[float, float] | None]] = {
    "exact": (pn.optimizers.ExactPolar(), 0, (0.9997, 0.881)),
    "Newton–Schulz 5": (pn.optimizers.NewtonSchulz(5), 15, (0.946, 0.990)),
    "Newton–Schulz 10": (pn.optimizers.NewtonSchulz(10), 30, (0.866, 0.961)),
    "Newton–Schulz 20": (pn.optimizers.NewtonSchulz(20), 60, (0.890, 0.958)),
    "cubic 5": (pn.optimizers.CubicNewtonSchulz(5), 10, (0.982, 0.983)),
    "cubic 15": (pn.optimizers.CubicNewtonSchulz(15), 30, (0.9996, 0.945)),
    "cubic 30": (pn.optimizers.CubicNewtonSchulz(30), 60, (0.9998, 0.900)),
    "Polar Express 5": (pn.optimizers.PolarExpress(5), 15, None),
    "Polar Express 6": (pn.optimizers.PolarExpress(6), 18, None),
    "Polar Express 8": (pn.optimizers.PolarExpress(8), 24, None),
}
QUICK = ("exact", "Newton–Schulz 5", "Polar Express 8")

LABELS = ("spectral", "ℓ2", "ℓ∞", "ℓ1", "nuclear")


def polars(preset: Preset = Preset.QUICK, seed: int = 0) -> Figure:
    r"""What practical Muon maximises: shares in every norm by its polar factor.

    Constant steps of $.1/R_*$ without momentum on the paper's data, $10^5$ of them
    (5000 in the quick preset). Five usual Newton--Schulz steps end nearer the
    Frobenius margin than the spectral one. The reason is in the steps: their singular
    values are anywhere in [.7, 1.2] by where the gradient's were, so the step is not
    steepest, and the pattern does not average out. Converging iterations bring all but
    the smallest to 1, which late in a run may be below what they resolve: a few more
    cubic steps, or as many quintic ones with the best coefficients (Polar Express).

    Numbers are those of the seed asked for, as the note's are of one; the polar
    factors of the quick preset have five seeds besides, two in that preset.
    """
    steps = steps_of(preset, 5_000, 100_000)
    some = seeds(seed, preset, quick=2)
    lines: list[Line] = []
    points: dict[str, list[tuple[int, float]]] = {}
    drawn: dict[str, list[tuple[Any, Any]]] = {}
    labels = LABELS[:3] if preset.quick else LABELS
    gap = known([best(seed, label).gap for label in labels])
    ends: dict[str, list[dict[str, float]]] = {}
    for name in QUICK if preset.quick else tuple(POLARS):
        polar, products, wanted = POLARS[name]
        runs = {
            s: _polar_run(name, s, steps) for s in (some if name in QUICK else [seed])
        }
        ratios = {s: shares(run, s, labels) for s, run in runs.items()}
        ends[name] = [
            {label: float(ratio[-1]) for label, ratio in found.items()}
            for found in ratios.values()
        ]
        if name in QUICK:
            drawn[name] = [
                (np.asarray(run.steps), gap_of(ratios[s]["spectral"]))
                for s, run in runs.items()
            ]
        family = name.rstrip(" 0123456789")
        points.setdefault(family, []).append((products, 1 - ends[name][0]["spectral"]))
        if wanted is not None:
            for label, value in zip(("spectral", "ℓ2"), wanted, strict=True):
                # the note's are of seed 0 at 10^5 steps; earlier, and elsewhere, wider
                wide = 0.004 if seed == 0 and not preset.quick else 0.08
                lines.append(
                    Line(
                        f"{name}, {label} share after {steps:,} steps",
                        value,
                        value - wide,
                        min(value + wide, 1.0 + 1e-9),
                        ends[name][0][label],
                        f"{_others(ends[name][0], label)}; {gap}; seed {seed}; "
                        f"{interval([end[label] for end in ends[name]])}",
                    )
                )
        if name in ("exact", "Newton–Schulz 5"):
            lines.append(_evenness(name, polar, runs))
    remedy = [
        remedied["spectral"] - usual["spectral"]
        for remedied, usual in zip(
            ends["Polar Express 8"], ends["Newton–Schulz 5"], strict=True
        )
    ]
    lines.append(
        Line(
            "gain in spectral share, Polar Express 8 over Newton–Schulz 5",
            0.053,
            0.01,
            0.3,
            float(np.mean(remedy)),
            interval(remedy),
        )
    )
    caption = (
        "Gap to the largest spectral margin of Muon without momentum, by its polar "
        f"factor: constant step .1/R*, {steps:,} steps, mean of {named(some)}, bands "
        "from least to greatest."
    )
    means, bands = over_seeds(drawn)
    axes = curves(means, bands=bands, x="steps", y="relative spectral margin gap")
    pictures = {caption: pn.plotting.themed_svg(axes, caption)}
    caption = (
        f"Gaps after {steps:,} steps, seed {seed}, against the cost of a step in "
        "matrix products (three a quintic step, two a cubic one)."
    )
    exact = 1 - ends["exact"][0]["spectral"]
    lines_ = {
        family: tuple(np.array(sorted(rows)).T)
        for family, rows in points.items()
        if family != "exact"
    }
    most = max(products for rows in points.values() for products, _ in rows)
    lines_["exact, for comparison"] = (np.array([10, most]), np.array([exact, exact]))
    axes = curves(
        lines_,
        x="matrix products a step",
        y="spectral gap at the end",
        logs="y",
        marks=True,
        size=(7.2, 3.0),
    )
    pictures[caption] = pn.plotting.themed_svg(axes, caption)
    return Figure(tuple(lines), pictures)


def _polar_run(name: str, seed: int, steps: int) -> pn.Trajectory:
    polar, *_ = POLARS[name]
    problem = data(seed)
    eta = pn.theory.papers.fan2025spectral.scale_free_step(
        problem, pn.norms.Spectral(), 0.1
    )
    if name == "exact":  # the same steps as those of descent in the spectral norm
        return descent(seed, "spectral", float(eta), 0.0, steps)
    rule = pn.optimizers.Muon(0.0, polar)
    return finished(pn.train(problem, rule, steps=steps, step_size=eta))


def _evenness(name: str, polar: Any, runs: Mapping[int, pn.Trajectory]) -> Line:
    """Least over greatest singular value of the last step: 1 if it is steepest."""
    found, text = [], ""
    for s, run in runs.items():
        step = _step(polar, data(s), run.weights[-1])
        values = np.linalg.svd(np.asarray(step), compute_uv=False)
        values = values[: data(s).classes - 1]  # the last is 0 in exact arithmetic
        found.append(float(values[-1] / values[0]))
        text = text or (
            f"from {values[-1]:.3g} to {values[0]:.3g}, of rank {len(values)}, seed {s}"
        )
    low, high = (1 - 1e-9, 1 + 1e-9) if name == "exact" else (0.0, 0.85)
    return Line(
        f"{name}, least over greatest singular value of the last step",
        1.0 if name == "exact" else 0.6,
        low,
        high,
        found[0],
        f"{text}; {interval(found)}",
    )


@eqx.filter_jit
def _step(polar: Any, problem: Any, weights: Any) -> Any:
    return polar(problem.scaled_gradient(weights).direction)


def _others(ended: dict[str, float], label: str) -> str:
    return ", ".join(f"{k} {v:.3f}" for k, v in ended.items() if k != label)


def memories(preset: Preset = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Adam without ε and Shampoo: how long a memory hides the geometry.

    Steps $\eta_0t^{-1/2}$, $10^4$ of them. Adam becomes sign-like after
    $t_A=(2\gamma\eta_0/(1-\beta_2))^2$ steps only, which is far beyond the run for the
    usual $\beta_2=.999$. Numbers are those of the seed asked for, as the note's are of
    one; beside them is what five seeds have (two in the quick preset).
    """
    some = seeds(seed, preset, quick=2)
    gamma = best(seed, "ℓ∞").margin
    # b2, and the share of seed 0 that the note has
    adam = ((0.95, 0.940), (0.99, 0.714), (0.999, 0.670))
    shampoo = ((0.9, 0.967), (0.99, 0.951))
    lines: list[Line] = []
    drawn: dict[str, list[tuple[Any, Any]]] = {}

    def add(name: str, rule: Any, first: float, label: str, *wanted: Any) -> None:
        value, wide, note = wanted
        step_size = pn.schedules.power(first, 0.5, offset=1)
        ends = []
        for s in some:
            run = pn.train(data(s), rule, steps=10_000, step_size=step_size)
            ratio = shares(finished(run), s, (label,))[label]
            ends.append(float(ratio[-1]))
            curve = (np.asarray(run.steps), np.where(ratio > 0, ratio, np.nan))
            drawn.setdefault(name, []).append(curve)
        lines.append(
            Line(
                f"{name}, {label} share after 10,000 steps",
                value,
                value - wide,
                value + wide,
                ends[0],
                f"seed {seed}; {interval(ends)}{note}",
            )
        )

    for b2, value in adam[::2] if preset.quick else adam:
        start = pn.theory.papers.fan2025spectral.sign_phase_start(
            gamma, pn.schedules.power(0.1, 0.5, offset=1), b2
        )
        rule = pn.optimizers.Adam(0.9, b2, 0.0, bias_correction=True)
        wide = 0.004 if seed == 0 else 0.08
        note = f"; sign-like from step {start:.2g} on"
        add(f"Adam, b2 = {b2:g}", rule, 0.1, "ℓ∞", value, wide, note)
    for b2, value in shampoo[:1] if preset.quick else shampoo:
        wide = 0.005 if seed == 0 else 0.05
        rule = pn.optimizers.Shampoo(b2)
        add(f"Shampoo, b2 = {b2:g}", rule, 0.05, "spectral", value, wide, "")
    caption = (
        "Share of the largest margin, ℓ∞ for Adam without ε and spectral for Shampoo, "
        f"by the memory of the second moments; steps .1 and .05 t^-1/2, mean of "
        f"{named(some)}, bands from least to greatest."
    )
    means, bands = over_seeds(drawn)
    axes = curves(means, bands=bands, x="steps", y="share of the margin", logs="x")
    axes.set_ylim(0.0, 1.02)
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def frameworks(preset: Preset = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Muon of optax and of torch beside ours: five Newton--Schulz steps each.

    The same constant step, no momentum, no decay. optax runs inside `train`
    (`FromOptax`), on gradients as they are: its $\varepsilon$ of $10^{-8}$ beside the
    length of a gradient stops it once losses are that small. torch runs its own loop,
    in bfloat16 within the iteration, on gradients scaled to order one, since its
    autograd would freeze at a margin of 36.8 and its $\varepsilon$ before. 5000 steps,
    since optax without $\varepsilon$ diverged after some 9000 on one seed of five, near
    where the square of a gradient's length underflows. Offered where both are
    installed. Means over five seeds; the quick preset has one, and leaves out optax
    with its $\varepsilon$.
    """
    import torch

    torch.set_num_threads(1)  # small matrices: more threads only wait for each other
    steps = steps_of(preset, 500, 5_000)
    labels = ("spectral", "ℓ2")
    some = seeds(seed, preset, quick=1)
    epsilons = (0.0,) if preset.quick else (0.0, 1e-8)
    found = {s: _of_frameworks(torch, s, steps, labels, epsilons) for s in some}
    lines = []
    names = [name for name in found[seed] if name != "ours"]
    for name in names:
        for label in labels:
            theirs = [by[name][label] for by in found.values()]
            ours = [by["ours"][label] for by in found.values()]
            away = float(np.abs(np.subtract(theirs, ours)).max())
            wide = 1e-6 if name == "optax, eps = 0" else 0.05
            lines.append(
                Line(
                    f"{name}, {label} share after {steps:,} steps",
                    float(np.mean(ours)),
                    float(np.mean(ours)) - wide,
                    float(np.mean(ours)) + wide,
                    float(np.mean(theirs)),
                    "expected: ours, in float64, from which the farthest seed is "
                    f"{away:.1g} away; {interval(theirs)}",
                )
            )
    return Figure(tuple(lines))


def _of_frameworks(
    torch: Any,
    seed: int,
    steps: int,
    labels: Sequence[str],
    epsilons: Sequence[float],
) -> dict[str, dict[str, float]]:
    """By who computed them, shares of the margins at the end, by norm."""
    import optax

    problem = data(seed)
    eta = pn.theory.papers.fan2025spectral.scale_free_step(
        problem, pn.norms.Spectral(), 0.1
    )
    # both multiply by the root of the matrix's aspect ratio, 25 / 10 for optax
    factor = (problem.weight_shape[1] / problem.weight_shape[0]) ** 0.5

    def ended(weights: Any) -> dict[str, float]:
        least = float(problem.margins(weights).min())
        return {
            label: least
            / float(best(seed, label).norm(weights))
            / float(best(seed, label).margin)
            for label in labels
        }

    def train(rule: Any) -> dict[str, float]:
        with jax.numpy_dtype_promotion("standard"):  # optax counts steps in int32
            run = finished(pn.train(problem, rule, steps=steps, step_size=eta))
        return ended(run.weights[-1])

    def of_optax(eps: float) -> Any:
        return pn.optimizers.FromOptax(
            optax.contrib.muon(1.0 / factor, beta=0.0, eps=eps, nesterov=False)
        )

    return {
        "ours": train(pn.optimizers.Muon(0.0, pn.optimizers.NewtonSchulz(5))),
        **{f"optax, eps = {eps:g}": train(of_optax(eps)) for eps in epsilons},
        "torch, bfloat16": ended(_torch_muon(torch, problem, eta, steps)),
    }


def _torch_muon(torch: Any, problem: Any, eta: float, steps: int) -> Any:
    """`torch.optim.Muon` on gradients that are scaled to order one."""
    W = torch.zeros(problem.weight_shape, dtype=torch.float64, requires_grad=True)
    rule = torch.optim.Muon([W], lr=eta, momentum=0.0, nesterov=False, weight_decay=0.0)
    direction = jax.jit(lambda w: problem.scaled_gradient(w).direction)
    for _ in range(steps):
        g = direction(jnp.asarray(W.detach().numpy()))
        W.grad = torch.from_numpy(np.array(g / jnp.max(jnp.abs(g))))
        rule.step()
    return jnp.asarray(W.detach().numpy())


def both_installed() -> bool:
    """Whether optax and torch can be imported; neither is."""
    return all(importlib.util.find_spec(name) for name in ("optax", "torch"))
