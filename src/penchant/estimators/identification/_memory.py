"""What a rule remembers of gradients: their weights in a step, by age."""

import dataclasses
import math

import numpy as np

from penchant.estimators.identification._box import AbstractBox

STEPS = 8
"""Ages that are looked at, and steps of a run."""

PULSE = 10.0
"""How much larger one gradient is, for the memory of sizes."""

CHECKED = 4
"""Ages of which the memory of sizes is read at a second size of pulse."""

HALVINGS = 48
"""Of an interval of 41 in a logarithm: to 2e-13."""

LAST = 6
"""The step at which signs are looked at."""


@dataclasses.dataclass(frozen=True)
class Kernel:
    r"""Weights of gradients by age, `weights[0]` = 1 that of the newest.

    `how` is "linear" (read off steps), "threshold" (by where the sign of a step turns),
    or "none": the newest alone counts. `decay` and `mix` are those of
    [`Memory`][penchant.optimizers.Memory], by least squares, `misfit` the largest
    difference of the weights from theirs.
    """

    weights: np.ndarray
    how: str
    decay: float
    mix: float
    misfit: float


class Scalars:
    """A rule along one direction: what it does is then a series of numbers."""

    def __init__(self, box: AbstractBox, G: np.ndarray, w: np.ndarray | None = None):
        self.box, self.G, self.w = box, G, w
        self.off = 0.0
        self.unit: np.ndarray | None = None
        self._seen: dict[tuple[float, ...], np.ndarray] = {}

    def __call__(self, amplitudes: np.ndarray) -> np.ndarray:
        """Lengths of steps along the first, for gradients `amplitudes[t] * G`."""
        key = tuple(np.asarray(amplitudes, float).tolist())
        if key not in self._seen:
            steps = -self.box.run([a * self.G for a in key], self.w)
            steps = steps.reshape(len(key), -1)
            if self.unit is None:
                lengths = np.linalg.norm(steps, axis=1)
                first = int(np.argmax(lengths > 0))
                unit = steps[first] * np.sign(key[first] or 1.0)
                self.unit = unit / max(np.linalg.norm(unit), 1e-300)
            along = steps @ self.unit
            rest = np.linalg.norm(steps - along[:, None] * self.unit, axis=1)
            sizes = np.linalg.norm(steps, axis=1)
            share = rest / np.where(sizes > 0, sizes, 1.0)
            self.off = max(self.off, float(np.max(share)))
            self._seen[key] = along
        return self._seen[key]


def first_kernel(scalars: Scalars, rounding: float = 0.0) -> Kernel:
    r"""Weights by age: one gradient of a constant series turned round.

    No second memory sees that, for squares stay what they are, and neither does a
    division by it, for steps are compared with those of the same age. With
    $r_k$ the ratio of the last steps when the gradient of age $k$ is turned,
    $c_k/\sum c=(1-r_k)/2$. Of a rule that keeps only the sign of its memory, a
    first gradient of 1 is opposed by one of size $x$ at age 0: the step turns where
    $x=c_k/c_0$.
    """
    ones = np.ones(STEPS)
    base = scalars(ones)
    shares = np.empty(STEPS)
    for age in range(STEPS):
        turned = ones.copy()
        turned[STEPS - 1 - age] = -1.0
        shares[age] = 0.5 * (1.0 - scalars(turned)[-1] / base[-1])
    near = max(1e-12, 10.0 * rounding)
    trivial = np.all((np.abs(shares) < near) | (np.abs(shares - 1.0) < near))
    if not trivial:
        return _read(shares / shares[0], "linear")
    # the newest alone, or a sign: louder gradients tell
    loud = ones.copy()
    loud[-1] = PULSE
    if (
        abs(scalars(loud)[-1] / base[-1] - 1.0) > max(1e-9, near)
        or not np.isfinite(base).all()
    ):
        return Kernel(shares, "none", 0.0, 0.0, 0.0)
    weights = np.array([1.0, *(_turning(scalars, age) for age in (1, 2, 4))])
    if not np.any(weights[1:] > 1e-11):
        return Kernel(np.array([1.0]), "none", 0.0, 0.0, 0.0)
    c1, c2, c4 = weights[1:]
    decay = float(np.sqrt(c4 / c2)) if c2 > 0 else 0.0
    mix = _mix(c1, decay)
    fitted = c1 * decay ** np.array([0.0, 1.0, 3.0])
    misfit = float(np.max(np.abs(fitted - weights[1:])))
    return Kernel(weights, "threshold", decay, mix, misfit)


def kernel_after(scalars: Scalars) -> Kernel:
    r"""Weights by age of what has been divided by its own size first.

    The first of a series of ones is turned: steps differ by $2c_kz_0$ at age $k$,
    $z_0$ being what it was divided to.
    """
    ones = np.ones(STEPS)
    turned = ones.copy()
    turned[0] = -1.0
    apart = scalars(ones) - scalars(turned)
    if not np.isfinite(apart).all() or apart[0] == 0:
        return Kernel(apart, "linear", math.nan, math.nan, math.inf)
    return _read(apart / apart[0], "linear")


def _turning(scalars: Scalars, age: int) -> float:
    """The size of a new gradient against which one of this age holds out."""
    low, high = math.log(1e-12), math.log(1e6)

    def turned(log_x: float) -> bool:
        amplitudes = np.zeros(LAST)
        amplitudes[-1 - age], amplitudes[-1] = 1.0, -math.exp(log_x)
        return bool(scalars(amplitudes)[-1] < 0)

    if turned(low):
        return 0.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if turned(middle) else (middle, high)
    return math.exp(0.5 * (low + high))


def _mix(c1: float, decay: float) -> float:
    r"""The weight of the old memory in a step, from $c_1/c_0$."""
    ratio = c1 / (1.0 - decay) if decay < 1 else math.inf
    return ratio / (1.0 + ratio) if math.isfinite(ratio) else 1.0


def _read(weights: np.ndarray, how: str) -> Kernel:
    """Decay and mix of weights; the decay by the geometric tail."""
    tail = weights[1:]
    if abs(tail[0]) < 1e-12:
        return Kernel(weights, how, 0.0, 0.0, float(np.max(np.abs(tail))))
    good = tail > 0
    ages = np.arange(len(tail))
    if good.sum() < 2 or not np.isfinite(tail).all():
        return Kernel(weights, how, math.nan, math.nan, math.inf)
    # least squares of c_{k+1} = decay c_k: the large weights count
    decay = float(tail[:-1] @ tail[1:] / (tail[:-1] @ tail[:-1]))
    misfit = float(np.max(np.abs(tail - tail[0] * decay**ages)))
    return Kernel(weights, how, decay, _mix(float(tail[0]), decay), misfit)


@dataclasses.dataclass(frozen=True)
class Sizes:
    r"""Weights of squares by age in what divides, in shares of their sum.

    `kind` is "mean", "sum", "max" (steps tell that the largest counts), or "none";
    `decay` by least squares. `disagreement` is the largest difference between pulses of
    two sizes: 0 where squares are added.
    """

    shares: np.ndarray
    kind: str
    decay: float
    disagreement: float


def second_kernel(
    scalars: Scalars, kernel: Kernel, degree: float, after: bool
) -> Sizes:
    r"""Weights of squares: one gradient of a constant series made ten times as large.

    The step is $M/V^p$, $p=(1-\text{degree})/2$. $M$ is known from `kernel`, so that
    $V/V_0=1+(A^2-1)d_k/\sum d$ gives $d_k$. `after`: gradients are divided first and
    remembered then; the memory is undone before.
    """
    p = 0.5 * (1.0 - degree)
    loud = [
        _shares(scalars, kernel, p, amplitude, after, ages)
        for amplitude, ages in ((PULSE, STEPS), (3.0, CHECKED))
    ]
    shares = loud[0]
    disagreement = float(np.max(np.abs(loud[0][:CHECKED] - loud[1])))
    if not np.isfinite(shares).all():
        return Sizes(shares, "none", math.nan, math.inf)
    if abs(shares[0] - 1.0) < 1e-9 and np.max(np.abs(shares[1:])) < 1e-9:
        return Sizes(shares, "none", 0.0, disagreement)
    head, tail = shares[:-1], shares[1:]
    decay = float(head @ tail / (head @ head))
    if disagreement > 1e-6:
        return Sizes(shares, "max" if _is_max(loud) else "mean", decay, disagreement)
    kind = "sum" if abs(decay - 1.0) < 1e-9 else "mean"
    return Sizes(shares, kind, 1.0 if kind == "sum" else decay, disagreement)


def _is_max(loud: list[np.ndarray]) -> bool:
    """Whether sizes grow as the pulse times a decay: the largest rules."""
    ratios = [
        np.sqrt(np.abs(1.0 + (amplitude**2 - 1.0) * shares[:CHECKED])) / amplitude
        for amplitude, shares in zip((PULSE, 3.0), loud, strict=True)
    ]
    return bool(np.max(np.abs(ratios[0][:3] - ratios[1][:3])) < 1e-6)


def _shares(
    scalars: Scalars,
    kernel: Kernel,
    p: float,
    amplitude: float,
    after: bool,
    ages: int,
) -> np.ndarray:
    ones = np.ones(STEPS)
    weights = np.zeros(STEPS)
    known = kernel.weights[:STEPS]
    weights[: len(known)] = known
    base = scalars(ones)
    shares = np.empty(ages)
    undo = _undo(weights) if after else None
    for age in range(ages):
        loud = ones.copy()
        loud[STEPS - 1 - age] = amplitude
        seen = scalars(loud)
        if undo is not None:
            single, plain = undo @ seen, undo @ base
            ratio = loud[-1] * plain[-1] / single[-1]
        else:
            memory = weights @ loud[::-1]
            ratio = memory / weights.sum() * base[-1] / seen[-1]
        grown = np.sign(ratio) * np.abs(ratio) ** (1.0 / p)
        shares[age] = (grown - 1.0) / (amplitude**2 - 1.0)
    return shares


def _undo(weights: np.ndarray) -> np.ndarray:
    """The inverse of the memory's lower triangular matrix."""
    n = len(weights)
    matrix = np.zeros((n, n))
    for k in range(n):
        matrix += np.diag(np.full(n - k, weights[k]), -k)
    return np.linalg.inv(matrix)
