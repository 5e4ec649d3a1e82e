"""What single and half precision do to a rule's steps."""

import dataclasses
import math

import numpy as np

from penchant.estimators.identification._box import AbstractBox, StrangerError
from penchant.estimators.identification._degree import SCALES
from penchant.estimators.identification._gradients import generic

FORMATS = ("float32", "bfloat16")

ROUNDING = {"float32": 2.0**-23, "bfloat16": 2.0**-7}


@dataclasses.dataclass(frozen=True)
class Format:
    r"""Steps in a format beside those in float64.

    `low` and `high` are the ends of the scales of gradients between which a first step
    is right to 1 %, where rounding of the format allows that (bfloat16: 5 %); NaN where
    there are none. `error` is the difference at the scale of the tests. `why` says why
    there is no answer: it raised there; where it raises, steps are not right.
    """

    name: str
    low: float
    high: float
    error: float
    why: str = ""


def formats(box: AbstractBox, scale: float, seed: int) -> tuple[Format, ...]:
    """First steps over forty decades in float32 and bfloat16."""
    G = generic(box.shape, seed)
    scales = SCALES[::2]
    exact = [box.first(s * G) for s in scales]
    found = []
    for name in FORMATS:
        within = max(0.01, 6.0 * ROUNDING[name])
        try:
            other = box.at(name)
            other.warm, other.origin = box.warm, box.origin
            seen = [_first(other, s * G) for s in scales]
            error = _error(other.first(scale * G), box.first(scale * G))
        except StrangerError as failed:
            found.append(Format(name, math.nan, math.nan, math.nan, str(failed)))
            continue
        box.updates += other.updates
        good = np.array([
            _error(a, b) <= within for a, b in zip(seen, exact, strict=True)
        ])
        if not good.any():
            found.append(Format(name, math.nan, math.nan, error))
            continue
        low, high = scales[good][[0, -1]]
        found.append(Format(name, float(low), float(high), error))
    return tuple(found)


def _first(box: AbstractBox, g: np.ndarray) -> np.ndarray:
    """A first step, NaN where it raises."""
    try:
        return box.first(g)
    except StrangerError:
        return np.full(box.shape, np.nan)


def _error(seen: np.ndarray, exact: np.ndarray) -> float:
    size = float(np.linalg.norm(exact))
    error = float(np.linalg.norm(seen - exact)) / size if size > 0 else math.inf
    return error if math.isfinite(error) else math.inf
