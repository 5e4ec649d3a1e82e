from typing import NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.geometries._setup import popular

EXACT = 1e-6
"""To what part constants are to be recovered."""


class Sizes(NamedTuple):
    """Which rules, None for all, and the shape of the weights."""

    rules: tuple[str, ...] | None
    shape: tuple[int, int]


QUICK = (
    "SGD, momentum",
    "Lion",
    "AdamW",
    "RMSProp",
    "Muon",
    "AdaMax",
    "row-normalised",
)
SIZES = Presets(Sizes(QUICK, (16, 8)), Sizes(None, (16, 8)))


def table(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    """Rules of optax as black boxes: what each is, and the constants it gives away.

    One line a constant, held against the rule's source; a rule without any has how near
    its first steps come to the steepest ones instead.
    """
    sizes = SIZES.of(preset)
    rules = popular()
    lines: list[Line] = []
    for name in sizes.rules or tuple(rules):
        make, constants = rules[name]
        found = pn.identify(make(), shape=sizes.shape, key=seed)
        seen = constants_of(found)
        for constant, expected in constants.items():
            lines.append(
                Line.near(
                    f"{name}: {constant}",
                    expected=expected,
                    within=EXACT * expected,
                    measured=seen.get(constant, np.nan),
                    certificate=found.headline,
                )
            )
        if not constants:
            lines.append(_geometry(name, found))
    return Figure(tuple(lines))


def _geometry(name: str, found: pn.Identification) -> Line:
    """How near a rule's first steps come to the steepest in the norm of its own."""
    tight = found.tightness
    return Line.least(
        f"{name}: first steps over the steepest ones, at worst",
        1.0 - 1e-3,
        expected=1.0,
        measured=np.nan if tight is None else tight.worst,
        certificate=found.headline,
    )


def constants_of(found: pn.Identification) -> dict[str, float]:
    """The constants of a character by the names of this table."""
    number = lambda x: float(np.asarray(x))
    names = {"first decay": "b1", "second decay": "b2"}
    seen = {names.get(name, name): x.value for name, x in found.constants.items()}
    if found.first is not None:
        seen["b1"] = number(found.first.decay)
        if found.first.mix is not None:
            seen["mix"] = number(found.first.mix)
    if found.second is not None:
        seen["b2"] = number(found.second.decay)
        seen["eps"] = number(found.second.eps)
    if found.decay is not None:
        seen["decay"] = number(found.decay)
    if found.coupled is not None:
        seen["coupled"] = found.coupled
    return seen
