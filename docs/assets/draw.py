"""Draws `which_norm_wins.svg`: the same data, three optimizers, three winners."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import penchant as pn

RULES = {
    "sign descent": (pn.optimizers.SignDescent(), 0.1),
    "normalised gradient descent": (
        pn.optimizers.SteepestDescent(pn.norms.L2()),
        0.1,
    ),
    "Muon": (pn.optimizers.Muon(0.9), 0.05),
}


def draw() -> None:
    """Train, and write the figure beside this file."""
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
    figure.set_facecolor("white")
    plt.rcParams["svg.hashsalt"] = "penchant"
    out = Path(__file__).with_name("which_norm_wins.svg")
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    draw()
