"""Draws the pictures of the pages, each beside this file."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

import penchant as pn

RULES = {
    "sign descent": (pn.optimizers.SignDescent(), 0.1),
    "normalised gradient descent": (
        pn.optimizers.SteepestDescent(pn.norms.L2()),
        0.1,
    ),
    "Muon": (pn.optimizers.Muon(0.9), 0.05),
}


def which_norm_wins() -> None:
    """The same data, three optimizers, three winners."""
    problem = pn.datasets.class_centres(seed=0).problem()
    norms = (pn.norms.Linf(), pn.norms.L2(), pn.norms.Spectral())
    best = [float(pn.max_margin(problem, norm, tol=1e-6).margin) for norm in norms]
    figure, panels = plt.subplots(1, 3, figsize=(10, 2.0), layout="constrained")
    for ax, (name, (rule, scale)) in zip(panels, RULES.items(), strict=True):
        eta = pn.schedules.power(scale, 0.5, offset=1)
        w = pn.train(problem, rule, steps=10_000, step_size=eta).weights[-1]
        margin = float(np.min(problem.margins(w)))
        ratios = [margin / float(n(w)) / b for n, b in zip(norms, best, strict=True)]
        pn.plotting.ratio_bars([n.label for n in norms], ratios, ax=ax)
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("% of the largest margin")
        ax.set_xlim(0, 140)
        ax.spines[["top", "right"]].set_visible(False)
    _write(figure, "which_norm_wins.svg")


POINTS = ((2.0, 1.0), (4.0, 1.5), (3.0, 3.0), (-3.5, -2.0), (-2.6, -3.0), (-4.0, -0.6))
"""Samples of two features, three of a class; the first one is hard, in every norm."""


def margins() -> None:
    """Six samples, three norms, three largest margins."""
    X, y = np.array(POINTS), np.array([1, 1, 1, -1, -1, -1])
    problem = pn.LinearClassification(X, y, loss=pn.losses.Logistic())
    norms = (pn.norms.L1(), pn.norms.L2(), pn.norms.Linf())
    with pn.plotting.house_style():
        figure = Figure(figsize=(10, 3.3), layout="constrained")
        panels = figure.subplots(1, 3, sharex=True, sharey=True)
        for ax, norm in zip(panels, norms, strict=True):
            best = pn.max_margin(problem, norm)
            w, margin = np.asarray(best.weights), float(best.margin)
            hue = pn.plotting.colour(norm.label)
            x = np.linspace(-5.0, 5.0, 41)
            grid = np.stack(np.meshgrid(x, x), axis=-1) @ w
            # the score's sign is the class, and no sample is within the margin
            ax.contourf(x, x, np.abs(grid), [0.0, margin], colors=[hue], alpha=0.2)
            ax.contour(x, x, grid, [0.0], colors=[hue], linewidths=1.8)
            for label, marker in ((1, "o"), (-1, "s")):
                ax.plot(*X[y == label].T, marker, color="#1b1d22", markersize=5)
            held = np.isclose(np.abs(X @ w), margin, rtol=1e-6)
            ax.plot(*X[held].T, "o", color=hue, markersize=12, fillstyle="none")
            ax.set_title(
                f"{norm.label}: w = ({w[0]:z.2f}, {w[1]:z.2f}), margin {margin:.2f}",
                fontsize=10,
            )
            ax.set_aspect("equal")
            ax.set_xlim(-5, 5)
            ax.set_ylim(-3.5, 3.5)
            ax.set_xlabel("first feature")
        panels[0].set_ylabel("second feature")
    _write(figure, "margins.svg")


def batch_size() -> None:
    """The limit of Adam for every batch size, between the two max margins."""
    problem = pn.datasets.gaussian(10, 50, seed=0).problem()
    n = problem.samples
    norms = (pn.norms.L2(), pn.norms.Linf())
    best = [np.asarray(pn.max_margin(problem, norm).weights) for norm in norms]

    def cosines(proxy: pn.theory.per_sample.AdamProxy) -> list[float]:
        step = np.asarray(pn.theory.per_sample.equilibrium(proxy).step)
        return [step @ w / np.linalg.norm(step) / np.linalg.norm(w) for w in best]

    def dropped(b: int) -> pn.theory.per_sample.AdamProxy:
        noise = jnp.asarray((n - b) / (b * (n - 1)))
        step = pn.theory.per_sample.adam_proxy(problem, pn.batching.Shuffled(1))
        return eqx.tree_at(lambda s: s.noise, step, noise)

    proxy = lambda batching: pn.theory.per_sample.adam_proxy(problem, batching)
    drawn = [1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100, 200, 500, 1000]
    replaced = np.array([cosines(proxy(pn.batching.WithReplacement(b))) for b in drawn])
    whole = best[1] / np.linalg.norm(best[1])  # all samples: sign descent
    full = [whole @ w / np.linalg.norm(w) for w in best]
    shuffled = np.array([*(cosines(dropped(b)) for b in range(1, n)), full])
    nine = cosines(proxy(pn.batching.Shuffled(9)))
    figure, ax = plt.subplots(figsize=(7.2, 3.6), layout="constrained")
    for k, (norm, colour) in enumerate(zip(norms, ("#0072b2", "#d55e00"), strict=True)):
        name = f"{norm.label} max margin"
        style = {"color": colour, "marker": "o", "markersize": 4}
        ax.plot(drawn, replaced[:, k], label=f"{name}, with replacement", **style)
        ax.plot(
            np.arange(1, n + 1),
            shuffled[:, k],
            "--",
            label=f"{name}, reshuffled",
            **style,
        )
        ax.plot([9], [nine[k]], "o", color=colour, markersize=6, markerfacecolor="none")
    for k, up in ((0, 0.004), (1, -0.006)):
        ax.annotate("9, then 1", (9, nine[k]), (10.9, nine[k] + up), fontsize=9)
    ax.annotate("all ten", (n, full[1]), (n * 1.08, full[1] + 0.005), fontsize=9)
    ax.annotate("all ten", (n, full[0]), (n * 1.08, full[0] - 0.022), fontsize=9)
    ax.set_xscale("log")
    ax.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1000"])
    ax.set_ylim(0.70, 1.03)
    ax.set_xlabel("batch size (samples an update sees; ten samples in all)")
    ax.set_ylabel("cosine of Adam's limit")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="#d9dce1", linewidth=0.7)
    ax.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _write(figure, "batch_size.svg")


def regimes() -> None:
    """Throttled, sign-like, gradient descent: by steps and memory."""
    names = {0: "throttled: no norm's", 1: "sign-like: ℓ∞", 2: "gradient descent: ℓ2"}
    steps = np.unique(np.rint(np.geomspace(10, 1e7, 241)).astype(int))
    memory = np.geomspace(10, 1e4, 61)

    def row(N: float) -> np.ndarray:
        rule = pn.optimizers.RMSProp(1.0 - 1.0 / N, 1e-8)
        seen = pn.theory.regimes.run_geometry(
            rule, step_size=0.01, steps=10**7, gamma=1.4
        )
        throttled = steps < (seen.memory if 0.5 / N < 1.4 * 0.01 else 0.0)
        kinds = np.where(throttled, 0, 1)
        return np.where(steps >= seen.crossover, 2, kinds)

    grid = [row(N) for N in memory]
    ax = pn.plotting.regions(
        steps,
        memory,
        grid,
        names,
        xlabel="steps of the run",
        ylabel="memory 1/(1 − β₂), steps",
        size=(7.2, 3.6),
    )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_title("RMSProp, all samples, η = .01, ε = 1e-8 outside, γ = 1.4", fontsize=9)
    _write(ax.get_figure(), "regimes.svg")


def ellipse() -> None:
    """One ellipse of minimisers, two rules, two ends."""
    a, b, eta = 2.0, 1.0, 0.02

    def h(w: Any, X: Any) -> Any:
        x, y = w
        return ((x + y) ** 2 / (2 * a * a) + (y - x) ** 2 / (2 * b * b)) + 0 * X[:, 0]

    start = jnp.array([-0.2, 1.2])
    problem = pn.Regression(h, start, [[1.0]], [1.0], label_noise=0.5)
    figure, ax = plt.subplots(figsize=(4.8, 4.0), layout="constrained")
    t = np.linspace(0, 2 * np.pi, 400)
    along, across = a * np.cos(t), b * np.sin(t)
    ax.plot(
        (along - across) / 2**0.5, (along + across) / 2**0.5, color="#9aa1ab",
        label="minimisers",
    )  # fmt: skip
    rules = {
        "gradient descent": (pn.optimizers.GradientDescent(), "#0072b2", (1.0, 1.0)),
        "Adam": (
            pn.optimizers.Adam(0.9, 1 - eta**2, 0.0, bias_correction=True),
            "#d55e00",
            None,
        ),
    }
    kink = np.array([a * a - b * b, a * a + b * b]) / np.sqrt(2 * (a * a + b * b))
    for name, (rule, colour, tip) in rules.items():
        runs = pn.sweep(
            problem, rule, grid={"seed": list(range(32))},
            steps=round(40 / eta**2), step_size=eta, record=120, progress=False,
        )  # fmt: skip
        w = np.asarray(runs.weights).mean(axis=0)
        ax.plot(*w.T, color=colour, label=f"{name}, mean of 32 runs")
        end = kink if tip is None else np.array(tip) * a / 2**0.5
        ax.plot(*end, "o", color=colour, markersize=8, markerfacecolor="none")
    ax.annotate("tr H is least", (a / 2**0.5, a / 2**0.5), (1.55, 1.45), fontsize=9)
    ax.annotate("tr Diag(H)^½ is least", kink, (0.95, 1.72), fontsize=9, ha="center")
    ax.set_xlim(-1.8, 2.6)
    ax.set_ylim(-1.8, 1.95)
    ax.set_aspect("equal")
    ax.set_xlabel("x")
    ax.set_ylabel("y")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8, loc=(0.12, 0.36))
    _write(figure, "sharpness_ellipse.svg")


def what_was_chosen() -> None:
    """The weights that two rules pick, beside those that three norms pick."""
    rules = {
        "gradient descent": pn.optimizers.SteepestDescent(pn.norms.L2()),
        "sign descent": pn.optimizers.SignDescent(),
    }
    digits = pn.datasets.digits(("3", "8"))
    found = pn.compare(digits, rules, steps=100_000)
    _write(found.chosen.plot().figure, "what_was_chosen.svg")


def _write(figure: Figure, name: str) -> None:
    """Beside this file; the same bytes each time."""
    figure.set_facecolor("white")
    plt.rcParams["svg.hashsalt"] = "penchant"
    figure.savefig(Path(__file__).with_name(name), metadata={"Date": None})


if __name__ == "__main__":
    which_norm_wins()
    margins()
    batch_size()
    regimes()
    ellipse()
    what_was_chosen()
