from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.per_sample_adam._runs import HUES, cosine, share, simulate

KINDS: dict[str, Any] = {
    "in turn": pn.batching.Cyclic,
    "reshuffled": pn.batching.Shuffled,
    "with replacement": pn.batching.WithReplacement,
}

# relative gap of the ℓ∞ margin with b = 1, seed 0, by loops in plain NumPy:
# tests/studies/test_expected.py
KNOWN = {
    ("in turn", 0.0): (0.895, 0.002),
    ("in turn", 0.5): (0.466, 0.01),
    ("in turn", 0.9): (0.082, 0.004),
    ("in turn", 0.99): (0.0011, 0.0005),
    ("reshuffled", 0.0): (0.895, 0.002),
    ("reshuffled", 0.5): (0.473, 0.01),
    ("reshuffled", 0.9): (0.083, 0.004),
    ("reshuffled", 0.99): (0.0031, 0.001),
    ("with replacement", 0.0): (0.889, 0.01),
    ("with replacement", 0.5): (0.495, 0.01),
    ("with replacement", 0.9): (0.188, 0.006),
    ("with replacement", 0.99): (0.038, 0.004),
}


class Sizes(NamedTuple):
    """How long runs are, the momenta and batch sizes tried, and in which orders."""

    steps: int
    betas: tuple[float, ...]
    batches: tuple[int, ...]
    orders: tuple[str, ...]


SIZES = Presets(
    Sizes(300_000, (0.0, 0.5, 0.9, 0.99), (1,), ("in turn", "with replacement")),
    Sizes(3_000_000, (0.0, 0.5, 0.9, 0.97, 0.99), (1, 2, 5), tuple(KINDS)),
)


def signum(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Signum: how much $\beta$ each batch size and order needs to find $\ell_\infty$.

    Gaussian data, $N=10$, $d=50$; $\eta$ so that $\kappa=\eta\max\|x\|_1/(1-\beta)$
    is .5 or less.
    """
    steps, betas, sizes, orders = SIZES.of(preset)
    problem = pn.datasets.gaussian(10, 50, seed=seed).problem(pn.losses.Exponential())
    l2 = pn.max_margin(problem, pn.norms.L2())
    linf = pn.max_margin(problem, pn.norms.Linf())
    longest = float(np.abs(np.asarray(problem.X)).sum(axis=1).max())
    lines, curves = [], {}
    for name in orders:
        kind = KINDS[name]
        for b in sizes:
            gaps = []
            for beta in betas:
                # an array: no memory is compiled as a memory of 0
                rule = pn.optimizers.Signum(jnp.asarray(beta))
                eta = min(2e-4, 0.5 * (1.0 - beta) / longest)
                run = simulate(problem, rule, kind(b), steps, eta, seed=seed)
                w = run.increment()
                gaps.append(1.0 - share(problem, linf, w))
                bound = pn.theory.per_sample.signum_gap(problem, beta, kind(b))
                known = KNOWN.get((name, beta)) if b == 1 and seed == 0 else None
                if known is not None:
                    value, digits = known
                    lines.append(
                        Line.near(
                            f"{name}, b = 1, β = {beta:g}: gap of the ℓ∞ margin",
                            expected=value,
                            within=digits,
                            measured=gaps[-1],
                            certificate=f"largest margin to {float(linf.gap):.0e}",
                        )
                    )
                lines.append(
                    Line.between(
                        f"{name}, b = {b}, β = {beta:g}: gap over its bound",
                        -1e-9,
                        1.0,
                        expected=0.0,
                        measured=gaps[-1] * bound.best / bound.bound,
                        certificate=(
                            "vacuous bound"
                            if bound.vacuous
                            else f"bound {bound.bound:.3g}"
                        ),
                    )
                )
                if (name, b, beta) == ("with replacement", 1, 0.9):
                    lines.append(
                        Line.between(
                            "with replacement, b = 1, β = .9: cosine with ℓ2 less that "
                            "with ℓ∞",
                            0.0,
                            0.5,
                            expected=0.135,
                            measured=cosine(w, l2.weights) - cosine(w, linf.weights),
                            certificate="nearer ℓ2 than ℓ∞ at the usual β",
                        )
                    )
            shown = np.array(gaps)
            curves[f"{name}, b = {b}"] = 1.0 - np.array(betas), shown
    caption = (
        "Relative gap of Signum's increments to the largest ℓ∞ margin against 1 - β. "
        f"Gaussian data, N = 10, d = 50, seed {seed}, {steps:,} steps, zero start, "
        "exponential loss."
    )
    axes = pn.plotting.curves(
        curves,
        xlabel="1 - β",
        ylabel="1 - share of the ℓ∞ margin",
        logy=True,
        colours={f"{name}, b = 1": hue for name, hue in HUES.items()},
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})
