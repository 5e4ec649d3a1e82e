"""Networks: a run against its memoryless maps, the edge, the U-curve, and validity."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._statistics import interval
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.backward_error._setup import (
    accuracy,
    adam,
    images,
    one_norm,
    transformer,
)


class Memory(NamedTuple):
    """Samples, hidden units, step sizes and steps of a run and its maps."""

    samples: int
    hidden: int
    step_sizes: tuple[float, ...]
    steps: int
    eps: tuple[float, ...]


MEMORY = Presets(
    Memory(300, 16, (1e-4,), 50, (1e-2, 1e-6)),
    Memory(1000, 32, (1e-4, 3e-4), 200, (1e-2, 1e-6)),
)
MEMORY_DATA = Presets(MEMORY.quick, Memory(10_000, 32, (1e-4, 3e-4), 50, (1e-2, 1e-6)))


def memory(
    preset: Preset | Memory = Preset.QUICK,
    seed: int = 0,
    data: pn.datasets.Dataset | None = None,
) -> Figure:
    r"""AdamW on a network against its memoryless map, corrected and not.

    The map is $w\leftarrow w-h(F+hM)$ from the same start, without $hM$ where it is not
    corrected. Where the correction is valid it is closer by an order; with a small
    $\varepsilon$ a few coordinates whose gradient changes sign decide the largest
    distance, and the median tells.

    Args:
        preset: How much to do, or sizes of one's own.
        seed: Of the start and the samples.
        data: Images, such as `datasets.load` reads from MNIST's idx files; None for
            the digits that come with scikit-learn.
    """
    sizes = (MEMORY if data is None else MEMORY_DATA).of(preset)
    problem, _, _, name = images(data, sizes.samples, sizes.hidden, seed)
    lines, pictures = [], {}
    for eps in sizes.eps:
        drawn = {}
        for h in sizes.step_sizes:
            rule = pn.optimizers.AdamW(
                0.9, 0.95, eps, 1e-3 / h, eps_inside=True, bias_correction=True
            )
            run = pn.train(problem, rule, step_size=h, steps=sizes.steps,
                           record=sizes.steps, progress=False)  # fmt: skip
            steps = np.asarray(run.steps)
            ends = {}
            for label, order in (("memoryless", 1), ("corrected", 2)):
                path = pn.flows.modified_flow(
                    problem, rule, step_size=h, steps=sizes.steps, kind="map",
                    order=order,
                )  # fmt: skip
                gap = np.concatenate([
                    np.abs(np.asarray(a)[steps] - np.asarray(b)).reshape(len(steps), -1)
                    for a, b in zip(jax.tree.leaves(path),
                                    jax.tree.leaves(run.weights), strict=True)
                ], axis=1)  # fmt: skip
                drawn[f"{label}, h = {h:g}"] = (
                    steps,
                    np.maximum(gap.max(axis=1), 1e-18),
                )
                ends[label] = (float(np.median(gap[-1])), float(gap[-1].max()))
            seen = pn.correction(
                problem, rule, run.last, step_size=h, step=sizes.steps, kind="map"
            )
            ratio = ends["corrected"][0] / ends["memoryless"][0]
            lines.append(
                Line.most(
                    f"ε = {eps:g}, h = {h:g}: median distance, corrected over not",
                    0.35, measured=ratio,
                    certificate=(
                        f"median {ends['memoryless'][0]:.2g} → "
                        f"{ends['corrected'][0]:.2g}, largest "
                        f"{ends['memoryless'][1]:.2g} → {ends['corrected'][1]:.2g}; "
                        f"{seen.share_valid:.0%} of coordinates valid"
                    ),
                )
            )  # fmt: skip
        caption = (
            f"{name}, {sizes.samples} images, AdamW .9/.95, ε = {eps:g}: largest "
            "distance of the run from its memoryless map."
        )
        axes = pn.plotting.curves(
            drawn, xlabel="steps", ylabel="ℓ∞ distance", logx=False, logy=True
        )
        pictures[caption] = pn.plotting.themed_svg(axes, caption)
    return Figure(tuple(lines), pictures)


class Edge(NamedTuple):
    """Samples, hidden units, step size, steps and records."""

    samples: int
    hidden: int
    step_size: float
    steps: int
    records: int


EDGE = Presets(Edge(200, 8, 1e-3, 1500, 12), Edge(500, 16, 1e-3, 6000, 24))


def edge(preset: Preset | Edge = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Preconditioned sharpness against $(2+2\beta_1)/((1-\beta_1)\eta)$.

    Beyond it steps oscillate, and no expansion in small steps holds. With
    $\beta_1=.9$ the run comes to the edge and stays; with .99 the edge is ten times
    farther.
    """
    sizes = EDGE.of(preset)
    problem, *_ = images(None, sizes.samples, sizes.hidden, seed)
    lines, drawn = [], {}
    for b1 in (0.9, 0.99):
        rule = pn.optimizers.Adam(b1, 0.999, 1e-8, bias_correction=True)
        edge_at = (2.0 + 2.0 * b1) / ((1.0 - b1) * sizes.step_size)
        ratios, when, run = [], [], None
        marks = np.unique(np.geomspace(30, sizes.steps, sizes.records).astype(int))
        for upto, before in zip(marks, [0, *marks[:-1]], strict=True):
            run = pn.train(problem, rule, step_size=sizes.step_size,
                           steps=int(upto - before), record=2, progress=False,
                           after=run)  # fmt: skip
            ratios.append(_edge_ratio(problem, rule, run, int(upto), edge_at))
            when.append(int(upto))
        drawn[f"β₁ = {b1:g}"] = (np.array(when), np.array(ratios))
        top = float(np.max(ratios[len(ratios) // 2 :]))
        if b1 == 0.9:
            line = Line.between(
                "β₁ = .9: largest sharpness over the edge, second half", 0.6, 2.0,
                expected=1.0, measured=top,
            )  # fmt: skip
        else:
            line = Line.most(
                "β₁ = .99: largest sharpness over the edge, second half", 1.1,
                measured=top,
            )  # fmt: skip
        lines.append(line)
    caption = "Preconditioned sharpness over (2 + 2β₁)/((1 − β₁)η), full-batch Adam."
    axes = pn.plotting.curves(
        drawn, xlabel="steps", ylabel="sharpness / edge", levels={"the edge": 1.0},
        dots=True,
    )  # fmt: skip
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _edge_ratio(
    problem: pn.Objective, rule: Any, run: pn.Trajectory, step: int, edge_at: float
) -> float:
    """λ₁ of what the step is divided by, over the edge."""
    log_v = rule.log_second(run.state.optimizer)
    # corrected as the rule corrects it; a stage counts on from where it began
    count = float(run.state.optimizer.count)
    seen = -np.expm1(count * np.log(0.999))
    below = jax.tree.map(lambda v: jnp.sqrt(jnp.exp(v) / seen) + float(rule.eps), log_v)
    del step
    found = pn.measures.sharpness(problem, run.last, preconditioner=below)
    return float(found.preconditioned) / edge_at


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
    Grid(200, 8, (0.99,), (0.9, 0.99, 0.995, 0.999), 3, 1e-3, 0.3, 1500),
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
    raw: dict[tuple[float, float], list[float]] = {}
    mean: dict[tuple[float, float], list[float]] = {}
    right: list[float] = []
    for s in range(seed, seed + sizes.seeds):
        problem, X, y, _ = images(None, sizes.samples, sizes.hidden, s)
        for b1 in sizes.first:
            for b2 in sizes.second:
                found = _at_loss(problem, adam(b1, b2, 1e-8), sizes)
                if found is None:
                    continue
                w, averaged = found
                raw.setdefault((b1, b2), []).append(one_norm(problem, w))
                mean.setdefault((b1, b2), []).append(one_norm(problem, averaged))
                right.append(accuracy(w, X, y))
    lines, pictures = [], {}
    for b1 in sizes.first:
        above = [b2 for b2 in sizes.second if b2 >= b1 and (b1, b2) in raw]
        if len(above) > 1:
            low, high = np.array(raw[b1, above[0]]), np.array(raw[b1, above[-1]])
            n = min(len(low), len(high))
            lines.append(
                Line.least(
                    f"β₁ = {b1:g}: one-norm at β₂ = {above[-1]:g} over that at "
                    f"{above[0]:g}",
                    1.0 if b1 > 0 else 0.5, expected=1.07,
                    measured=float(np.mean(high[:n] / low[:n])),
                    certificate=interval(list(high[:n] / low[:n])),
                )
            )  # fmt: skip
        shown = [b2 for b2 in sizes.second if (b1, b2) in raw]
        x = 1.0 - np.array(shown)
        drawn = {
            "iterates": (x, np.array([np.mean(raw[b1, b]) for b in shown])),
            "averaged iterates": (x, np.array([np.mean(mean[b1, b]) for b in shown])),
        }
        below = [b2 for b2 in shown if b2 < b1]
        if below:
            b2 = below[0]
            lines.append(
                Line.most(
                    f"β₁ = {b1:g}, β₂ = {b2:g}: one-norm of averaged iterates over "
                    "that of iterates",
                    0.8,
                    measured=float(np.mean(mean[b1, b2]) / np.mean(raw[b1, b2])),
                    certificate="oscillation: the average does not have it",
                )
            )
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


def _at_loss(problem: pn.Objective, rule: Any, sizes: Grid) -> Any:
    """Weights where the loss first is as asked, and their mean over 32 more steps."""
    run = pn.train(problem, rule, step_size=sizes.step_size, steps=sizes.steps,
                   record=400, progress=False)  # fmt: skip
    loss = np.asarray(run.loss)
    if not np.any(loss <= sizes.loss):
        return None
    until = int(run.steps[int(np.argmax(loss <= sizes.loss))])
    short = pn.train(problem, rule, step_size=sizes.step_size, steps=until, record=2,
                     progress=False)  # fmt: skip
    more = pn.train(problem, rule, step_size=sizes.step_size, steps=32, record=32,
                    progress=False, after=short)  # fmt: skip
    averaged = jax.tree.map(lambda x: jnp.mean(jnp.asarray(x), axis=0), more.weights)
    return short.last, averaged


class Batches(NamedTuple):
    """Samples, hidden units, batch sizes, orders, and updates made before."""

    samples: int
    hidden: int
    sizes: tuple[int, ...]
    orders: int
    step: int


BATCHES = Presets(
    Batches(64, 4, (2, 8, 32), 24, 24), Batches(128, 8, (2, 4, 8, 16, 32, 64), 96, 40)
)


def batches(preset: Preset | Batches = Preset.QUICK, seed: int = 0) -> Figure:
    r"""What Adam adds by batch size: exact replays, averaged over random orders.

    The product of the mean correction with $HF$ says whether the norm of the gradient
    is penalised (negative) or anti-penalised. Full batches have $\beta_2>\beta_1$
    anti-penalise; the noise of small ones weighs against that. A published claim that
    the effect of $\beta_2$ turns round below some batch size is known here at second
    hand, and what is shown are these numbers with their errors.
    """
    sizes = BATCHES.of(preset)
    problem, *_ = images(None, sizes.samples, sizes.hidden, seed)
    rule = adam(0.9, 0.99, 1e-4)
    full = pn.correction(problem, rule, problem.start, step_size=1e-4, step=sizes.step)
    along = lambda c: _along(problem, full, c)
    told = along(full)
    rows = {}
    for size in sizes.sizes:
        found = pn.correction(
            problem, rule, problem.start, step_size=1e-4, step=sizes.step,
            batches=pn.batching.Shuffled(size), orders=sizes.orders, key=seed,
        )  # fmt: skip
        rows[size] = along(found)
    x = np.array([*sizes.sizes, sizes.samples])
    y = np.array([*rows.values(), told])
    lines = [
        Line.least("full batch: anti-penalised, along HF", 0.0, expected=told,
                   measured=told),
        Line.between(
            f"batches of {sizes.sizes[-1]}, over the full batch", 0.0, 2.0,
            expected=0.8, measured=rows[sizes.sizes[-1]] / told,
            certificate=f"mean of {sizes.orders} orders",
        ),
    ]  # fmt: skip
    caption = "Mean correction along HF by batch size; positive: anti-penalised."
    axes = pn.plotting.curves(
        {"Adam .9/.99": (x, y)}, xlabel="batch size", ylabel="⟨C, HF⟩/‖HF‖", dots=True,
        levels={"nothing": 0.0},
    )  # fmt: skip
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _along(problem: pn.Objective, full: pn.Correction, found: pn.Correction) -> float:
    """The mean correction's product with the unit vector along the full batch's HF."""
    HF = problem.flat(pn.measures.hessian_product(problem, problem.start, full.F))
    return float(problem.flat(found.direction) @ HF / jnp.linalg.norm(HF))


class Validity(NamedTuple):
    """Sequences, width, steps of the run, and step sizes of the last stage."""

    sequences: int
    width: int
    steps: int
    step_sizes: tuple[float, ...]


VALIDITY = Presets(
    Validity(32, 8, 100, (1e-3, 1e-5, 1e-7)),
    Validity(128, 16, 600, (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)),
)


def validity(preset: Preset | Validity = Preset.QUICK, seed: int = 0) -> Figure:
    r"""A small transformer: is the expansion one, at usual step sizes?

    AdamW with its defaults at 1e-3: no. At smaller steps, from where that run ended,
    the first moment's part is the first to become valid.
    """
    sizes = VALIDITY.of(preset)
    problem = transformer(sizes.sequences, sizes.width, seed)
    rule = pn.optimizers.AdamW(bias_correction=True)
    run = pn.train(problem, rule, step_size=1e-3, steps=sizes.steps, record=2,
                   progress=False)  # fmt: skip
    seen = {
        h: pn.correction(problem, rule, run.last, step_size=h, step=sizes.steps)
        for h in sizes.step_sizes
    }
    stale = pn.estimators.staleness(run)
    h = np.array(sizes.step_sizes)
    shares = {
        "all": (h, np.array([x.share_valid for x in seen.values()])),
        "first moment": (h, np.array([_first(x) for x in seen.values()])),
    }
    lines = [
        Line.most("share of valid coordinates at 1e-3", 0.49,
                  measured=seen[h[0]].share_valid, certificate=seen[h[0]].verdict),
        Line.least(f"share of valid coordinates at {h[-1]:g}", 0.5, expected=0.9,
                   measured=seen[h[-1]].share_valid),
        Line.least("first moment's share over all's, least of the step sizes", 1.0,
                   expected=1.2,
                   measured=float(min(_first(x) / max(x.share_valid, 1e-9)
                                      for x in seen.values()))),
        Line.least("change of a gradient within the memory's ten steps", 0.1,
                   expected=0.6, measured=float(stale.values[2].value),
                   certificate=repr(stale)),
    ]  # fmt: skip
    caption = "Share of coordinates in which the expansion is one, by step size."
    axes = pn.plotting.curves(
        shares, xlabel="step size", ylabel="share with V < 0.3", dots=True
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _first(found: pn.Correction) -> float:
    assert found.first is not None
    return found.first.share_valid
