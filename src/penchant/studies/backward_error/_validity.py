"""A small transformer: where the expansion is one."""

from typing import NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._statistics import interval
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.backward_error._setup import (
    transformer,
)


class Validity(NamedTuple):
    """Sequences, width, steps of the run, step sizes of the last stage, and seeds."""

    sequences: int
    width: int
    steps: int
    step_sizes: tuple[float, ...]
    seeds: int


VALIDITY = Presets(
    Validity(32, 8, 100, (1e-3, 1e-5, 1e-7), 3),
    Validity(128, 16, 600, (1e-3, 1e-4, 1e-6, 1e-7, 1e-8), 5),
)


def validity(preset: Preset | Validity = Preset.QUICK, seed: int = 0) -> Figure:
    r"""A small transformer: is the expansion one, at usual step sizes?

    AdamW with its defaults at 1e-3: no. At smaller steps, from where that run ended,
    the first moment's part is the first to become valid.
    """
    sizes = VALIDITY.of(preset)
    rule = pn.optimizers.AdamW(bias_correction=True)
    usual, least = sizes.step_sizes[0], sizes.step_sizes[-1]
    share: dict[float, list[float]] = {h: [] for h in sizes.step_sizes}
    first: dict[float, list[float]] = {h: [] for h in sizes.step_sizes}
    changes, verdict = [], ""
    for s in range(seed, seed + sizes.seeds):
        problem = transformer(sizes.sequences, sizes.width, s)
        run = pn.train(problem, rule, step_size=usual, steps=sizes.steps, record=2,
                       progress=False)  # fmt: skip
        for h in sizes.step_sizes:
            found = pn.correction(
                problem, rule, run.last, step_size=h, step=sizes.steps
            )
            verdict = verdict or found.verdict
            share[h].append(found.share_valid)
            first[h].append(_first(found))
        changes.append(float(pn.estimators.staleness(run).values[2].value))
    h = np.array(sizes.step_sizes)
    shares = {
        "all": (h, np.array([np.mean(x) for x in share.values()])),
        "first moment": (h, np.array([np.mean(x) for x in first.values()])),
    }
    gains = [
        a - b
        for size in sizes.step_sizes
        for a, b in zip(first[size], share[size], strict=True)
    ]
    lines = [
        Line.most(f"share of valid coordinates at {usual:g}, largest of the seeds",
                  0.49, measured=max(share[usual]),
                  certificate=f"{interval(share[usual])}; seed {seed}: {verdict}"),
        Line.least(f"share of valid coordinates at {least:g}, least of the seeds",
                   0.5, expected=0.9, measured=min(share[least]),
                   certificate=interval(share[least])),
        Line.least("first moment's share less all's, least of seeds and step sizes",
                   0.0, expected=0.05, measured=min(gains)),
        Line.least("change of a gradient within the memory's ten steps, least of the "
                   "seeds", 0.1, expected=0.6, measured=min(changes),
                   certificate=interval(changes)),
    ]  # fmt: skip
    caption = "Share of coordinates in which the expansion is one, by step size."
    axes = pn.plotting.curves(
        shares, xlabel="step size", ylabel="share with V < 0.3", dots=True
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _first(found: pn.Correction) -> float:
    assert found.first is not None
    return found.first.share_valid
