import numpy as np

import penchant as pn
from penchant.studies._study import Figure, Line, Preset
from penchant.studies.per_sample_adam._runs import cosine, gap, simulate

# cosine of the finite-β limit with the fixed point, an independent implementation
KNOWN = {
    (10, 50, 0.9, 0.95): (0.999984, 2e-6),
    (50, 200, 0.9, 0.95): (0.9986, 3e-4),
    (10, 50, 0.0, 0.5): (0.92, 0.02),
    (50, 200, 0.0, 0.5): (0.88, 0.02),
}


def decays(preset: Preset = Preset.QUICK, seed: int = 0) -> Figure:
    r"""How far the limit at finite $\beta_2$ is from the fixed point, as $N$ grows.

    Gaussian data with $d=4N$ (50 for $N=10$), one sample a step, in turn. What matters
    is the epoch against the memory, $N(1-\beta_2)$.
    """
    shapes = [(10, 50), (50, 200), (100, 400)]
    if not preset.quick:
        shapes += [(300, 1200), (1000, 2000)]
    lines, points = [], {}
    for n, d in shapes:
        data = pn.datasets.gaussian(n, d, seed=seed)
        problem = data.problem(pn.losses.Exponential())
        proxy = pn.theory.per_sample.equilibrium(
            pn.theory.per_sample.adam_proxy(problem)
        )
        x, y = [], []
        for b1, b2 in ((0.9, 0.9), (0.9, 0.95), (0.9, 0.99), (0.9, 0.999), (0.0, 0.5)):
            adam = pn.optimizers.Adam(b1, b2, 0.0)
            told = pn.theory.per_sample.equilibrium(
                pn.theory.per_sample.adam_step(problem, adam)
            )
            near = cosine(told.step, proxy.step)
            if b1 > 0:
                x.append(n * (1.0 - b2))
                y.append(1.0 - near)
            lines.append(
                Line(
                    f"N = {n}, d = {d}, ({b1:g}, {b2:g}): VI gap",
                    0.0,
                    -1e-13,
                    1e-10,
                    told.gap,
                    f"drift {told.drift:.0e}, cosine with the fixed point {near:.6f}",
                )
            )
            known = KNOWN.get((n, d, b1, b2)) if seed == 0 else None
            if known is not None:
                value, digits = known
                lines.append(
                    Line(
                        f"N = {n}, d = {d}, ({b1:g}, {b2:g}): cosine with the fixed "
                        "point",
                        value,
                        value - digits,
                        value + digits,
                        near,
                        f"VI gap {told.gap:.0e}",
                    )
                )
        points[f"N = {n}"] = np.array(x), np.array(y)
    n, d = 50, 200
    problem = pn.datasets.gaussian(n, d, seed=seed).problem(pn.losses.Exponential())
    adam = pn.optimizers.Adam(0.9, 0.95, 0.0)
    run = simulate(problem, adam, pn.batching.Cyclic(1), 400_000, 1e-4)
    told = pn.theory.per_sample.equilibrium(
        pn.theory.per_sample.adam_step(problem, adam)
    )
    lines.append(
        Line(
            f"N = {n}, d = {d}, (.9, .95): 1 - cosine of run and prediction",
            0.0,
            0.0,
            1e-6,
            gap(run.increment(), told.step),
            f"VI gap {told.gap:.0e}",
        )
    )
    caption = (
        "1 - cosine between the limit at finite b2 and the fixed point (b2 → 1) "
        "against "
        "epoch over memory. Gaussian data, b1 = .9, b2 = .9, .95, .99, .999, samples "
        "in "
        f"turn, seed {seed}."
    )
    axes = pn.plotting.curves(
        points, points=points, xlabel="N (1 - b2)", ylabel="1 - cosine", logy=True
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})
