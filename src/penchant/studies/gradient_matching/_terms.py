import itertools
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._study import Figure, Preset, Presets

EPS = 1e-2
BATCHES = 4


class Sizes(NamedTuple):
    """Time of each run, steps times their size; memories of Adam; and step sizes."""

    time: float
    memories: tuple[tuple[float, float], ...]
    etas: tuple[float, ...]


SIZES = Presets(
    Sizes(1.0, ((0.5, 0.9),), (2e-3, 5e-4)),
    Sizes(
        1.0,
        ((0.5, 0.9), (0.9, 0.95), (0.9, 0.6)),
        (2e-3, 5e-4, 1e-4, 3e-5),
    ),
)


class Force(pn.penalties.AbstractPenalty):
    r"""$c\odot\nabla\|g\|_{1,\varepsilon}$: what memory adds to Adam, term by term.

    With `divided`, $c=\varepsilon/(g^2+\varepsilon)$, which is no gradient of
    anything; without, 1.
    """

    divided: bool = eqx.field(static=True)

    formula = "(its own force)"

    def __call__(self, w: jax.Array) -> jax.Array:
        raise TypeError("Force has no value, only a gradient.")

    @property
    def label(self) -> str:
        return "ε/(g²+ε)·Hd" if self.divided else "Hd"

    def gradient(
        self, w: jax.Array, problem: pn.problems.AbstractProblem | None
    ) -> jax.Array:
        assert problem is not None  # match_run has it
        slope = lambda w: problem.scaled_gradient(w).value()
        g = slope(w)
        square = jax.tree.map(lambda x: x**2 + EPS, g)
        d = jax.tree.map(lambda x, s: x / jnp.sqrt(s), g, square)
        Hd = jax.jvp(slope, (w,), (d,))[1]
        if not self.divided:
            return Hd
        return jax.tree.map(lambda x, s: EPS / s * x, Hd, square)


def terms(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Backward error read off runs: terms of momentum, of Adam and of reshuffling.

    Regression by tanh of a linear model. From velocities of full-batch
    runs, the coefficients of the two forces that Adam's memory adds,
    $\frac\eta2\left(\frac{1+\beta_1}{1-\beta_1}-\frac{1+\beta_2}{1-\beta_2}\right)Hd$
    and
    $\frac\eta2\frac{1+\beta_2}{1-\beta_2}\frac\varepsilon{g^2+\varepsilon}Hd$
    (`cattaneo2025memory`), beside what [`correction`][penchant.correction] computes
    without a run; and the mean over all orders of four batches of
    $\frac\eta4\|g\|^2+\frac\eta{4m}\sum_i\|g_i-g\|^2$ (`smith2021origin`).
    """
    time, memories, etas = SIZES.of(preset)
    problem = _problem(seed)
    lines: list[Line] = []
    off: dict[str, list[float]] = {}
    for b1, b2 in memories:
        rule = pn.optimizers.Adam(b1, b2, EPS, eps_inside=True, bias_correction=True)
        own = (1 + b1) / (1 - b1), (1 + b2) / (1 - b2)
        name = f"β = {b1:g}, {b2:g}"
        for eta in etas:
            run = finished(
                pn.train(
                    problem, rule, steps=round(time / eta), step_size=eta, record=2
                )
            )
            says = pn.estimators.match_run(
                run, [Force(False), Force(True)], steps=round(time / eta)
            )
            theory = 0.5 * eta * np.array([own[0] - own[1], own[1]])
            ratio = says.coefficients / theory
            for k, label in enumerate(("memory", "ε")):
                off.setdefault(f"{label}, {name}", []).append(abs(ratio[k] - 1.0))
            found = _forces(problem, run.last, says.coefficients)
            told = _told(problem, rule, run.last, eta)
            angle = found @ told / np.linalg.norm(found) / np.linalg.norm(told)
            if eta == min(etas):
                lines += [
                    Line.near(
                        f"Adam, {name}, η = {eta:g}: {label} term over theory",
                        expected=1.0,
                        within=0.05,
                        measured=float(ratio[k]),
                        certificate=f"R² {says.r2:.5f}; VIF {says.vif[k]:.3g}",
                    )
                    for k, label in enumerate(("memory's", "ε's"))
                ]
                lines.append(
                    Line.between(
                        f"Adam, {name}: cosine of both terms with correction's",
                        0.99,
                        1.0 + 1e-12,
                        expected=1.0,
                        measured=float(angle),
                        certificate="length over its "
                        f"{np.linalg.norm(found) / np.linalg.norm(told):.4f}",
                    )
                )
        if len(etas) > 1:
            parts = [np.array(off[f"{x}, {name}"]) for x in ("memory", "ε")]
            first = np.hypot(*parts)
            power = math.log(first[0] / first[-1]) / math.log(etas[0] / etas[-1])
            lines.append(
                Line.least(
                    f"Adam, {name}: power of η by which the error falls",
                    0.2,
                    expected=1.0,
                    measured=float(power),
                    certificate=f"relative errors of both terms {first[0]:.2g} at "
                    f"η = {etas[0]:g}, {first[-1]:.2g} at {etas[-1]:g}",
                )
            )
    lines += _reshuffled(problem)
    caption = (
        "Distance from theory of the two terms that Adam's memory adds, relative to "
        f"it, by step size (a time of {time:g}, 6 weights on 48 samples, ε = {EPS:g}, "
        f"seed {seed})."
    )
    axes = pn.plotting.curves(
        {name: (etas, values) for name, values in off.items()},
        xlabel="step size",
        ylabel="relative error",
        logy=True,
        dots=True,
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _forces(
    problem: pn.problems.AbstractProblem, w: jax.Array, coefficients: np.ndarray
) -> np.ndarray:
    parts = [np.asarray(Force(x).gradient(w, problem)) for x in (False, True)]
    return coefficients @ np.stack(parts)


def _told(
    problem: pn.problems.AbstractProblem,
    rule: pn.optimizers.AbstractOptimizer,
    w: jax.Array,
    eta: float,
) -> np.ndarray:
    r"""The force by the flow's correction: minus $\sqrt{g^2+\varepsilon}\,\eta\,C$."""
    says = pn.correction(problem, rule, w, step_size=eta)
    g = np.asarray(problem.gradient(w))
    return -np.sqrt(g**2 + EPS) * eta * np.asarray(says.direction)


def _reshuffled(problem: pn.Regression) -> list[Line]:
    """Mean over the orders of an epoch, against the flow."""
    eta, k = 1e-3, 8
    n = problem.samples
    rows = jnp.arange(n).reshape(BATCHES, n // BATCHES)
    slope = jax.jit(lambda w: problem.gradient(w))
    w0 = problem.start

    @jax.jit
    def epoch(order: jax.Array) -> jax.Array:
        def step(w: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
            return w - eta * problem.gradient(w, rows[i]), None

        return jax.lax.scan(step, w0, order)[0]

    orders = jnp.asarray(list(itertools.permutations(range(BATCHES))))
    ends = np.asarray(jax.lax.map(epoch, orders))
    h = BATCHES * eta / k
    w = w0
    for _ in range(k):
        a = -slope(w)
        b = -slope(w + 0.5 * h * a)
        c = -slope(w + 0.5 * h * b)
        w = w + h / 6 * (a + 2 * b + 2 * c - slope(w + h * c))
    flow = np.asarray(w)
    norm = lambda w: jnp.sum(problem.gradient(w) ** 2)
    spread = lambda w: sum(
        jnp.sum((problem.gradient(w, r) - problem.gradient(w)) ** 2) for r in rows
    )
    named = [
        pn.penalties.Custom(norm, "|g|²"),
        pn.penalties.Custom(spread, "Σ|g_i − g|²"),
    ]
    force = (flow - ends.mean(axis=0)) / (BATCHES * eta)
    log = pn.estimators.LoggedGradient(w0, -force)
    says = pn.estimators.match(log, w0, named)
    of_one = (flow - ends[0]) / (BATCHES * eta)
    noise = np.linalg.norm(of_one - force) / np.linalg.norm(force)
    lines = [
        Line.near(
            f"reshuffling, mean of all orders: coefficient of {label} over theory",
            expected=1.0,
            within=0.05,
            measured=float(value / told),
            certificate=f"R² {says.r2:.6f}, {len(ends)} orders; of one order "
            f"{noise:.2g} of the force is its own",
        )
        for value, told, label in zip(
            says.coefficients, (eta / 4, eta / 4 / BATCHES), says.labels, strict=True
        )
    ]
    return lines


def _problem(seed: int) -> pn.Regression:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(48, 6))
    y = np.tanh(X @ rng.normal(size=6)) + 0.3 * rng.normal(size=48)
    return pn.Regression(_bent, 0.7 * rng.normal(size=6), X, y)


def _bent(w: jax.Array, X: jax.Array) -> jax.Array:
    return jnp.tanh(X @ w)
