"""What the figures share: data, largest margins, runs over seeds, and intervals."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import numpy as np

import penchant as pn
from penchant.studies._study import Preset

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SEEDS = 5

RECORDS = 202
"""Of $10^4$ steps, among which are then steps 100 and 1000."""

NORMS: dict[str, pn.norms.AbstractNorm] = {
    "ℓ∞": pn.norms.Linf(),
    "ℓ2": pn.norms.L2(),
    "spectral": pn.norms.Spectral(),
}

HUES = (
    "#e69f00",
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#7f6c00",
    "#8a8f98",
)


@functools.lru_cache(maxsize=2 * SEEDS)
def data(seed: int) -> pn.LinearClassification:
    """The paper's data: ten classes about random centres in 25 dimensions."""
    return pn.datasets.class_centres(seed=seed).problem(pn.losses.Logistic())


@functools.lru_cache(maxsize=128)
def best(seed: int, label: str) -> pn.MaxMargin:
    """The largest margin on the data of a seed."""
    return pn.max_margin(data(seed), norm_of(label), tol=1e-6)


def norm_of(label: str) -> pn.norms.AbstractNorm:
    """A norm by the name it has in figures."""
    return (
        NORMS.get(label)
        or {
            "ℓ1": pn.norms.L1(),
            "ℓ1.5": pn.norms.Lp(1.5),
            "ℓ3": pn.norms.Lp(3.0),
            "nuclear": pn.norms.Nuclear(),
            "Schatten-1.5": pn.norms.Schatten(1.5),
            "Schatten-3": pn.norms.Schatten(3.0),
        }[label]
    )


def seeds(seed: int, preset: Preset = Preset.FULL, quick: int = 3) -> range:
    """Five seeds from the one asked for; fewer in the quick preset."""
    return range(seed, seed + (min(quick, SEEDS) if preset.quick else SEEDS))


def named(seeds: Sequence[int]) -> str:
    """Those seeds, as captions say them."""
    return f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"


def finished(run: pn.Trajectory) -> pn.Trajectory:
    """The run, if it made all its steps: part of one proves nothing about numbers."""
    if run.outcome is pn.training.Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    if run.outcome is not pn.training.Outcome.COMPLETE:
        raise RuntimeError(f"{run!r}: {run.outcome.value}")
    return run


@functools.lru_cache(maxsize=64)
def descent(
    seed: int, label: str, first: float, exponent: float, steps: int
) -> pn.Trajectory:
    r"""Normalised steepest descent in a norm on the data of a seed.

    Steps are `first` $t^{-a}$, also where $a=0$: figures that differ in no more share
    what is compiled, and those that differ in nothing share the run.
    """
    rule = pn.optimizers.SteepestDescent(norm_of(label))
    step_size = pn.schedules.power(first, exponent, offset=1)
    return finished(
        pn.train(data(seed), rule, steps=steps, step_size=step_size, record=RECORDS)
    )


def shares(run: pn.Trajectory, seed: int, labels: Sequence[str]) -> dict[str, Any]:
    """By norm, the share of its largest margin at every record, `(r,)`."""
    least = np.asarray(run.margins).min(axis=1)
    return {
        label: least
        / np.asarray(_lengths(norm_of(label), run.weights))
        / float(best(seed, label).margin)
        for label in labels
    }


@eqx.filter_jit
def _lengths(norm: pn.norms.AbstractNorm, weights: Any) -> Any:
    return jax.lax.map(norm, weights)


def gap_of(share: Any) -> Any:
    """What is missing of a share on a logarithmic axis: NaN where it is all or none."""
    return np.where((share > 0) & (share < 1), 1.0 - share, np.nan)


def interval(values: Sequence[float]) -> str:
    """Mean with the 95 % interval of Student's t, least and greatest, in words."""
    if len(values) == 1:
        return "one run"
    from scipy.special import stdtrit

    mean = float(np.mean(values))
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5
    half = float(stdtrit(len(values) - 1, 0.975)) * error
    return (
        f"mean of {len(values)} seeds {mean:.4g}, 95 % interval of the mean (t) "
        f"{mean - half:.4g} to {mean + half:.4g}, standard error {error:.1g}, "
        f"least {min(values):.4g}, greatest {max(values):.4g}"
    )


def over_seeds(
    curves: Mapping[str, Sequence[tuple[Any, Any]]],
) -> tuple[dict[str, tuple[Any, Any]], dict[str, tuple[Any, Any]]]:
    """Means of curves over seeds, and bands from least to greatest.

    A point that some seed lacks (NaN) is left out.
    """
    means, bands = {}, {}
    for name, runs in curves.items():
        rows = np.stack([np.asarray(v) for _, v in runs])
        means[name] = (np.asarray(runs[0][0]), rows.mean(axis=0))
        bands[name] = (rows.min(axis=0), rows.max(axis=0))
    return means, bands


def known(gaps: Sequence[Any]) -> str:
    """The largest gap of the largest margins that shares are taken of."""
    return f"margins to {max(float(gap) for gap in gaps):.0e}"


def steps_of(preset: Preset, quick: int, full: int) -> int:
    """A number of steps by the preset."""
    return quick if preset.quick else full


def curves(
    lines: Mapping[str, tuple[Any, Any]],
    *,
    x: str,
    y: str,
    logs: str = "xy",
    bands: Mapping[str, tuple[Any, Any]] | None = None,
    size: tuple[float, float] = (7.2, 3.4),
    marks: bool = False,
) -> "Axes":
    """Named curves `(x, y)` with labelled axes; bands `(low, high)` about some.

    Args:
        lines: By name, abscissae and ordinates.
        x: What is on the horizontal axis.
        y: What is on the vertical one.
        logs: Axes with a logarithmic scale.
        bands: By name, the least and greatest over seeds.
        size: In inches.
        marks: Draw a dot at every point.
    """
    with pn.plotting.house_style():
        ax = pn.plotting.own_axes(None, size)
        dashes = itertools.cycle([(1, 0), (5, 1.5), (2, 1), (6, 1.5, 1, 1.5)])
        for (name, (u, v)), hue, dash in zip(
            lines.items(), itertools.cycle(HUES), dashes, strict=False
        ):
            drawn = ax.plot(u, v, color=hue, label=name, marker="o" if marks else None)
            drawn[0].set_dashes(dash)
            if bands is not None and name in bands:
                low, high = bands[name]
                ax.fill_between(u, low, high, color=hue, alpha=0.16, linewidth=0)
        if "x" in logs:
            ax.set_xscale("log")
        if "y" in logs:
            ax.set_yscale("log")
        ax.set_xlabel(x)
        ax.set_ylabel(y)
        ax.margins(x=0)
        ax.legend(
            frameon=False,
            loc="center left",
            bbox_to_anchor=(1.01, 0.5),
            labelcolor="#1b1d22",
        )
    return ax
