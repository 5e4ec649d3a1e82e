"""Pictures of what a rule was found to be: over scales, over sizes, over time."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from penchant import plotting
from penchant.estimators.identification._findings import Findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from penchant.estimators.identification._result import Identification

WIDE, NARROW = 7.2, 3.5
"""Widths in inches, for a screen and for a telephone."""


def over_scale(
    found: "Identification",
    ax: "Axes | None" = None,
    size: tuple[float, float] = (WIDE, 2.6),
) -> "Axes":
    """Lengths of first steps over the gradient's scale, and where ε is."""
    tests = _tests(found)
    curve = tests.degree
    with plotting.house_style():
        ax = plotting.own_axes(ax, size)
        good = curve.lengths > 0
        ax.plot(curve.scales[good], curve.lengths[good], ".-")
        limit = tests.threshold
        if limit is not None:
            ax.axvline(limit.scale, linestyle="--", linewidth=1)
            word = "ε" if limit.kind == "eps" else limit.kind
            ax.text(limit.scale, np.max(curve.lengths[good]), f" {word}", va="top")
        ax.set_xscale("log")
        ax.set_yscale("log")
        least, most = curve.lengths[good].min(), curve.lengths[good].max()
        if most < 10.0 * least:  # ticks that differ, where lengths hardly do
            ax.set_ylim(least / 10.0, most * 10.0)
        ax.set_xlabel("size of the gradient")
        ax.set_ylabel("length of a step")
    return ax


def map_of_sizes(
    found: "Identification",
    ax: "Axes | None" = None,
    size: tuple[float, float] = (WIDE, 2.8),
) -> "Axes":
    """Sizes of a step's singular values, or entries, over those of the gradient."""
    power = _tests(found).power
    if power is None:
        raise ValueError("this rule's steps are no map of entries or singular values.")
    what = "singular values" if _tests(found).matrix else "entries"
    with plotting.house_style():
        ax = plotting.own_axes(ax, size)
        ax.plot(power.x, power.y, ".")
        x = np.array([power.x.min(), 1.0])
        for p in (math.inf, 4.0, 2.0):
            slope = 0.0 if math.isinf(p) else 1.0 / (p - 1.0)
            ax.plot(x, x**slope, linestyle="--", linewidth=1)
            name = "∞" if math.isinf(p) else f"{p:g}"
            ax.text(x[0], float(x[0] ** slope), f"p = {name} ", ha="right", va="center")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlim(x[0] / 4.0, 1.3)
        ax.set_xlabel(f"{what} of the gradient, the largest being 1")
        ax.set_ylabel("of the step")
    return ax


def impulse(
    found: "Identification",
    ax: "Axes | None" = None,
    size: tuple[float, float] = (WIDE, 2.4),
) -> "Axes":
    """Steps after one gradient, when all others are 0."""
    response = _tests(found).response
    if response is None or not np.isfinite(response).all() or response[0] == 0:
        raise ValueError("this rule's steps after a gradient are not finite.")
    with plotting.house_style():
        ax = plotting.own_axes(ax, size)
        ax.plot(np.arange(len(response)), response / response[0], ".-")
        ax.axhline(0.0, linewidth=0.5)
        ax.set_xlabel("steps after the gradient")
        ax.set_ylabel("step, the first being 1")
    return ax


def figures(found: "Identification") -> list[dict[str, str]]:
    """The pictures of a page, wide and narrow, with headings and captions."""
    wanted: list[tuple[str, str, str, Callable[..., Axes]]] = []
    if found.findings is None or found.findings.coupling is None:
        return []  # nothing was read of it
    tests = _tests(found)
    wanted.append((
        "scale",
        "Degree over scale",
        "The length of a first step when one gradient is multiplied. Flat: normalised; "
        "rising as the gradient does: linear, as every rule is where ε rules.",
        over_scale,
    ))
    if tests.power is not None and tests.power.x.size > 1:
        what = "singular values" if tests.matrix else "entries"
        wanted.append((
            "map",
            f"The map of {what}",
            f"Each point is one of the {what}. Dashed: steepest descent in norms of "
            "three exponents p.",
            map_of_sizes,
        ))
    response = tests.response
    if response is not None and np.isfinite(response).all() and response[0] != 0:
        wanted.append((
            "impulse",
            "Impulse response",
            "Steps after one gradient when all that follow are 0.",
            impulse,
        ))
    drawn = []
    for name, heading, caption, draw in wanted:
        svg = {
            width: plotting.themed_svg(
                draw(found, size=(inches, 2.6)), f"{heading}. {caption}"
            )
            for width, inches in (("wide", WIDE), ("narrow", NARROW))
        }
        drawn.append({"name": name, "heading": heading, "caption": caption, **svg})
    return drawn


def _tests(found: "Identification") -> Findings:
    if found.findings is None or found.findings.coupling is None:
        raise ValueError("nothing was read of this rule that could be drawn.")
    return found.findings
