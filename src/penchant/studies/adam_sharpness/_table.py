"""Table 1: what each rule lowers, on a surface of minimisers with a closed form."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.adam_sharpness._setup import (
    HUES,
    diagonal_of,
    monomial,
    onto_monomial,
)

POWERS = (1, 2, 3)


class Case(NamedTuple):
    """A rule, its power, and the slow time in which it ends on $x_1x_2^2x_3^3=1$."""

    rule: Any
    exponent: float
    time: float
    blocks: tuple[int, ...] | None = None

    def onto(self, w: np.ndarray) -> np.ndarray:
        """Projected by the rule's own flow, its moments those of the noise there."""
        h = diagonal_of(w, POWERS)
        if self.blocks is not None:
            which = np.array(self.blocks)
            for b in np.unique(which):
                h[..., which == b] = h[..., which == b].mean(axis=-1, keepdims=True)
        return onto_monomial(w, POWERS, h**-self.exponent)

    def end(self) -> np.ndarray:
        r"""$x_j\propto a_j^{1-1/2e}$; with blocks $x_j\propto\sqrt{a_j|B|/A_B}$."""
        a = np.array(POWERS, float)
        if self.blocks is None:
            x = a ** (1 - 1 / (2 * (1 - self.exponent)))
        else:
            blocks = np.array(self.blocks)
            size = np.array([(blocks == b).sum() for b in blocks], float)
            total = np.array([a[blocks == b].sum() for b in blocks])
            x = np.sqrt(a * size / total)
        return x / np.prod(x**a) ** (1 / a.sum())


CASES = {
    "SGD": Case(pn.optimizers.GradientDescent(), 0.0, 4.0),
    "Adam": Case(pn.optimizers.Adam(0.9, 0.999, 0.0, bias_correction=True), 0.5, 25.0),
    "AdamE, λ = ¼": Case(
        pn.optimizers.AdamE(0.9, 0.999, 0.0, 0.25, bias_correction=True), 0.25, 10.0
    ),
    "AdamE, λ = ¾": Case(
        pn.optimizers.AdamE(0.9, 0.999, 0.0, 0.75, bias_correction=True), 0.75, 150.0
    ),
    "Adam-mini": Case(
        pn.optimizers.AdamMini(0.9, 0.999, 0.0, [0, 0, 1], bias_correction=True),
        0.5,
        25.0,
        (0, 0, 1),
    ),
}


class Sizes(NamedTuple):
    """Seeds of runs, their step size, and rules by name."""

    seeds: int
    step_size: float
    rules: tuple[str, ...] = tuple(CASES)


SIZES = Presets(Sizes(8, 0.02, ("SGD", "Adam")), Sizes(16, 0.01))


def table(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Where rules end on $x_1x_2^2x_3^3=1$: closed form, slow flow, runs.

    One residual, label noise 1, so that everything is known: $\sum_jH_{jj}^e$ is least
    at $x_j\propto a_j^{1-1/2e}$. Runs are projected by the flow of their rule.
    """
    sizes = SIZES.of(preset)
    problem = monomial(POWERS, (1.5, 0.8, 1.0))
    lines, drawn, levels = [], {}, {}
    for name in sizes.rules:
        case = CASES[name]
        want = case.end()
        flow = pn.flows.slow_flow(problem, case.rule, noise=1.0, time=400.0)
        off = float(np.abs(np.asarray(flow.last) - want).max())
        told = pn.theory.sharpness.lowered(case.rule)
        lines.append(
            Line.most(
                f"{name}: farthest entry of the slow flow's end from the closed form",
                1e-8,
                measured=off,
                certificate=f"lowers {told}; tangency {flow.tangency:.0e}",
            )
        )
        runs = pn.sweep(
            problem, case.rule, grid={"seed": [seed + k for k in range(sizes.seeds)]},
            steps=round(case.time / sizes.step_size**2), step_size=sizes.step_size,
            record=60, progress=False,
        )  # fmt: skip
        w = np.asarray(runs.weights)
        ended = case.onto(w)
        ends = ended[:, -1]
        mean = ends.mean(axis=0)
        error = float((ends.std(axis=0, ddof=1) / np.sqrt(sizes.seeds)).max())
        lines.append(
            Line.most(
                f"{name}: farthest entry of the runs' end from the closed form",
                8e-4 if case.exponent < 0.5 else 3e-3,
                measured=float(np.abs(mean - want).max()),
                certificate=f"{sizes.seeds} seeds, standard error {error:.1g}, step "
                f"size {sizes.step_size:g}, T = {case.time:g}",
            )
        )
        times = np.asarray(runs.step) * sizes.step_size**2
        drawn[name] = (times, ended[..., 0].mean(axis=0))
        levels[name] = float(want[0])
    caption = (
        "The first weight of runs on x₁x₂²x₃³ = 1, projected, mean of "
        f"{sizes.seeds} seeds, on the slow clock T = kη². Lines across: the closed "
        f"forms. Label noise 1, step size {sizes.step_size:g}."
    )
    axes = pn.plotting.curves(
        drawn,
        xlabel="slow time T",
        ylabel="x₁",
        levels={f"{name}'s minimum": x for name, x in levels.items()},
        colours=HUES | {f"{name}'s minimum": hue for name, hue in HUES.items()},
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def shampoo(preset: Preset | int = Preset.QUICK, seed: int = 3) -> Figure:
    r"""No function falls under Shampoo: $\oint\operatorname{tr}(S\,dH)\ne0$.

    Around one closed loop of two 2×2 factors, three measurements; as many points as
    the preset has, and half of them, for the error of the midpoint rule.
    """
    points = Presets(400, 3200).of(preset)
    rng = np.random.default_rng(seed + 3)
    X = rng.normal(size=(3, 2, 2))
    apply = lambda w, X: jnp.einsum("nij,ij->n", X, w["B"] @ w["A"])
    w = {"A": jnp.asarray(rng.normal(size=(2, 2))), "B": jnp.eye(2)}
    problem = pn.Regression(apply, w, X, apply(w, X))
    a, b = rng.normal(size=(2, 8))
    flat = np.asarray(problem.flat(w))

    def around(rule: pn.optimizers.AbstractOptimizer, count: int) -> float:
        t = np.linspace(0, 2 * np.pi, count, endpoint=False)[:, None]
        path = jnp.asarray(flat + 0.3 * (np.cos(t) * a + np.sin(t) * b))
        loop = jax.vmap(problem.unflat)(path)
        return pn.flows.slow.loop_integral(problem, rule, loop)

    lines = []
    for name, rule, closed in (
        ("SGD", pn.optimizers.GradientDescent(), True),
        ("Adam", pn.optimizers.Adam(eps=1e-3), True),
        ("Adam-mini", pn.optimizers.AdamMini(), True),
        ("Shampoo, power ¼", pn.optimizers.Shampoo(0.9, 1e-6, 0.25), False),
        ("Shampoo, power ½", pn.optimizers.Shampoo(0.9, 1e-6, 0.5), False),
    ):
        value, half = around(rule, points), around(rule, points // 2)
        told = f"{points} points; with half as many {half:.3g}"
        what = f"{name}: size of the integral of tr(S dH) around a loop"
        if closed:
            within = 2e-4 * (400 / points) ** 2
            lines.append(Line.most(what, within, measured=abs(value), certificate=told))
        else:
            # the error is a third of what twice the points change
            error = abs(value - half) / 3
            lines.append(
                Line.least(what, max(5e-3, 10 * error), expected=abs(half),
                           measured=abs(value), certificate=told)
            )  # fmt: skip
    return Figure(tuple(lines))
