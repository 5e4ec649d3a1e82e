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

    The product of the mean correction with $HF$ says whether the norm of the gradient
    is penalised (negative) or anti-penalised. Full batches have $\beta_2>\beta_1$
    anti-penalise. A published claim, known here at second hand, is that the noise of
    small batches turns that round, below a size of the order of the noise scale
    $\operatorname{tr}\Sigma/\|g\|^2$ of single gradients; here it is measured.
    """
    sizes = BATCHES.of(preset)
    problem, *_ = images(None, sizes.samples, sizes.hidden, seed)
    rule = adam(0.9, 0.99, 1e-4)
    full = pn.correction(problem, rule, problem.start, step_size=1e-4, step=sizes.step)
    along = lambda c: _along(problem, full, c)
    told = along(full)
    rows = {
        size: [
            along(
                pn.correction(
                    problem, rule, problem.start, step_size=1e-4, step=sizes.step,
                    batches=pn.batching.Shuffled(size), orders=sizes.orders, key=k,
                )
            )
            / told
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
        Line.least("full batch: anti-penalised, along HF", 0.0, expected=told,
                   measured=told),
        Line.between(
            f"batches of {small}: what they add over the full batch's, high end of its "
            "interval",
            -1.5, 0.0, expected=-0.3, measured=center + half,
            certificate=f"penalised; {interval(rows[small])}, each of {sizes.orders} "
            "orders",
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
        "Mean correction along HF by batch size, over that of all "
        f"{sizes.samples} samples: above 0 the gradient's norm is anti-penalised, "
        f"below it is penalised. The noise scale is {noise:.0f}."
    )
    axes = pn.plotting.curves(
        {"Adam .9/.99": (x, np.array([*means.values(), 1.0]))},
        xlabel="batch size", ylabel="⟨C, HF⟩ over the full batch's", dots=True,
        levels={"nothing": 0.0},
    )  # fmt: skip
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _noise_scale(problem: pn.Objective) -> float:
    r"""$\operatorname{tr}\Sigma/\|g\|^2$, of gradients of single samples."""
    rows = jnp.arange(problem.samples)[:, None]
    each = jax.vmap(lambda r: problem.flat(problem.gradient(problem.start, r)))(rows)
    mean = jnp.mean(each, axis=0)
    return float(jnp.sum((each - mean[None, :]) ** 2) / len(each) / jnp.sum(mean**2))


def _along(problem: pn.Objective, full: pn.Correction, found: pn.Correction) -> float:
    """The mean correction's product with the unit vector along the full batch's HF."""
    HF = problem.flat(pn.measures.hessian_product(problem, problem.start, full.F))
    return float(problem.flat(found.direction) @ HF / jnp.linalg.norm(HF))
