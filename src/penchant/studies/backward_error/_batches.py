"""What Adam adds by batch size, by Monte Carlo."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._statistics import interval, student
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.backward_error._setup import (
    adam,
    images,
)


class Batches(NamedTuple):
    """Samples, hidden units, batch sizes, orders, draws of these, updates before."""

    samples: int
    hidden: int
    sizes: tuple[int, ...]
    orders: int
    draws: int
    step: int


BATCHES = Presets(
    Batches(256, 4, (8, 128), 6, 5, 24),
    Batches(512, 8, (2, 8, 32, 64, 128, 256), 12, 6, 40),
)


def batches(preset: Preset | Batches = Preset.QUICK, seed: int = 0) -> Figure:
    r"""What Adam adds by batch size: exact replays, averaged over random orders.

    A coordinate is anti-penalised where the mean correction goes up $HF$, the gradient
    of the one-norm, and penalised where it goes down; the share of the one less that of
    the other is 1 where all are anti-penalised. Full batches have $\beta_2>\beta_1$
    anti-penalise. A published claim, known here at second hand, is that the noise of
    small batches turns that round, below a size of the order of the noise scale
    $\operatorname{tr}\Sigma/\|g\|^2$ of single gradients; here it is measured.
    """
    sizes = BATCHES.of(preset)
    problem, *_ = images(None, sizes.samples, sizes.hidden, seed)
    rule = adam(0.9, 0.99, 1e-8)
    full = pn.correction(problem, rule, problem.start, step_size=1e-4, step=sizes.step)
    HF = problem.flat(pn.measures.hessian_product(problem, problem.start, full.F))
    leaning = lambda c: float(jnp.mean(jnp.sign(problem.flat(c.direction) * HF)))
    told = leaning(full)
    rows = {
        size: [
            leaning(
                pn.correction(
                    problem, rule, problem.start, step_size=1e-4, step=sizes.step,
                    batches=pn.batching.Shuffled(size), orders=sizes.orders, key=k,
                )
            )
            for k in range(seed * sizes.draws, (seed + 1) * sizes.draws)
        ]
        for size in sizes.sizes
    }  # fmt: skip
    noise = _noise_scale(problem)
    small = sizes.sizes[0]
    means = {size: float(np.mean(row)) for size, row in rows.items()}
    turned = max((size for size, mean in means.items() if mean < 0), default=0)
    center, half = student(rows[small])
    lines = [
        Line.least("full batch: anti-penalised less penalised coordinates", 0.4,
                   expected=0.8, measured=told),
        Line.between(
            f"batches of {small}: the same, high end of its interval",
            -1.0, 0.0, expected=-0.4, measured=center + half,
            certificate=f"{interval(rows[small])}, each of {sizes.orders} orders",
        ),
        Line.between(
            "largest batch size at which it is turned round, over the noise scale",
            0.05, 5.0, expected=0.5, measured=turned / noise,
            certificate=f"{turned} of "
            + ", ".join(f"{k}: {v:+.2f}" for k, v in means.items())
            + f"; noise scale {noise:.0f}",
        ),
    ]  # fmt: skip
    x = np.array([*sizes.sizes, sizes.samples])
    caption = (
        "Share of coordinates in which the gradient's one-norm is anti-penalised, less "
        f"that in which it is penalised, by batch size, of {sizes.samples} samples. "
        f"The noise scale is {noise:.0f}."
    )
    axes = pn.plotting.curves(
        {"Adam .9/.99": (x, np.array([*means.values(), told]))},
        xlabel="batch size", ylabel="anti-penalised − penalised", dots=True,
        levels={"nothing": 0.0},
    )  # fmt: skip
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _noise_scale(problem: pn.Objective) -> float:
    r"""$\operatorname{tr}\Sigma/\|g\|^2$, of gradients of single samples."""
    rows = jnp.arange(problem.samples)[:, None]
    each = jax.vmap(lambda r: problem.flat(problem.gradient(problem.start, r)))(rows)
    mean = jnp.mean(each, axis=0)
    return float(jnp.sum((each - mean[None, :]) ** 2) / len(each) / jnp.sum(mean**2))
