"""How risk goes with signal, rows and features, and where that is harmless."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.benign_overfitting._setup import held, isotropic, rhos

NOTE = {1.5: 0.0249, 3.0: 0.3857, 6.0: 5.465, 12.0: 59.98, 24.0: 425.4}
"""ρ² by ‖μ‖ at n = 50, d = 10,000: formula 4, derived before this package was."""


class Draws(NamedTuple):
    """How many draws a point."""

    seeds: int


SIZES = Presets(Draws(24), Draws(150))


def rates(preset: Preset | Draws = Preset.QUICK, seed: int = 0) -> Figure:
    r"""ρ² against ‖μ‖, n and d, isotropic, with slopes in both regimes.

    $\rho^2\sim n\|\mu\|^4/d$ where $n\|\mu\|^2\ll d$, $\|\mu\|^2$ where it is ≫: slopes
    in ‖μ‖ are 4 and 2, in n 1 and 0, in d -1 and 0. Measured slopes are held against
    those of the prediction at the same points, as the regimes are wide.
    """
    seeds = SIZES.of(preset).seeds
    told = lambda n, d, m: pn.theory.mixture_risk(isotropic(d, m), n).rho
    lines, seen = [], []
    for length, squared in NOTE.items():
        values = rhos(isotropic(10_000, length), 50, seeds, seed)
        seen.append(float(values.mean() ** 2))
        expected = told(50, 10_000, length)
        lines.append(
            held(
                f"ρ, n = 50, d = 10,000, ‖μ‖ = {length:g}",
                values,
                expected=expected,
                share=0.005,
            )
        )
        lines.append(
            Line.near(
                f"ρ² foretold there, ‖μ‖ = {length:g}",
                expected=squared,
                within=0.002 * squared,
                measured=expected**2,
                certificate="formula 4 of our notes, isotropic, finite d/n",
            )
        )
    cases = {
        "‖μ‖, weak": ((30, 9000, 1.5), (30, 9000, 3.0)),
        "‖μ‖, strong": ((30, 9000, 60.0), (30, 9000, 120.0)),
        "n, weak": ((20, 9000, 3.0), (80, 9000, 3.0)),
        "d, weak": ((30, 3000, 2.5), (30, 12_000, 2.5)),
    }
    for name, (first, last) in cases.items():
        lines.append(_slope(name, first, last, 3 * seeds, seed, told))
    lengths = np.geomspace(1.5, 24.0, 40)
    many = pn.theory.risk.mixture_risks([isotropic(10_000, m) for m in lengths], 50)
    caption = "ρ² by ‖μ‖, n = 50, d = 10,000"
    axes = pn.plotting.curves(
        {
            "foretold": (lengths, many.rho**2),
            "leading order": (lengths, _leading(50, 10_000, lengths)),
        },
        xlabel="‖μ‖",
        ylabel="ρ², the squared mean margin in deviations",
        points={"max margin": (np.array([*NOTE]), np.array(seen))},
        dashed=("leading order",),
        logy=True,
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _leading(n: int, d: int, m: np.ndarray) -> np.ndarray:
    return n * m**4 / (n * m**2 + d)


Point = tuple[int, int, float]
"""n, d and ‖μ‖."""


def _slope(
    name: str,
    first: Point,
    last: Point,
    seeds: int,
    seed: int,
    told: Callable[[int, int, float], float],
) -> Line:
    axis = next(i for i in range(3) if first[i] != last[i])
    width = np.log(last[axis] / first[axis])
    ends = [rhos(isotropic(d, m), n, seeds, seed) for n, d, m in (first, last)]
    logs = [2.0 * np.log(np.abs(x.mean())) for x in ends]
    errors = [2.0 * x.std(ddof=1) / len(x) ** 0.5 / x.mean() for x in ends]
    expected = 2.0 * np.log(told(*last) / told(*first)) / width
    error = float(np.hypot(*errors) / width)
    return Line.near(
        f"slope of log ρ² in {name}, from {first[axis]:g} to {last[axis]:g}",
        expected=float(expected),
        within=4.0 * error + 0.005,
        measured=float((logs[1] - logs[0]) / width),
        certificate=f"{seeds} draws an end, standard error {error:.2g}",
    )


def tight(preset: Preset | Draws = Preset.QUICK, seed: int = 0) -> Figure:
    """N = 40, d = 2000, ‖μ‖ = 4: closer than the leading order, 1.9695, would pass."""
    seeds = 15 * SIZES.of(preset).seeds
    mixture = isotropic(2000, 4.0)
    values = rhos(mixture, 40, seeds, seed)
    told = pn.theory.mixture_risk(mixture, 40)
    lines = [
        held("ρ, n = 40, d = 2000, ‖μ‖ = 4", values, expected=told.rho, share=0.001),
        Line.near(
            "ρ foretold",
            expected=1.95,
            within=0.001,
            measured=told.rho,
            certificate="formula 4 of our notes; 1.9490 ± .0044 over their 200 draws",
        ),
    ]
    return Figure(tuple(lines))


def plane(preset: Preset | Draws = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Risk over $d=n^p$, $\|\mu\|=n^q$ at n = 60, and draws in cells of the plane.

    Benign above $q=\max(0,(p-1)/4)$; an earlier bound covers what is above $p/4$.
    """
    from scipy.special import ndtr

    seeds = SIZES.of(preset).seeds
    n = 60
    lines = []
    for q, p in ((0.3, 1.4), (0.3, 2.0), (0.3, 2.4), (0.5, 2.4)):
        mixture = isotropic(round(n**p), n**q)
        told_here = pn.theory.mixture_risk(mixture, n).rho
        values = rhos(mixture, n, seeds, seed)
        lines.append(
            held(
                f"ρ at p = {p:g}, q = {q:g}",
                values,
                expected=told_here,
                share=0.01,
                source=f"median risk {ndtr(-np.median(values)):.2g}",
            )
        )
    p, q = np.linspace(1.2, 2.4, 61), np.linspace(0.0, 0.8, 41)
    told = pn.theory.risk.risk_diagram(n, p, q)
    new = told.benign & ~told.known_before
    lines.append(
        Line.least(
            "share of benign cells that the earlier bound leaves out and whose risk is "
            "below 1 %",
            0.05,
            expected=0.2,
            measured=float(np.mean(told.log_risk[new] < np.log(0.01))),
            certificate=f"of {int(new.sum())} cells, foretold",
        )
    )
    caption = "Risk of max margin, n = 60"
    axes = told.plot()
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})
