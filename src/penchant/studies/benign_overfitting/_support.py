"""When all rows are support vectors, gradient descent on the way, and a bias."""

from typing import NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.benign_overfitting._setup import (
    ERRORS,
    Mixture,
    along,
    held,
    isotropic,
    margin,
    over,
    signed,
)


class Sizes(NamedTuple):
    """How many draws of a probability, of a path, and the steps of a path."""

    draws: int
    paths: int
    steps: int


SIZES = Presets(Sizes(600, 24, 20_000), Sizes(3000, 80, 100_000))

CLOSE = 0.04
"""How far off a probability may be for the independence that it rests on."""

SHARES = {
    "n = 50, d = 300, ‖μ‖ = 4": (isotropic(300, 4.0), 50),
    "n = 200, d = 300, ‖μ‖ = 4": (isotropic(300, 4.0), 200),
    "n = 130, d = 100, ‖μ‖ = 2": (isotropic(100, 2.0), 130),
}

CASES = {
    "n = 50, d = 273": (isotropic(273, 0.0), 50),
    "n = 50, d = 391": (isotropic(391, 0.0), 50),
    "n = 50, d = 547": (isotropic(547, 0.0), 50),
    "n = 100, d = 644": (isotropic(644, 0.0), 100),
    "n = 100, d = 921": (isotropic(921, 0.0), 100),
    "n = 30, d = 3000, ‖μ‖ = 40": (isotropic(3000, 40.0), 30),
    "two levels, ‖μ‖ = 8 along the top, n = 30": (
        along(np.append(np.full(5, 20.0), np.ones(2500)), 0, 8.0),
        30,
    ),
}


def support(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""How often all rows are support vectors, beside the probability foretold.

    At $d\approx2n\log n$, not $n^2$: 391 and 921 features do for 50 and 100 rows. On
    two levels a formula that has no more than ‖Σ‖_F and ‖μ‖_Σ is far too low.
    """
    draws = SIZES.of(preset).draws
    lines = []
    for name, (mixture, n) in CASES.items():
        hits = over(draws, seed, lambda s, m=mixture, n=n: _all(m, n, s))
        told = pn.theory.mixture_risk(mixture, n).all_support
        error = (max(told * (1.0 - told), 1.0 / draws) / draws) ** 0.5
        lines.append(
            Line.near(
                f"all rows support, {name}",
                expected=told,
                within=ERRORS * error + CLOSE,
                measured=float(hits.mean()),
                certificate=f"share of {draws} draws, standard error {error:.2g}; the "
                "prediction takes rows as independent, good to .04",
            )
        )
    for name, (mixture, n) in SHARES.items():
        shares = over(draws // 6, seed, lambda s, m=mixture, n=n: _share(m, n, s))
        # a draw that is not separable has no margin; one in some hundreds here
        kept = shares[np.isfinite(shares)]
        told = pn.theory.mixture_risk(mixture, n).support
        lines.append(
            held(f"share of support vectors, {name}", kept, expected=told, share=0.005)
        )
    curves = {}
    for n in (20, 50, 100):
        d = np.unique(np.geomspace(n + 2, 40 * n, 80).astype(int))
        many = pn.theory.risk.mixture_risks([isotropic(int(x), 0.0) for x in d], n)
        curves[f"n = {n}"] = (d / (2.0 * n * np.log(n)), many.all_support)
    caption = "The probability that all rows are support vectors, no signal"
    axes = pn.plotting.curves(
        curves, xlabel="d / (2n log n)", ylabel="probability", marks={"2n log n": 1.0}
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _share(mixture: Mixture, n: int, s: int) -> float:
    try:
        return float(margin(signed(mixture, n, s))[1].mean())
    except pn.NotSeparableError:
        return float("nan")


def _all(mixture: Mixture, n: int, s: int) -> bool:
    # the interpolator's dual is all positive exactly where max margin is least squares
    Z = signed(mixture, n, s)
    return bool((np.linalg.solve(Z @ Z.T, np.ones(n)) > 0).all())


def descent(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    """Gradient descent from averaging to max margin, n = 50, ‖μ‖ = 4.

    With 300 features the first step is better than the limit; with 2000 the two are
    alike. Both rates are as known: gaps of 1/log t plain, and 1/t normalised.
    """
    sizes = SIZES.of(preset)
    lines, shown = [], {}
    for d in (300, 2000):
        mixture = isotropic(d, 4.0)
        paths = over(sizes.paths, seed, lambda s, m=mixture: _ends(m, s, sizes.steps))
        told = pn.theory.mixture_risk(mixture, 50)
        share = 0.01
        lines += [
            held(
                f"d = {d}: ρ after one step",
                paths[:, 0],
                expected=told.averaging,
                share=share,
            ),
            held(
                f"d = {d}: ρ of max margin", paths[:, 2], expected=told.rho, share=share
            ),
            # the draws are the same: their differences are known better than each
            held(
                f"d = {d}: one step less max margin",
                paths[:, 0] - paths[:, 2],
                expected=told.averaging - told.rho,
                share=0.1,
            ),
        ]
        Z = signed(mixture, 50, 10_000 * seed)
        path = _path(Z, sizes.steps, pn.theory.risk.LogisticSteps())
        shown[f"d = {d}"] = (path.steps, mixture.rho(path.weights))
    Z = signed(isotropic(2000, 4.0), 50, 10_000 * seed)
    best = float((Z @ margin(Z)[0]).min())
    lines += _gaps(Z, best, sizes.steps)
    caption = "ρ along gradient descent, one draw each"
    axes = pn.plotting.curves(shown, xlabel="step", ylabel="ρ")
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _path(
    Z: np.ndarray, steps: int, rule: pn.theory.risk.AbstractDualStep
) -> pn.theory.risk.DualPath:
    problem = pn.LinearClassification(Z, np.ones(len(Z)), loss=pn.losses.Logistic())
    return pn.theory.risk.dual_path(problem, steps=steps, rule=rule)


def _ends(mixture: Mixture, s: int, steps: int) -> tuple[float, float, float]:
    Z = signed(mixture, 50, s)
    path = _path(Z, steps // 10, pn.theory.risk.LogisticSteps())
    rho = np.asarray(mixture.rho(path.weights))
    return float(rho[0]), float(rho[-1]), float(mixture.rho(margin(Z)[0]))


def _gaps(Z: np.ndarray, best: float, steps: int) -> list[Line]:
    plain = _path(Z, steps, pn.theory.risk.LogisticSteps())
    quick = _path(Z, steps, pn.theory.risk.NormalisedSteps())
    gap = lambda path, t: 1.0 - path.margin[np.searchsorted(path.steps, t)] / best
    at = lambda path, t: path.steps[np.searchsorted(path.steps, t)]
    t, u = at(plain, steps // 10), plain.steps[-1]
    ratio = gap(plain, u) * np.log(u) / (gap(plain, t) * np.log(t))
    t, u = at(quick, steps // 10), quick.steps[-1]
    power = np.log(gap(quick, u) / gap(quick, t)) / np.log(u / t)
    return [
        Line.near(
            "d = 2000: gap·log t over a decade of steps, plain",
            expected=1.0,
            within=0.05,
            measured=float(ratio),
            certificate=f"to step {steps:,}; gap {gap(plain, u):.3g}",
        ),
        Line.near(
            "d = 2000: power of t in the gap, normalised",
            expected=-1.0,
            within=0.05,
            measured=float(power),
            certificate=f"to step {steps:,}; gap {gap(quick, u):.1e}",
        ),
    ]


def bias(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    """Max margin with a feature that is 1 beside without, n = 40, d = 2000, ‖μ‖ = 4.

    The classes are alike, so a bias can only cost; with many features it is small
    against the rows' length, and costs nothing that shows.
    """
    draws = 6 * SIZES.of(preset).paths
    mixture = isotropic(2000, 4.0)
    costs = over(draws, seed, lambda s: _cost(mixture, 40, s))
    mean, error = costs.mean(), costs.std(ddof=1) / draws**0.5
    return Figure((
        Line.near(
            "log risk with a bias less that without",
            expected=0.0,
            within=0.01 + ERRORS * float(error),
            measured=float(mean),
            certificate=f"mean of {draws} draws, standard error {error:.1g}",
        ),
    ))


def _cost(mixture: Mixture, n: int, s: int) -> float:
    drawn = mixture.sample(n, seed=s)
    ours = [
        np.asarray(
            pn.max_margin(
                pn.LinearClassification(
                    drawn.X, drawn.y, loss=pn.losses.Logistic(), bias=with_bias
                ),
                pn.norms.L2(),
            ).weights
        )
        for with_bias in (True, False)
    ]
    with_it = mixture.log_risk(ours[0][:-1], bias=float(ours[0][-1]))
    return float(with_it - mixture.log_risk(ours[1]))
