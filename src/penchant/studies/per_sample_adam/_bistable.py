from typing import Any, NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.per_sample_adam._runs import gap, simulate

LIMIT = np.array([0.745176, 0.586323, -0.317706])
WEIGHTS = (0.26454, 0.73546)

# decays, an order, and steps enough for what it leaves of a run's direction
CASES: tuple[tuple[float, float, str, Any, int], ...] = (
    (0.9, 0.95, "in turn", pn.batching.Cyclic(1), 400_000),
    (0.0, 0.9, "in turn", pn.batching.Cyclic(1), 400_000),
    (0.9, 0.99, "reshuffled", pn.batching.Shuffled(1), 400_000),
    (0.9, 0.999, "with replacement", pn.batching.WithReplacement(1), 8_000_000),
)


class Sizes(NamedTuple):
    """Runs from either side, and how fine the two pictures are.

    `grid` is even, so that no start lies on the boundary z = -4u; `starts` are those
    of runs in it; `branch` counts values of r below the fork, and `halvings` those
    of the bisection for it.
    """

    cases: tuple[tuple[float, float, str, Any, int], ...]
    grid: int
    starts: int
    branch: int
    halvings: int


# the branch shrinks like a root, so that half-way is sharp; eleven halvings are to a
# fortieth of what the line allows
SIZES = Presets(Sizes(CASES[:1], 40, 12, 16, 11), Sizes(CASES, 100, 60, 48, 25))


def bistable(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Two rows on which the start decides: basins, and the pitchfork that makes them.

    $X=[[p,q,r],[q,p,-r]]$ with $p=6$, $q=2$; $r=1$ in the picture of basins.
    """
    sizes = SIZES.of(preset)
    problem = pn.datasets.bistable(6, 2, 1).problem(pn.losses.Exponential())
    step = pn.theory.per_sample.adam_proxy(problem)
    start = -np.asarray(step.rows @ np.array([0.0, 0.0, 2.0]))
    up = pn.theory.per_sample.equilibrium(step, start)
    direction = np.asarray(up.step) / np.linalg.norm(np.asarray(up.step))
    lines = [
        Line.near(
            f"limit from (0, 0, 2): coordinate {i + 1}",
            expected=float(LIMIT[i]),
            within=1e-6,
            measured=float(direction[i]),
            certificate=f"VI gap {up.gap:.0e}",
        )
        for i in range(3)
    ]
    lines += [
        Line.near(
            f"its weight of sample {i + 1}",
            expected=c,
            within=1e-5,
            measured=float(up.c[i]),
            certificate=f"VI gap {up.gap:.0e}",
        )
        for i, c in enumerate(WEIGHTS)
    ]
    lines += _runs(problem, sizes, seed)
    pitchfork, fork_caption, fork_lines = _pitchfork(sizes)
    basins, basin_caption, basin_lines = _basins(problem, sizes, seed)
    return Figure(
        (*lines, *fork_lines, *basin_lines),
        {basin_caption: basins, fork_caption: pitchfork},
    )


def _runs(problem: pn.LinearClassification, sizes: Sizes, seed: int) -> list[Line]:
    """Both limits reached by Adam itself, in turn and at random, any decays."""
    lines = []
    for b1, b2, name, batching, steps in sizes.cases:
        adam = pn.optimizers.Adam(b1, b2, 0.0)
        for side in (2.0, -2.0):
            init = np.array([0.0, 0.0, side])
            run = simulate(problem, adam, batching, steps, 1e-4, seed=seed, init=init)
            told = pn.theory.adam_limits(
                problem, adam, batching=batching, init=init, starts=0
            ).reached
            rest = "stable" if told.stable else "unstable"
            lines.append(
                Line.most(
                    f"Adam({b1:g}, {b2:g}), {name}, from (0, 0, {side:g}): "
                    "1 - cosine of run and prediction",
                    1e-5 + 4 * told.standard_error**2,
                    measured=gap(run.increment(), told.direction),
                    certificate=f"VI gap {told.gap:.0e}, {rest}",
                )
            )
    return lines


def _basins(
    problem: pn.LinearClassification, sizes: Sizes, seed: int
) -> tuple[str, str, list[Line]]:
    """Which limit each start (u, -u, z) ends at, by the flow and by Adam."""
    count = sizes.grid
    u, z = np.linspace(-2, 2, count), np.linspace(-3, 3, count)
    U, Z = np.meshgrid(u, z)
    starts = np.stack([U.ravel(), -U.ravel(), Z.ravel()], axis=1)
    step = pn.theory.per_sample.adam_proxy(problem)
    _, w = pn.theory.per_sample.follow(
        step, steps=4_000, step_size=0.05, init=starts, record=4
    )
    moved = np.asarray(w[-1] - w[-2])
    kinds = np.sign(np.round(moved[:, 2] / np.abs(moved).max(), 3)).astype(int)
    rng = np.random.default_rng(seed)
    adam = pn.optimizers.Adam(0.9, 0.95, 0.0)
    tried = rng.uniform([-2, -3], [2, 3], size=(sizes.starts, 2))
    sides, agreed = [], 0
    for a, b in tried:
        init = np.array([a, -a, b])
        run = simulate(problem, adam, pn.batching.Cyclic(1), 40_000, 1e-3, init=init)
        side = int(np.sign(float(run.increment()[2])))
        sides.append(side)
        nearest = np.argmin((starts[:, 0] - a) ** 2 + (starts[:, 2] - b) ** 2)
        agreed += side == kinds[nearest]
    sides = np.array(sides)
    points = {s: tuple(tried[sides == s].T) for s in (1, -1) if (sides == s).any()}
    caption = (
        "Where one-sample Adam ends from the start (u, -u, z), on the rows (6, 2, 1) "
        "and "
        f"(2, 6, -1): areas by the flow of AdamProxy on a {count} × {count} grid, "
        "circles "
        f"by Adam(.9, .95) in turn, η = 1e-3, 40,000 steps, {len(tried)} random starts."
    )
    axes = pn.plotting.regions(
        u,
        z,
        kinds.reshape(count, count),
        {1: "limit with w₃ > 0", -1: "limit with w₃ < 0"},
        xlabel="u of the start",
        ylabel="z of the start",
        points=points,
        measured="runs, by their ends",
    )
    share = agreed / len(tried)
    line = Line.between(
        "share of random starts whose run ends where the flow does",
        0.9,
        1.0,
        expected=1.0,
        measured=share,
        certificate=f"{len(tried)} runs",
    )
    return pn.plotting.themed_svg(axes, caption), caption, [line]


def _pitchfork(sizes: Sizes) -> tuple[str, str, list[Line]]:
    """The third coordinate of every limit against r, and where two become one."""
    known = pn.datasets.pitchfork(6, 2)
    below = known * (1.0 - np.geomspace(0.8, 1e-3, sizes.branch))
    r = np.concatenate([below, np.linspace(known, 1.4, 6)])

    def limit(r: float) -> float:
        rows = pn.datasets.bistable(6, 2, r).problem(pn.losses.Exponential())
        step = pn.theory.per_sample.adam_proxy(rows)
        w = np.asarray(
            pn.theory.per_sample.equilibrium(step, np.array([1.5, -1.5])).step
        )
        return float(abs(w[2]) / np.linalg.norm(w))

    heights = np.array([limit(x) for x in r])
    low, high = 0.5, 1.4
    for _ in range(sizes.halvings):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if limit(middle) > 1e-4 else (low, middle)
    line = Line.between(
        "r at which two limits become one",
        known * 0.98,
        known * 1.02,
        expected=known,
        measured=0.5 * (low + high),
        certificate=(
            f"bisection to {high - low:.0e}; derived value √2 pq(p-q)²/(p²+q²)^1.5"
        ),
    )
    caption = (
        "Third coordinate of the stable limits of one-sample Adam (b2 → 1) on the rows "
        "(6, 2, r) and (2, 6, -r). Right of r_c both norms' common optimum (1, 1, 0) "
        "is "
        "the only limit; left of it, it is unstable."
    )
    axes = pn.plotting.curves(
        {"limit": (r, heights), "its mirror": (r, -heights)},
        xlabel="r, third feature of the first row",
        ylabel="third coordinate of the direction",
        logx=False,
        marks={"two limits become one": known},
    )
    return pn.plotting.themed_svg(axes, caption), caption, [line]
