from typing import NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.per_sample_adam._runs import (
    cosine,
    enough_steps,
    gap,
    rate_of,
    simulate,
)

STEPS = 20_000_000
"""The most that the slowest rate may ask for."""


class Sizes(NamedTuple):
    """Data sets, starts of the fixed point in each, and data sets with runs."""

    sets: int
    starts: int
    runs: int


SIZES = Presets(Sizes(20, 4, 5), Sizes(100, 5, 20))


def uniqueness(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Many Gaussian data sets: one limit each, and runs that reach it.

    $N=10$, $d=50$. Runs: one sample in turn, $\beta_2=.999$, $\eta=10^{-4}$,
    as many steps as the predicted rate asks for.
    """
    count, starts, runs = SIZES.of(preset)
    adam = pn.optimizers.Adam(0.9, 0.999, 0.0)
    near2, near_inf, several, residual = [], [], 0, 0.0
    proxy_gaps, finite_gaps, iterations = [], [], []
    for k in range(count):
        data = pn.datasets.gaussian(10, 50, seed=seed + k)
        problem = data.problem(pn.losses.Exponential())
        step = pn.theory.per_sample.adam_proxy(problem)
        rest = pn.theory.per_sample.equilibrium(step)
        rng = np.random.default_rng(seed + k)
        for _ in range(starts):
            log_c = np.log(rng.dirichlet(np.full(10, 0.3)) + 1e-12)
            other = pn.theory.per_sample.equilibrium(step, log_c)
            several += gap(other.step, rest.step) > 1e-9
        T = pn.theory.per_sample.fixed_point_map(problem, rest.c)
        residual = max(residual, float(np.abs(np.asarray(T - rest.c)).sum()))
        near2.append(cosine(rest.step, pn.max_margin(problem, pn.norms.L2()).weights))
        near_inf.append(
            cosine(rest.step, pn.max_margin(problem, pn.norms.Linf()).weights)
        )
        if k < 3:
            iterations.append(_iterations(problem, np.asarray(rest.c)))
        if k < runs:
            finite = pn.theory.adam_limits(problem, adam, starts=0).reached
            steps = enough_steps(rate_of(finite), 1e-4, STEPS)
            run = simulate(problem, adam, pn.batching.Cyclic(1), steps, 1e-4)
            proxy_gaps.append(gap(run.increment(), rest.step))
            finite_gaps.append(gap(run.increment(), finite.direction))
    error = np.std(near2, ddof=1) / np.sqrt(count)
    error_inf = np.std(near_inf, ddof=1) / np.sqrt(count)
    lines = (
        Line.near(
            f"starts that end elsewhere, of {count * starts}",
            expected=0.0,
            within=0.0,
            measured=float(several),
            certificate=f"largest ‖T(c) - c‖₁ {residual:.0e}",
        ),
        Line.most(
            "largest ‖T(c) - c‖₁",
            1e-10,
            measured=residual,
            certificate=f"{count} data sets",
        ),
        Line.between(
            "mean cosine of the fixed point with ℓ2",
            0.970 - 4 * error - 5e-4,
            0.970 + 4 * error + 5e-4,
            expected=0.970,
            measured=float(np.mean(near2)),
            certificate=f"standard error {error:.4f}",
        ),
        Line.between(
            "mean cosine of the fixed point with ℓ∞",
            0.822 - 4 * error_inf - 5e-4,
            0.822 + 4 * error_inf + 5e-4,
            expected=0.822,
            measured=float(np.mean(near_inf)),
            certificate=f"standard error {error_inf:.4f}",
        ),
        Line.most(
            f"largest 1 - cosine of run and fixed point, {runs} data sets",
            1e-6,
            measured=max(proxy_gaps),
            certificate="b2 = .999",
        ),
        Line.most(
            f"largest 1 - cosine of run and finite-b2 limit, {runs} data sets",
            1e-7,
            measured=max(finite_gaps),
            certificate="b2 = .999",
        ),
        Line.near(
            "plain iterations of T to 1e-10, mean of three data sets",
            expected=21.0,
            within=11.0,
            measured=float(np.mean(iterations)),
            certificate="from equal weights",
        ),
    )
    caption = (
        f"Cosine of one-sample Adam's fixed point with the ℓ2 and the ℓ∞ max margin on "
        f"{count} Gaussian data sets (N = 10, d = 50), sorted."
    )
    place = np.arange(1, count + 1)
    axes = pn.plotting.curves(
        {"ℓ2": (place, np.sort(near2)), "ℓ∞": (place, np.sort(near_inf))},
        xlabel="data set, by rank",
        ylabel="cosine",
        logx=False,
    )
    return Figure(lines, {caption: pn.plotting.themed_svg(axes, caption)})


def _iterations(problem: pn.LinearClassification, rest: np.ndarray) -> int:
    c = np.full(len(rest), 1.0 / len(rest))
    for k in range(1, 101):
        after = np.asarray(pn.theory.per_sample.fixed_point_map(problem, c))
        if np.abs(after - c).sum() < 1e-10:
            return k
        c = after
    return 101
