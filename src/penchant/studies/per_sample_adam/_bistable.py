import numpy as np

import penchant as pn
from penchant.studies._study import Figure, Line, Preset
from penchant.studies.per_sample_adam._runs import gap, simulate

LIMIT = np.array([0.745176, 0.586323, -0.317706])
WEIGHTS = (0.26454, 0.73546)


def bistable(preset: Preset = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Two rows on which the start decides: basins, and the pitchfork that makes them.

    $X=[[p,q,r],[q,p,-r]]$ with $p=6$, $q=2$; $r=1$ in the picture of basins.
    """
    problem = pn.datasets.bistable(6, 2, 1).problem(pn.losses.Exponential())
    step = pn.theory.per_sample.adam_proxy(problem)
    start = -np.asarray(step.rows @ np.array([0.0, 0.0, 2.0]))
    up = pn.theory.per_sample.equilibrium(step, start)
    direction = np.asarray(up.step) / np.linalg.norm(np.asarray(up.step))
    lines = [
        Line(
            f"limit from (0, 0, 2): coordinate {i + 1}",
            float(LIMIT[i]),
            float(LIMIT[i]) - 1e-6,
            float(LIMIT[i]) + 1e-6,
            float(direction[i]),
            f"VI gap {up.gap:.0e}",
        )
        for i in range(3)
    ]
    lines += [
        Line(
            f"its weight of sample {i + 1}",
            c,
            c - 1e-5,
            c + 1e-5,
            float(up.c[i]),
            f"VI gap {up.gap:.0e}",
        )
        for i, c in enumerate(WEIGHTS)
    ]
    lines += _runs(problem, preset, seed)
    pitchfork, fork_caption, fork_lines = _pitchfork(preset)
    basins, basin_caption, basin_lines = _basins(problem, preset, seed)
    return Figure(
        (*lines, *fork_lines, *basin_lines),
        {basin_caption: basins, fork_caption: pitchfork},
    )


def _runs(problem: pn.LinearClassification, preset: Preset, seed: int) -> list[Line]:
    """Both limits reached by Adam itself, in turn and at random, any decays."""
    lines = []
    # steps enough for what a random order leaves of a run's direction
    cases = [
        (0.9, 0.95, "in turn", pn.batching.Cyclic(1), 400_000),
    ]
    if not preset.quick:
        cases += [
            (0.0, 0.9, "in turn", pn.batching.Cyclic(1), 400_000),
            (0.9, 0.99, "reshuffled", pn.batching.Shuffled(1), 400_000),
            (0.9, 0.999, "with replacement", pn.batching.WithReplacement(1), 8_000_000),
        ]
    for b1, b2, name, batching, steps in cases:
        adam = pn.optimizers.Adam(b1, b2, 0.0)
        for side in (2.0, -2.0):
            init = np.array([0.0, 0.0, side])
            run = simulate(problem, adam, batching, steps, 1e-4, seed=seed, init=init)
            told = pn.theory.adam_limits(
                problem, adam, batching=batching, init=init, starts=0
            ).reached
            lines.append(
                Line(
                    f"Adam({b1:g}, {b2:g}), {name}, from (0, 0, {side:g}): "
                    "1 - cosine of run and prediction",
                    0.0,
                    0.0,
                    1e-5 + 4 * told.standard_error**2,
                    gap(run.increment(), told.direction),
                    f"VI gap {told.gap:.0e}, stable: {told.stable}",
                )
            )
    return lines


def _basins(
    problem: pn.LinearClassification, preset: Preset, seed: int
) -> tuple[str, str, list[Line]]:
    """Which limit each start (u, -u, z) ends at, by the flow and by Adam."""
    count = 40 if preset.quick else 100  # even: no start lies on the boundary z = -4u
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
    tried = rng.uniform([-2, -3], [2, 3], size=(12 if preset.quick else 60, 2))
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
        xlabel="u",
        ylabel="z",
        points=points,
    )
    share = agreed / len(tried)
    line = Line(
        "share of random starts whose run ends where the flow does",
        1.0,
        0.9,
        1.0,
        share,
        f"{len(tried)} runs",
    )
    return pn.plotting.themed_svg(axes, caption), caption, [line]


def _pitchfork(preset: Preset) -> tuple[str, str, list[Line]]:
    """The third coordinate of every limit against r, and where two become one."""
    known = pn.datasets.pitchfork(6, 2)
    below = known * (1.0 - np.geomspace(0.8, 1e-3, 16 if preset.quick else 48))
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
    # the branch shrinks like a root, so that half-way is sharp; eleven halvings are to
    # a fortieth of what the line allows
    for _ in range(11 if preset.quick else 25):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if limit(middle) > 1e-4 else (low, middle)
    line = Line(
        "r at which two limits become one",
        known,
        known * 0.98,
        known * 1.02,
        0.5 * (low + high),
        f"bisection to {high - low:.0e}; derived value √2 pq(p-q)²/(p²+q²)^1.5",
    )
    caption = (
        "Third coordinate of the stable limits of one-sample Adam (b2 → 1) on the rows "
        "(6, 2, r) and (2, 6, -r). Right of r_c both norms' common optimum (1, 1, 0) "
        "is "
        "the only limit; left of it, it is unstable."
    )
    axes = pn.plotting.curves(
        {"limit": (r, heights), "its mirror": (r, -heights)},
        xlabel="r",
        ylabel="third coordinate of the direction",
        logx=False,
        marks={"r_c": known},
    )
    return pn.plotting.themed_svg(axes, caption), caption, [line]
