"""Whether a rule of a given form makes the same steps: the check of every reading."""

import dataclasses
import itertools
import math

import numpy as np

from penchant.estimators.identification._box import AbstractBox
from penchant.estimators.identification._gradients import generic
from penchant.estimators.identification._memory import Kernel, Scalars, Sizes

LONG = 30
"""Steps of a replay along one direction."""

SHORT = 12
"""Steps of a replay with gradients that turn."""


@dataclasses.dataclass(frozen=True)
class Form:
    r"""A rule $m/(v^p+\varepsilon)$ in numbers: how it remembers, and corrects.

    `ahead` is how a mix of memory and gradient is corrected: "" not at all, "one" by
    $1-\beta^t$, "each" the memory by $1-\beta^{t+1}$ and the gradient by $1-\beta^t$.
    `after` means that gradients are divided first and remembered then.
    """

    decay: float
    mix: float
    ahead: str
    kind: str
    second: float
    corrected: bool
    power: float
    after: bool

    def memory(self, x: np.ndarray) -> np.ndarray:
        """What remembering makes of a series, along its leading axis."""
        if self.decay == 0.0 and self.mix == 0.0:
            return x
        out, m, b = np.empty_like(x), np.zeros_like(x[0]), self.decay
        for t, g in enumerate(x, start=1):
            if self.ahead == "each":
                m = b * m + (1.0 - b) * g
                out[t - 1] = b * m / (1.0 - b ** (t + 1)) + (1.0 - b) * g / (1.0 - b**t)
                continue
            out[t - 1] = self.mix * m + (1.0 - self.mix) * g
            if self.ahead == "one":
                out[t - 1] /= 1.0 - b**t
            m = b * m + (1.0 - b) * g
        return out

    def sizes(self, squares: np.ndarray) -> np.ndarray:
        """$v$ for a series of squares, along its leading axis."""
        out, v, b = np.empty_like(squares), np.zeros_like(squares[0]), self.second
        for t, s in enumerate(squares, start=1):
            v = v + s if self.kind == "sum" else b * v + (1.0 - b) * s
            out[t - 1] = v / (1.0 - b**t) if self.corrected else v
        return out

    def along(self, amplitudes: np.ndarray) -> np.ndarray:
        """Steps for gradients of one direction, but for a factor."""
        if self.kind == "none" and not self.after:
            return self.memory(amplitudes)
        V = self.sizes(amplitudes**2) if self.kind != "none" else amplitudes**2
        below = np.where(V > 0, V, 1.0) ** self.power
        if self.after:
            return self.memory(amplitudes / below)
        return self.memory(amplitudes) / below


@dataclasses.dataclass(frozen=True)
class Fit:
    """A form, the factor of its steps, and its largest error as a share of them."""

    form: Form
    factor: float
    misfit: float


def best(
    scalars: Scalars,
    orders: dict[bool, tuple[Kernel, Sizes]],
    degree: float,
    seed: int,
) -> Fit | None:
    """Of all ways to remember and correct, the one nearest to random amplitudes.

    `orders` has what was read if gradients are divided after they are remembered
    (False) and before (True). None where nothing has a finite misfit.
    """
    rng = np.random.default_rng(seed)
    a = rng.choice([-1.0, 1.0], LONG) * 10.0 ** rng.uniform(-1.0, 1.0, LONG)
    seen = scalars(a)
    if not np.isfinite(seen).all():
        return None
    power = 0.5 * (1.0 - degree)
    fits = []
    for after, (kernel, size) in orders.items():
        if not 0.0 <= kernel.decay < 1.0:
            continue
        mixes = [(kernel.mix, "")]
        if kernel.decay > 0:
            square = kernel.decay**2
            mixes += [(kernel.mix, "one"), (square, "each"), (square, "")]
        second = 0.0 if not math.isfinite(size.decay) else size.decay
        kinds = ["none"] if size.kind == "none" else ["mean", "sum"]
        for (mix, ahead), kind in itertools.product(mixes, kinds):
            if kind == "mean" and not 0.0 <= second < 1.0:
                continue
            for corrected in (False, True) if kind == "mean" else (False,):
                form = Form(
                    kernel.decay, mix, ahead, kind, second, corrected, power, after
                )
                fits.append(_fitted(form, a, seen))
    fits = [fit for fit in fits if math.isfinite(fit.misfit)]
    return min(fits, key=lambda fit: fit.misfit) if fits else None


def _fitted(form: Form, a: np.ndarray, seen: np.ndarray) -> Fit:
    made = form.along(a)
    good = np.abs(made) > 1e-12 * np.max(np.abs(made))
    factor = float(np.median(seen[good] / made[good]))
    largest = float(np.max(np.abs(seen)))
    return Fit(form, factor, float(np.max(np.abs(seen - factor * made))) / largest)


def of_map(box: AbstractBox, form: Form, scale: float, seed: int) -> float:
    r"""The largest error of steps as the first step's map of a memory of gradients.

    It asks nothing of the map: $u_t=D(m_t)$, $D$ being what the rule itself does on a
    fresh state; or with `after` $u_t=\sum_kc_kD(g_{t-k})$.
    """
    gradients = turning(box, scale, seed)
    seen = box.run(gradients)
    unit = float(form.memory(np.ones(1))[0])
    if form.after:
        single = np.stack([box.first(g) for g in gradients])
        made = form.memory(single) / unit
    else:
        made = np.stack([box.first(m / unit) for m in form.memory(gradients)])
    return largest(made, seen)


def of_groups(
    box: AbstractBox,
    form: Form,
    groups: np.ndarray,
    eps: tuple[float, float],
    scale: float,
    seed: int,
) -> tuple[float, float]:
    """The largest error of $m/(v^p+ε)$ with one $v$ a group, and the steps' factor.

    $v$ remembers means of squares over each group.
    """
    gradients = turning(box, scale, seed)
    seen = box.run(gradients)
    flat = groups.ravel()
    count = np.bincount(flat)
    squares = (gradients**2).reshape(len(gradients), -1)
    means = np.stack([(np.bincount(flat, s) / count)[flat] for s in squares])
    V = form.sizes(means).reshape(gradients.shape)
    below = (V + eps[0]) ** form.power + eps[1]
    below = np.where(below > 0, below, 1.0)
    if form.after:
        made = form.memory(gradients / below)
    else:
        made = form.memory(gradients) / below
    return _scaled(made, seen)


def of_factors(
    box: AbstractBox, form: Form, eps: float, scale: float, seed: int
) -> tuple[float, float]:
    """The same for $L^{-p}gR^{-p}$ with memories of $gg^⊤$ and $g^⊤g$."""
    gradients = turning(box, scale, seed)
    seen = box.run(gradients)
    p = 0.5 * form.power
    L = form.sizes(np.stack([g @ g.T for g in gradients]))
    R = form.sizes(np.stack([g.T @ g for g in gradients]))
    m = form.memory(gradients)
    parts = zip(L, m, R, strict=True)
    made = np.stack([_root(a, p, eps) @ g @ _root(b, p, eps) for a, g, b in parts])
    return _scaled(made, seen)


def _scaled(made: np.ndarray, seen: np.ndarray) -> tuple[float, float]:
    if not (np.isfinite(made).all() and np.isfinite(seen).all()):
        return math.inf, math.nan
    factor = float(-np.sum(made[0] * seen[0]) / max(np.sum(made[0] ** 2), 1e-300))
    return largest(-factor * made, seen), factor


def _root(M: np.ndarray, p: float, eps: float) -> np.ndarray:
    values, U = np.linalg.eigh(M)
    values = np.where(values > 1e-12 * values[-1], values, 0.0) + eps
    root = np.where(values > 0, np.where(values > 0, values, 1.0) ** -p, 0.0)
    return (U * root) @ U.T


def turning(box: AbstractBox, scale: float, seed: int) -> np.ndarray:
    """Gradients of changing direction and size."""
    rng = np.random.default_rng(seed)
    sizes = 10.0 ** rng.uniform(-0.5, 0.5, SHORT)
    each = [s * generic(box.shape, seed + 7 * i) for i, s in enumerate(sizes)]
    return scale * np.stack(each)


def largest(made: np.ndarray, seen: np.ndarray) -> float:
    if not (np.isfinite(made).all() and np.isfinite(seen).all()):
        return math.inf
    axes = tuple(range(1, seen.ndim))
    error = np.sqrt(np.sum((made - seen) ** 2, axis=axes))
    size = np.sqrt(np.sum(seen**2, axis=axes))
    return float(np.max(error / np.max(size)))
