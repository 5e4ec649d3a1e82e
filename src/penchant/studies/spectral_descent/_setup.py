"""What the figures share: data, largest margins, runs over seeds, and intervals."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np

import penchant as pn
from penchant.studies._runs import finished

RECORDS = 202
"""Of $10^4$ steps, among which are then steps 100 and 1000."""

NORMS: dict[str, pn.norms.AbstractNorm] = {
    "ℓ∞": pn.norms.Linf(),
    "ℓ2": pn.norms.L2(),
    "spectral": pn.norms.Spectral(),
}

HUES = {
    "SignGD": "#d55e00",
    "NGD": "#0072b2",
    "Spectral-GD": "#009e73",
    "Signum": "#e69f00",
    "NMD-GD": "#56b4e9",
    "Muon": "#cc79a7",
    "exact": "#009e73",
    "Newton–Schulz": "#d55e00",
    "cubic": "#56b4e9",
    "Polar Express": "#0072b2",
}
"""One colour a method in every picture; those without momentum have their norm's."""


def hues_of(names: Iterable[str]) -> dict[str, str]:
    """The colours of methods whose names begin with one of those above."""
    return {n: hue for n in names for key, hue in HUES.items() if n.startswith(key)}


@functools.lru_cache(maxsize=16)
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


def named(seeds: Sequence[int]) -> str:
    """Those seeds, as captions say them."""
    return f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"


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
def _lengths(norm: pn.norms.AbstractNorm, weights: jax.Array | np.ndarray) -> Any:
    return jax.lax.map(norm, weights)


def gap_of(share: jax.Array | np.ndarray) -> Any:
    """What is missing of a share on a logarithmic axis: NaN where it is all or none."""
    return np.where((share > 0) & (share < 1), 1.0 - share, np.nan)


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
    return f"largest margins known to {max(float(gap) for gap in gaps):.0e}"
