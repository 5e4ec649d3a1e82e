"""The one-norm at matched loss over both decays: bias, and oscillation."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._statistics import interval, student
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.backward_error._setup import (
    accuracy,
    adam,
    images,
    one_norm,
    one_norms,
)

STAGE = 300
"""Steps after which it is seen whether the loss is low enough."""


class Grid(NamedTuple):
    """Samples, hidden units, decays, seeds, step size, loss, and steps at most."""

    samples: int
    hidden: int
    first: tuple[float, ...]
    second: tuple[float, ...]
    seeds: int
    step_size: float
    loss: float
    steps: int


GRID = Presets(
    Grid(300, 16, (0.99,), (0.9, 0.99, 0.999), 5, 3e-4, 0.15, 2400),
    Grid(
        600, 32, (0.0, 0.9, 0.99), (0.5, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999), 5, 3e-4,
        0.1, 6000,
    ),
)  # fmt: skip


def u_curve(preset: Preset | Grid = Preset.QUICK, seed: int = 0) -> Figure:
    r"""The gradient's one-norm at matched loss over $(\beta_1,\beta_2)$, by seeds.

    It rises with $\beta_2$ above $\beta_1$: that is memory's bias. Below, it rises the
    other way, and the averaged iterates tell why: they have a small gradient where the
    iterates have a large one, so that is oscillation and no bias.
    """
    sizes = GRID.of(preset)
    # by decays and seed: one-norms, and the share that averaged iterates keep of them
    raw: dict[tuple[float, float], dict[int, float]] = {}
    kept: dict[tuple[float, float], dict[int, float]] = {}
    right: list[float] = []
    for s in range(seed, seed + sizes.seeds):
        problem, X, y, _ = images(None, sizes.samples, sizes.hidden, s)
        for b1 in sizes.first:
            for b2 in sizes.second:
                found = _at_loss(problem, adam(b1, b2, 1e-8), sizes)
                if found is None:
                    continue
                norm, w, share = found
                raw.setdefault((b1, b2), {})[s] = norm
                kept.setdefault((b1, b2), {})[s] = share
                right.append(accuracy(w, X, y))
    lines, pictures = [], {}
    for b1 in sizes.first:
        above = [b2 for b2 in sizes.second if b2 >= b1 and (b1, b2) in raw]
        # without a first moment all of the grid is oscillation or bias at once
        if b1 > 0 and len(above) > 1:
            growth = _paired(raw[b1, above[-1]], raw[b1, above[0]])
            center, half = student(growth)
            lines.append(
                Line.least(
                    f"β₁ = {b1:g}: one-norm at β₂ = {above[-1]:g} over that at "
                    f"{above[0]:g}, low end of its interval",
                    1.0, expected=1.07, measured=center - half,
                    certificate=interval(growth),
                )
            )  # fmt: skip
        shown = [b2 for b2 in sizes.second if (b1, b2) in raw]
        x = 1.0 - np.array(shown)
        curve = lambda values, b1=b1, shown=shown: np.array([
            np.mean([*values[b1, b].values()]) for b in shown
        ])
        drawn = {
            "iterates": (x, curve(raw)),
            "averaged iterates": (x, curve(raw) * curve(kept)),
        }
        below = [b2 for b2 in shown if b2 < b1]
        if b1 > 0 and below and above:
            left = [*kept[b1, below[0]].values()]
            right_of = [v for b2 in above for v in kept[b1, b2].values()]
            center, half = student(left)
            lines += [
                Line.most(
                    f"β₁ = {b1:g}, β₂ = {below[0]:g}: share of the one-norm that "
                    "averaged iterates keep, high end of its interval",
                    0.8, measured=center + half,
                    certificate=f"{interval(left)}; oscillation averages out",
                ),
                Line.least(
                    f"β₁ = {b1:g}, β₂ ≥ β₁: the same, least of all", 0.95,
                    expected=1.0, measured=min(right_of),
                    certificate=f"{interval(right_of)}; bias does not average out",
                ),
            ]  # fmt: skip
        caption = f"One-norm at loss {sizes.loss:g} by β₂, β₁ = {b1:g}."
        axes = pn.plotting.curves(
            drawn, xlabel="1 − β₂", ylabel="‖∇L‖₁", logy=True, dots=True
        )
        pictures[caption] = pn.plotting.themed_svg(axes, caption)
    lines.append(
        Line.most(
            "spread of the test accuracy over all of these", 0.1,
            measured=float(np.std(right)), certificate=f"mean {np.mean(right):.3f}",
        )
    )  # fmt: skip
    return Figure(tuple(lines), pictures)


def _paired(a: dict[int, float], b: dict[int, float]) -> list[float]:
    """Ratios of the seeds that both have."""
    return [a[s] / b[s] for s in a if s in b]


def _at_loss(problem: pn.Objective, rule: pn.optimizers.Adam, sizes: Grid) -> Any:
    """The one-norm where the loss first is as asked, between the records around it.

    Also the weights at the record after it, and the one-norm at their mean over a
    window of further steps, over the mean of one-norms in it: 1 without oscillation.
    """
    train = functools.partial(
        pn.train, problem, rule, step_size=sizes.step_size, progress=False
    )
    before, start, above = None, problem.start, float(problem.loss(problem.start))
    for _ in range(0, sizes.steps, STAGE):
        run = train(steps=STAGE, record=50, after=before)
        loss = np.asarray(run.loss)
        if np.any(loss <= sizes.loss):
            break
        before, start, above = run, run.last, float(loss[-1])
    else:
        return None
    i = int(np.argmax(loss <= sizes.loss))
    place = lambda k: start if k < 0 else jax.tree.map(lambda x: x[k], run.weights)
    losses = [above, *loss]
    share = (losses[i] - sizes.loss) / (losses[i] - losses[i + 1])
    ends = [one_norm(problem, place(k)) for k in (i - 1, i)]
    norm = ends[0] ** (1.0 - share) * ends[1] ** share
    short = train(steps=int(run.steps[i]), record=2, after=before)
    # over two lengths of the first memory, in which oscillations of its period cancel
    window = round(max(32.0, 2.0 / (1.0 - float(rule.b1))))
    more = train(steps=window, record=window // 4, after=short)
    averaged = jax.tree.map(lambda x: jnp.mean(jnp.asarray(x), axis=0), more.weights)
    share = one_norm(problem, averaged) / np.mean(one_norms(problem, more.weights))
    return float(norm), short.last, float(share)
