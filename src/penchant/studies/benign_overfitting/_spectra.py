"""Other spectra, rare signals, flipped labels and other noise."""

from typing import NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.benign_overfitting._setup import (
    Mixture,
    along,
    held,
    interpolator,
    isotropic,
    margin,
    over,
    rhos,
    signed,
)

N = 40


class Sizes(NamedTuple):
    """Powers of the spectra, features, and how many draws."""

    powers: tuple[float, ...]
    d: int
    seeds: int


SIZES = Presets(
    Sizes((0.25, 0.75, 0.9), 5000, 60),
    Sizes((0.0, 0.25, 0.5, 0.6, 0.75, 0.9), 20_000, 100),
)


def length_of(lam: float, square: float, n: int, rho2: float = 4.0) -> float:
    """‖μ‖ with which the leading order of ρ² is as given."""
    root = np.sqrt((rho2 * n * lam) ** 2 + 4.0 * n * rho2 * square)
    return float(np.sqrt((rho2 * n * lam + root) / (2.0 * n)))


def spectra(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""$\lambda_k=k^{-\alpha}$, μ along the top, the 1000th or the last axis, n = 40.

    ‖μ‖ is such that the leading order gives ρ² = 4. Off the top of a steep spectrum it
    is larger, to more than fourfold, as interpolation projects the large directions of
    noise out: there the bound's $n\|\Sigma\|_2^2$ is not tight.
    """
    sizes = SIZES.of(preset)
    lines, shown = [], {}
    for name, axis in (("top", 0), ("1000th", 999), ("last", sizes.d - 1)):
        seen = []
        for power in sizes.powers:
            spectrum = np.arange(1.0, sizes.d + 1.0) ** -power
            length = length_of(spectrum[axis], float(spectrum @ spectrum), N)
            mixture = along(spectrum, axis, length)
            both = over(sizes.seeds, seed, lambda s, m=mixture: _both(m, s))
            told = pn.theory.mixture_risk(mixture, N)
            where = f"α = {power:g}, {name} axis"
            # a few large directions, of which n = 40 rows see little: 1/n counts more
            share = 0.02 if power <= 0.5 else 0.06
            lines += [
                held(
                    f"{where}: ρ of max margin",
                    both[:, 0],
                    expected=told.rho,
                    share=share,
                ),
                held(
                    f"{where}: ρ of least squares",
                    both[:, 1],
                    expected=told.interpolating,
                    share=share,
                ),
            ]
            seen.append((power, float(both[:, 0].mean() ** 2), told.rho**2))
            if name != "top" and power == 0.9:
                lines.append(_loose(mixture, where, both[:, 0]))
        shown[name] = np.array(seen)
    caption = f"ρ² by the spectrum's power, d = {sizes.d:,}; to leading order all are 4"
    axes = pn.plotting.curves(
        {f"{k} axis": (v[:, 0], v[:, 2]) for k, v in shown.items()},
        xlabel="α, λ_k = k^-α",
        ylabel="ρ²",
        points={f"{k} axis": (v[:, 0], v[:, 1]) for k, v in shown.items()},
        levels={"leading order": 4.0},
        logx=False,
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _both(mixture: Mixture, s: int) -> tuple[float, float]:
    Z = signed(mixture, N, s)
    weights, _ = margin(Z)
    return float(mixture.rho(weights)), float(mixture.rho(interpolator(Z)))


def _loose(mixture: Mixture, where: str, drawn: np.ndarray) -> Line:
    """How far the recalled bound's expression is below what was drawn."""
    upper, _ = pn.theory.risk.exponents(mixture, N)
    foretold = 2.0 * upper.implied
    told = pn.theory.mixture_risk(mixture, N).rho
    times = foretold * (float(drawn.mean()) / told) ** 2
    error = 2.0 * times * float(drawn.std(ddof=1)) / len(drawn) ** 0.5 / told
    # as for ρ: a few large directions, whose share counts twice in a square
    return Line.between(
        f"{where}: ρ² over the recalled upper bound's expression",
        foretold - 0.12 * foretold - 4.0 * error,
        foretold + 0.12 * foretold + 4.0 * error,
        expected=foretold,
        measured=times,
        certificate=(
            f"mean of {len(drawn)} draws, standard error {error:.2g}; expected is what "
            "is foretold. The bound's constant is unknown"
        ),
    )


def rare_weak(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    """Some s coordinates of γ, sγ² = 16: max margin does not see that they are rare."""
    seeds = SIZES.of(preset).seeds
    lines, seen = [], []
    values = (1, 10, 100, 1000, 5000)
    for s in values:
        mixture = Mixture.rare_weak(5000, s, 4.0 / s**0.5)
        found = rhos(mixture, N, seeds, seed)
        told = pn.theory.mixture_risk(mixture, N)
        lines.append(
            held(f"ρ, s = {s} of 5000, sγ² = 16", found, expected=told.rho, share=0.005)
        )
        seen.append(float(found.mean() ** 2))
    told = pn.theory.mixture_risk(isotropic(5000, 4.0), N).rho ** 2
    caption = "ρ² by the number of coordinates that carry the signal"
    axes = pn.plotting.curves(
        {"foretold": (np.array(values), np.full(len(values), told))},
        xlabel="s, of 5000 coordinates",
        ylabel="ρ²",
        points={"max margin": (np.array(values), np.array(seen))},
    )
    axes.set_ylim(0, 1.5 * told)
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


NOTE = {4.0: 1.335, 10.0: 23.53, 40.0: 142.6}
"""ρ² by ‖μ‖, ten flips of 100, d = 10,000: formula 7 of our notes."""


def flips(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Ten flipped labels of 100, d = 10,000, and labels that are flipped at random.

    Clean-label ρ² grows like $e^2n\|\mu\|^4/d$, $e=1-2\eta$, and saturates at
    $e^2d/(4\eta(1-\eta)n)$ from $n\|\mu\|^2\approx d$ on, where noiseless it goes on.
    """
    seeds = SIZES.of(preset).seeds // 2
    lines, seen = [], []
    for length, squared in NOTE.items():
        found = rhos(isotropic(10_000, length), 100, seeds, seed, flips=10)
        # to leading order in n/d, .01, as the notes' formula is
        lines.append(
            held(
                f"ρ, ‖μ‖ = {length:g}, ten flips of 100",
                found,
                expected=squared**0.5,
                share=0.01,
                source="formula 7 of our notes",
            )
        )
        seen.append(float(found.mean() ** 2))
    mixture = isotropic(1500, 12.0, flip=0.15)
    drawn = rhos(mixture, 70, 6 * seeds, seed)
    told = pn.theory.mixture_risk(mixture, 70)
    lines.append(
        held(
            "ρ, flips drawn at a rate of .15, n = 70, d = 1500, ‖μ‖ = 12",
            drawn,
            expected=told.rho,
            share=0.015,
        )
    )
    lengths = np.geomspace(2.0, 100.0, 30)
    curve = lambda flip: (
        pn.theory.risk.mixture_risks(
            [isotropic(10_000, m, flip) for m in lengths], 100
        ).rho
    )
    caption = "ρ² against clean labels, n = 100, d = 10,000"
    axes = pn.plotting.curves(
        {
            "no flips": (lengths, curve(0.0) ** 2),
            "a tenth flipped": (lengths, curve(0.1) ** 2),
        },
        xlabel="‖μ‖",
        ylabel="ρ²",
        points={"a tenth flipped": (np.array([*NOTE]), np.array(seen))},
        levels={"saturation": 0.64 * 10_000 / (0.36 * 100)},
        logy=True,
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def noise(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    """Other noise, μ over all coordinates: it counts by its covariance."""
    seeds = SIZES.of(preset).seeds
    laws = pn.datasets.noises
    lines = []
    gaussian = pn.theory.mixture_risk(isotropic(3000, 3.5), N).rho
    for law in (laws.Rademacher(), laws.Uniform(), laws.StudentT(5.0)):
        mixture = Mixture.rare_weak(3000, 3000, 3.5 / 3000**0.5, noise=law)
        found = rhos(mixture, N, seeds, seed)
        lines.append(
            held(
                f"ρ under {law!r}",
                found,
                expected=gaussian,
                share=0.01,
                source="what is foretold of Gaussian noise",
            )
        )
    return Figure(tuple(lines))
