import itertools
from typing import NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.per_sample_adam._runs import (
    HUES,
    gap,
    increments,
    rate_of,
    share,
    simulate,
    transient,
)

DECAYS = ((0.9, 0.95), (0.1, 0.1), (0.5, 0.5), (0.0, 0.9))


class Sizes(NamedTuple):
    """How long runs are, the exponents of their steps, and decays with either loss."""

    steps: int
    exponents: tuple[float, ...]
    decays: tuple[tuple[float, float], ...]
    logistic: tuple[tuple[float, float], ...]


SIZES = Presets(
    Sizes(200_000, (0.5,), DECAYS, DECAYS[:1]),
    Sizes(2_000_000, (0.5, 0.8), DECAYS, DECAYS),
)


def rademacher(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Figure 2: rows of one size. One sample a step finds $\ell_2$, all find $\ell_\infty$.

    Also what the theorem does not claim: $a=.5$, below its $a>2/3$; the logistic loss;
    two samples a step, which leave $\ell_2$.
    """  # noqa: E501
    sizes = SIZES.of(preset)
    steps = sizes.steps
    data = pn.datasets.scaled_rademacher(10, 50, seed=seed)
    exponential = data.problem(pn.losses.Exponential())
    l2 = pn.max_margin(exponential, pn.norms.L2())
    linf = pn.max_margin(exponential, pn.norms.Linf())
    lines, curves = [], {}
    losses = {
        "exponential": exponential,
        "logistic": data.problem(pn.losses.Logistic()),
    }
    for (b1, b2), a in itertools.product(sizes.decays, sizes.exponents):
        rule = pn.optimizers.Adam(b1, b2, 0.0)
        turn = pn.theory.adam_limits(
            exponential, rule, batching=pn.batching.Cyclic(1), starts=0
        ).reached
        for loss, problem in losses.items():
            if loss == "logistic" and (b1, b2) not in sizes.logistic:
                continue
            run = simulate(
                problem,
                rule,
                pn.batching.Cyclic(1),
                steps,
                pn.schedules.power(0.01 if a == 0.5 else 1.0, a),
                seed=seed,
            )
            lines.append(
                Line.most(
                    f"({b1:g}, {b2:g}), {loss}, a = {a:g}: 1 - cosine with ℓ2",
                    # where a sample outside is nearly as close, starts fade slowly
                    1e-8 + transient(run, rate_of(turn), turn.pace),
                    measured=gap(run.increment(), l2.weights),
                    certificate=(
                        f"largest margin known to {float(l2.gap):.0e}, slowest rate "
                        f"{rate_of(turn):.2g}"
                    ),
                )
            )
            if loss == "exponential" and a == 0.5:
                at, moved = increments(run)
                name = f"b = 1, ({b1:g}, {b2:g})"
                curves[name] = at, np.array([gap(w, l2.weights) for w in moved])
    adam = pn.optimizers.Adam(0.9, 0.95, 0.0)
    size = pn.schedules.power(0.01, 0.5)
    run = simulate(exponential, adam, pn.batching.FullBatch(), steps, size)
    lines.append(
        Line.between(
            "full batch: share of the largest ℓ∞ margin, increments",
            0.9999,
            1.0 + 1e-9,
            expected=1.0,
            measured=share(exponential, linf, run.increment()),
            certificate=f"largest margin known to {float(linf.gap):.0e}",
        )
    )
    at, moved = increments(run)
    curves["full batch"] = at, np.array([gap(w, l2.weights) for w in moved])
    pairs = pn.batching.Cyclic(2)
    run = simulate(exponential, adam, pairs, steps, size)
    told = pn.theory.adam_limits(exponential, adam, batching=pairs, starts=0).reached
    if told.converged:
        slow = rate_of(told)
        lines.append(
            Line.most(
                "two in turn: 1 - cosine of run and prediction",
                1e-7 + transient(run, slow, told.pace),
                measured=gap(run.increment(), told.direction),
                certificate=f"VI gap {told.gap:.0e}, slowest rate {slow:.2g}",
            )
        )
    else:
        # a weight that counts for less and less comes to rest like a power of time
        lines.append(
            Line.most(
                "two in turn: VI gap of weights that do not come to rest",
                1e-4,
                measured=told.gap,
                certificate="no limit known to compare the run with",
            )
        )
    lines.append(
        Line.between(
            "two in turn: 1 - cosine of the run and ℓ2 (no longer 0)",
            1e-3,
            1.0,
            expected=0.1,
            measured=gap(run.increment(), l2.weights),
            certificate=f"largest margin known to {float(l2.gap):.0e}",
        )
    )
    at, moved = increments(run)
    curves["b = 2 in turn"] = at, np.array([gap(w, l2.weights) for w in moved])
    caption = (
        "1 - cosine between w_t - w_t/2 and the ℓ2 max margin on scaled Rademacher "
        "data "
        f"(N = 10, d = 50, seed {seed}); exponential loss, η = .01 (t+2)^-.5, ε = 0. "
        "Curves that stay up go elsewhere."
    )
    axes = pn.plotting.curves(
        curves,
        xlabel="step",
        ylabel="1 - cosine with ℓ2",
        logy=True,
        colours={"full batch": HUES["full batch"]},
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})
