r"""How long a step is when the gradient is multiplied: degree, $\varepsilon$, clips."""

import dataclasses
import math
from typing import Any

import numpy as np
import scipy

from penchant.estimators.identification._box import AbstractBox
from penchant.estimators.identification._gradients import flat, generic

SCALES = 2.0 ** np.arange(-66.0, 67.0, 3.0)
"""Forty decades, in the unit of a gradient whose entries are of size 1.

Powers of two: in few digits too, a gradient is then multiplied exactly."""

FINE = 2.0 ** np.arange(-12.0, 18.0)
"""Sizes of gradients as in training, where narrow formats have their few decades."""

DEEP = 1e-60
"""A scale below all of them, whose square is still a number."""

FLOOR = 1e-4
"""A sharp corner below this scale bounds a divisor, above it clips a gradient."""

STRAIGHT = 1e-6
"""Slopes that agree to this are one degree."""


@dataclasses.dataclass(frozen=True)
class Degree:
    r"""$\|u(sG)\|$ over the scale $s$ of one gradient `(s,)`, on a fresh state.

    `degree` is the exponent in the widest straight part that is not the linear one
    where $\varepsilon$ rules: None where no part of some four decades is straight.
    `error` is the spread of local slopes in it. `low` and `high` are its ends; `below`
    is the degree beneath it, None where there is no other part. `breaks` is the scale
    at which lengths leave one straight part for another of the same degree: the rule is
    another one above.
    """

    scales: np.ndarray
    lengths: np.ndarray
    degree: float | None
    error: float
    low: float
    high: float
    below: float | None
    breaks: float | None = None

    @property
    def scale(self) -> float:
        r"""A scale at which $\varepsilon$ changes steps by less than rounding."""
        if self.breaks is not None:
            return max(1e-4 * self.high, math.sqrt(self.low * self.high))
        if self.below is None or self.degree is None:
            if self.low <= 1.0 <= self.high:
                return 1.0
            return math.sqrt(self.low * (self.high if self.low > 1.0 else 1.0))
        # a straight part that ends at low: as far above it as there is room
        far = self.low * clearance(self.degree) / 10.0
        return max(1.0, min(far, self.high / 1e3))

    def leaves(self, *, low: bool) -> float | None:
        """Where a length is half or twice what its degree says; None: at no scale."""
        if self.degree is None:
            return None
        x = np.log(self.scales)
        with np.errstate(divide="ignore"):
            y = np.log(self.lengths) - self.degree * x
        middle = 0.5 * (math.log(self.low) + math.log(self.high))
        i = int(np.argmin(np.abs(x - middle)))
        step = -1 if low else 1
        for k in range(i, len(x) if step > 0 else -1, step):
            off = abs(y[k] - y[i])
            if not off <= math.log(2.0):
                before = abs(y[k - step] - y[i])
                share = (math.log(2.0) - before) / (off - before)
                share = share if math.isfinite(share) and math.isfinite(off) else 0.5
                return float(np.exp(x[k - step] + share * (x[k] - x[k - step])))
        return None


def clearance(degree: float) -> float:
    r"""How far from $\varepsilon$ a scale is at which it counts for 1e-12 of a step."""
    return 10.0 ** min(60.0, 12.0 / max(abs(1.0 - degree), 0.2))


def degree(box: AbstractBox, seed: int) -> Degree:
    """The first step over forty decades of one gradient.

    And at 1e-60, where nothing is straight beneath: small powers bend slowly. Where
    nothing is straight at sizes as in training, those are looked at closely: what holds
    far below them alone, as where a narrow format has lost its memory, is no degree.
    """
    G = generic(box.shape, seed)
    length = lambda s: float(np.linalg.norm(box.first(s * G)))
    found = read(SCALES, np.array([length(s) for s in SCALES]))
    if found.degree is not None and found.high < 1.0 and found.breaks is None:
        near = read(FINE, np.array([length(s) for s in FINE]))
        seen = near.degree is not None and near.high > 1.0
        return dataclasses.replace(
            found,
            degree=near.degree if seen else None,
            error=near.error if seen else math.nan,
            low=near.low if seen else math.nan,
            high=near.high if seen else math.nan,
            below=None,
        )
    if found.degree is None or found.below is not None or abs(found.degree - 1.0) < 0.1:
        return found
    least, more = length(DEEP), length(10.0 * DEEP)
    if not (least > 0 and abs(math.log10(more / least) - 1.0) < STRAIGHT):
        return found
    # where the two lines meet
    top = length(found.high)
    log = math.log10(top / least) - found.degree * math.log10(found.high)
    corner = (log + math.log10(DEEP)) / (1.0 - found.degree)
    return dataclasses.replace(found, below=1.0, low=10.0**corner)


def read(scales: np.ndarray, lengths: np.ndarray) -> Degree:
    """The straight parts of a curve of lengths over scales, in logarithms."""
    good = np.isfinite(lengths) & (lengths > 0)
    logs = np.log10(np.where(good, lengths, 1.0))
    slopes = np.where(
        good[1:] & good[:-1], np.diff(logs) / np.diff(np.log10(scales)), np.nan
    )
    parts: list[tuple[int, int]] = []
    i = 0
    while i < len(slopes):
        j = i
        while (
            j + 1 < len(slopes)
            and np.isfinite(slopes[j + 1])
            and abs(slopes[j + 1] - slopes[i]) < STRAIGHT
        ):
            j += 1
        if np.isfinite(slopes[i]) and j - i >= 4:
            parts.append((i, j))
        i = j + 1
    if not parts:
        return Degree(scales, lengths, None, math.nan, math.nan, math.nan, None)
    # of several the one that holds the largest gradients; of one degree, the smallest
    value = lambda part: float(np.mean(slopes[part[0] : part[1] + 1]))
    main = parts[-1]
    breaks = None
    while len(parts) > 1 and abs(value(parts[-2]) - value(main)) <= 1e-3:
        if scales[parts[-2][1] + 1] < FLOOR:
            break  # below the gradients of any training
        breaks = float(scales[parts[-2][1] + 1])
        main = parts[-2]
        parts = parts[:-1]
    others = [p for p in parts if abs(value(p) - value(main)) > 1e-3]
    below = value(others[-1]) if others else None
    spread = slopes[main[0] : main[1] + 1]
    # the far half of a part is clear of what rules beneath it
    middle = float(np.median(spread[len(spread) // 2 :]))
    whole = round(middle, 3)
    return Degree(
        scales,
        lengths,
        whole if abs(whole - middle) < 1e-8 else middle,
        float(np.ptp(spread)),
        float(scales[main[0]]),
        float(scales[main[1] + 1]),
        below,
        breaks,
    )


@dataclasses.dataclass(frozen=True)
class Threshold:
    r"""What rules at small gradients, fitted where all entries are equally large.

    The gain of a step is $1/h(s)=\alpha\,[(s^2+E_1)^p+E_2]$: `inside` is $E_1$,
    `outside` $E_2$, in the units of gradients as if $v=s^2$; `kind` says "eps", or
    where the corner is sharp, the step being the smaller of two, "clip", or "bound"
    if it is steps that are clipped, memory and all; "floor" if
    that is far below the gradients of any training, at less than `FLOOR`. `scale` is
    where both parts are equal.
    """

    kind: str
    scale: float
    inside: float
    outside: float


def threshold(
    box: AbstractBox, found: Degree, seed: int, *, matrix: bool
) -> Threshold | None:
    r"""$\varepsilon$ inside and outside the power, or a clip; None without either.

    Three scales tell: far below, far above, and exactly where the two parts are equal,
    where $\varepsilon$ outside halves the step, inside divides it by $2^p$, and a clip
    leaves it; half as far and twice as far then tell a clip from a jump, which is none.
    """
    if found.degree is None or found.below is None or abs(found.below - 1.0) > 1e-3:
        return None
    p = 0.5 * (1.0 - found.degree)
    G = flat(box.shape, seed, matrix=matrix)

    def inverse(s: float) -> float:
        return s / float(np.linalg.norm(box.first(s * G)))

    # where the lines of both parts meet, and again from far enough on either side
    scale, away = found.low, clearance(found.degree)
    Q = alpha = math.nan
    for _ in range(3):
        far, near = scale * away, scale / away
        alpha = inverse(far) / far ** (2.0 * p)
        Q = inverse(near) / alpha
        scale = Q ** (1.0 / (2.0 * p))
    if not (math.isfinite(Q) and Q > 0):
        return None
    ratio = inverse(scale) / (alpha * Q)
    if abs(ratio - 1.0) < 1e-6:
        under = inverse(scale / 2.0) / (alpha * Q)
        over = inverse(2.0 * scale) / (alpha * (2.0 * scale) ** (2.0 * p))
        if max(abs(under - 1.0), abs(over - 1.0)) > 0.3:
            return None
        return Threshold("clip" if scale > FLOOR else "floor", scale, 0.0, 0.0)
    most, least = max(2.0, 2.0**p), min(2.0, 2.0**p)
    if not least - 1e-6 <= ratio <= most + 1e-6:
        return None

    def at(share: float) -> float:
        inner = share ** (1.0 / p) if share > 0 else 0.0
        return (1.0 + inner) ** p + (1.0 - share)

    low, high = at(0.0) - ratio, at(1.0) - ratio
    if abs(low) < 1e-8:
        share = 0.0
    elif abs(high) < 1e-8:
        share = 1.0
    elif low * high > 0:
        return None
    else:
        share: Any = scipy.optimize.brentq(
            lambda x: at(x) - ratio, 0.0, 1.0, xtol=1e-14
        )
    return Threshold("eps", scale, (share * Q) ** (1.0 / p), (1.0 - share) * Q)


def bounds_steps(
    box: AbstractBox, limit: Threshold, seed: int, *, matrix: bool
) -> bool:
    """Whether a clip comes after the memory: gradients below it add up to more."""
    G = flat(box.shape, seed, matrix=matrix)
    last = lambda s: box.run([s * G] * 24)[-1] / s
    small, large = last(1e-3 * limit.scale), last(0.9 * limit.scale)
    return float(np.linalg.norm(large - small)) > 1e-3 * float(np.linalg.norm(small))
