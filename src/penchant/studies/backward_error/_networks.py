"""Networks: a run against its memoryless maps, the edge, the U-curve, and validity."""

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
    squared,
    transformer,
)


class Memory(NamedTuple):
    """Samples, hidden units, step sizes and steps of a run and its maps; seeds."""

    samples: int
    hidden: int
    step_sizes: tuple[float, ...]
    steps: int
    eps: tuple[float, ...]
    seeds: int


MEMORY = Presets(
    Memory(300, 16, (1e-4,), 50, (1e-2, 1e-6), 3),
    Memory(1000, 32, (1e-4, 3e-4), 200, (1e-2, 1e-6), 5),
)
NEARER = 0.35
"""Share of the plain map's median distance that a valid correction leaves at most."""

MEMORY_DATA = Presets(
    MEMORY.quick, Memory(10_000, 32, (1e-4, 3e-4), 50, (1e-2, 1e-6), 3)
)


def memory(
    preset: Preset | Memory = Preset.QUICK,
    seed: int = 0,
    data: pn.datasets.Dataset | None = None,
) -> Figure:
    r"""AdamW on a network against its memoryless map, corrected and not.

    The map is $w\leftarrow w-h(F+hM)$ from the same start, without $hM$ where it is not
    corrected. Where the correction is valid it is closer by an order; with a small
    $\varepsilon$ a few coordinates whose gradient changes sign decide the largest
    distance, and the median tells. With a small $\varepsilon$ and $h$ above
    $10^{-4}$ it is asked to be closer, and no more.

    Args:
        preset: How much to do, or sizes of one's own.
        seed: Of the starts and the samples: the first of them.
        data: Images, such as `datasets.load` reads from MNIST's idx files; None for
            the digits that come with scikit-learn.
    """
    sizes = (MEMORY if data is None else MEMORY_DATA).of(preset)
    drawn_from = [
        images(data, sizes.samples, sizes.hidden, s)
        for s in range(seed, seed + sizes.seeds)
    ]
    name = drawn_from[0][3]
    lines, pictures = [], {}
    for eps in sizes.eps:
        drawn = {}
        for h in sizes.step_sizes:
            rule = pn.optimizers.AdamW(
                0.9, 0.95, eps, 1e-3 / h, eps_inside=True, bias_correction=True
            )
            ratios, certificate = [], ""
            for problem, *_ in drawn_from:
                run, gaps = _from_maps(problem, rule, h, sizes.steps)
                plain, better = (gaps[k][-1] for k in ("memoryless", "corrected"))
                ratios.append(float(np.median(better) / np.median(plain)))
                if not certificate:
                    seen = pn.correction(
                        problem, rule, run.last, step_size=h, step=sizes.steps,
                        kind="map",
                    )  # fmt: skip
                    certificate = (
                        f"seed {seed}: median {np.median(plain):.2g} → "
                        f"{np.median(better):.2g}, largest {plain.max():.2g} → "
                        f"{better.max():.2g}, {seen.share_valid:.0%} of coordinates "
                        "valid"
                    )
                    steps = np.asarray(run.steps)
                    drawn |= {
                        f"{k}, h = {h:g}": (steps, np.maximum(gap.max(axis=1), 1e-18))
                        for k, gap in gaps.items()
                    }
            lines.append(
                Line.most(
                    f"ε = {eps:g}, h = {h:g}: median distance, corrected over not, "
                    "largest of the seeds",
                    NEARER if eps > 1e-4 or h <= 1e-4 else 1.0, measured=max(ratios),
                    certificate=f"{interval(ratios)}; {certificate}",
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


def _from_maps(
    problem: pn.Objective, rule: pn.optimizers.AbstractOptimizer, h: float, steps: int
) -> tuple[pn.Trajectory, dict[str, np.ndarray]]:
    """A run, and each coordinate's distance from both maps at each of its records."""
    run = pn.train(problem, rule, step_size=h, steps=steps, record=steps,
                   progress=False)  # fmt: skip
    rows = np.asarray(run.steps)
    gaps = {}
    for label, order in (("memoryless", 1), ("corrected", 2)):
        path = pn.flows.modified_flow(
            problem, rule, step_size=h, steps=steps, kind="map", order=order
        )
        pairs = zip(jax.tree.leaves(path), jax.tree.leaves(run.weights), strict=True)
        gaps[label] = np.concatenate(
            [
                np.abs(np.asarray(a)[rows] - np.asarray(b)).reshape(len(rows), -1)
                for a, b in pairs
            ],
            axis=1,
        )
    return run, gaps


EDGE_SECOND = 0.99
r"""$\beta_2$ of these runs: with .999 they come to the edge ten times as late."""


class Edge(NamedTuple):
    """Samples, hidden units, step size, steps, records and seeds."""

    samples: int
    hidden: int
    step_size: float
    steps: int
    records: int
    seeds: int


EDGE = Presets(Edge(100, 32, 1e-3, 1600, 8, 3), Edge(500, 32, 1e-3, 6000, 24, 5))


def edge(preset: Preset | Edge = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Preconditioned sharpness against $(2+2\beta_1)/((1-\beta_1)\eta)$.

    Beyond it steps oscillate, and no expansion in small steps holds. With squared
    errors and $\beta_1=.9$ the run comes to the edge and stays; with .99 the edge is
    ten times farther, and is come to later or not at all. With cross-entropy the
    curvature fades with the loss, and the same network stays far below.
    """
    sizes = EDGE.of(preset)
    marks = np.unique(np.geomspace(30, sizes.steps, sizes.records).astype(int))
    lines, drawn = [], {}
    cases = (
        (0.9, squared, "squared errors", 0.85, 1.3),
        (0.99, squared, "squared errors", 0.0, 1.15),
        (0.9, lambda problem: problem, "cross-entropy", 0.0, 0.85),
    )
    for b1, made, loss, low, high in cases:
        rule = pn.optimizers.Adam(b1, EDGE_SECOND, 1e-8, bias_correction=True)
        ratios = []
        for s in range(seed, seed + sizes.seeds):
            problem, *_ = images(None, sizes.samples, sizes.hidden, s)
            ratios.append(_edge_ratios(made(problem), rule, sizes.step_size, marks))
        name = f"β₁ = {b1:g}, {loss}"
        drawn[name] = (marks, np.mean(ratios, axis=0))
        ends = [row[-1] for row in ratios]
        worst = min(ends) if low > 0 else max(ends)
        lines.append(
            Line.between(
                f"{name}: sharpness over the edge at the end, "
                f"{'least' if low > 0 else 'largest'} of the seeds", low, high,
                expected=1.0 if b1 == 0.9 and low > 0 else 0.5, measured=worst,
                certificate=interval(ends),
            )
        )  # fmt: skip
    caption = (
        "Preconditioned sharpness over (2 + 2β₁)/((1 − β₁)η), full-batch Adam at "
        f"η = {sizes.step_size:g}, β₂ = {EDGE_SECOND:g}, a network of {sizes.hidden} "
        f"hidden units on {sizes.samples} digits, mean of {sizes.seeds} seeds."
    )
    axes = pn.plotting.curves(
        drawn, xlabel="steps", ylabel="sharpness / edge", levels={"the edge": 1.0},
        dots=True, logy=True,
    )  # fmt: skip
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _edge_ratios(
    problem: pn.Objective, rule: pn.optimizers.Adam, h: float, marks: np.ndarray
) -> list[float]:
    """λ₁ of the Hessian over what the step is divided by, over the edge, at `marks`."""
    b1 = float(rule.b1)
    edge_at = (2.0 + 2.0 * b1) / ((1.0 - b1) * h)
    ratios, run = [], None
    for upto, before in zip(marks, [0, *marks[:-1]], strict=True):
        run = pn.train(problem, rule, step_size=h, steps=int(upto - before), record=2,
                       progress=False, after=run)  # fmt: skip
        # corrected as the rule corrects it; a stage counts on from where it began
        seen = -np.expm1(float(run.state.optimizer.count) * np.log(float(rule.b2)))
        below = jax.tree.map(
            lambda v, seen=seen: jnp.sqrt(jnp.exp(v) / seen) + float(rule.eps),
            rule.log_second(run.state.optimizer),
        )
        found = pn.measures.sharpness(problem, run.last, preconditioner=below)
        ratios.append(float(found.preconditioned) / edge_at)
    return ratios


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


class Validity(NamedTuple):
    """Sequences, width, steps of the run, step sizes of the last stage, and seeds."""

    sequences: int
    width: int
    steps: int
    step_sizes: tuple[float, ...]
    seeds: int


VALIDITY = Presets(
    Validity(32, 8, 100, (1e-3, 1e-5, 1e-7), 3),
    Validity(128, 16, 600, (1e-3, 1e-4, 1e-6, 1e-7, 1e-8), 5),
)


def validity(preset: Preset | Validity = Preset.QUICK, seed: int = 0) -> Figure:
    r"""A small transformer: is the expansion one, at usual step sizes?

    AdamW with its defaults at 1e-3: no. At smaller steps, from where that run ended,
    the first moment's part is the first to become valid.
    """
    sizes = VALIDITY.of(preset)
    rule = pn.optimizers.AdamW(bias_correction=True)
    usual, least = sizes.step_sizes[0], sizes.step_sizes[-1]
    share: dict[float, list[float]] = {h: [] for h in sizes.step_sizes}
    first: dict[float, list[float]] = {h: [] for h in sizes.step_sizes}
    changes, verdict = [], ""
    for s in range(seed, seed + sizes.seeds):
        problem = transformer(sizes.sequences, sizes.width, s)
        run = pn.train(problem, rule, step_size=usual, steps=sizes.steps, record=2,
                       progress=False)  # fmt: skip
        for h in sizes.step_sizes:
            found = pn.correction(
                problem, rule, run.last, step_size=h, step=sizes.steps
            )
            verdict = verdict or found.verdict
            share[h].append(found.share_valid)
            first[h].append(_first(found))
        changes.append(float(pn.estimators.staleness(run).values[2].value))
    h = np.array(sizes.step_sizes)
    shares = {
        "all": (h, np.array([np.mean(x) for x in share.values()])),
        "first moment": (h, np.array([np.mean(x) for x in first.values()])),
    }
    gains = [
        a - b
        for size in sizes.step_sizes
        for a, b in zip(first[size], share[size], strict=True)
    ]
    lines = [
        Line.most(f"share of valid coordinates at {usual:g}, largest of the seeds",
                  0.49, measured=max(share[usual]),
                  certificate=f"{interval(share[usual])}; seed {seed}: {verdict}"),
        Line.least(f"share of valid coordinates at {least:g}, least of the seeds",
                   0.5, expected=0.9, measured=min(share[least]),
                   certificate=interval(share[least])),
        Line.least("first moment's share less all's, least of seeds and step sizes",
                   0.0, expected=0.05, measured=min(gains)),
        Line.least("change of a gradient within the memory's ten steps, least of the "
                   "seeds", 0.1, expected=0.6, measured=min(changes),
                   certificate=interval(changes)),
    ]  # fmt: skip
    caption = "Share of coordinates in which the expansion is one, by step size."
    axes = pn.plotting.curves(
        shares, xlabel="step size", ylabel="share with V < 0.3", dots=True
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _first(found: pn.Correction) -> float:
    assert found.first is not None
    return found.first.share_valid
