"""The shape of a separable penalty without a formula: force against weight."""

import itertools
import math
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float

from penchant._arrays import numbers
from penchant._checks import check_count
from penchant._types import Numbers

DEGREE = 3

FEWEST = 8
"""Weights that an interval between knots holds, if it was made by halving one."""

KINKED = 1e-3
"""Share of the square that a curve of one direction may leave at a kink."""


class WeightProfile(eqx.Module):
    r"""$\rho'(|w|)$ of a penalty $\sum_j\rho(|w_j|)$, by splines.

    `at` `(m,)` are sizes of weights, `force` the spline there. Three were fitted: a
    free one, one that may only rise and one that may only fall. `kind` is `convex` or
    `concave` where that one fits as well as the free spline, `constant` where both do
    (a multiple of ℓ1), `neither` where none does; `left` are the shares of the square
    that each of the three leaves. `weights` and `forces` are what was fitted to.
    """

    at: Float[np.ndarray, " m"]
    force: Float[np.ndarray, " m"]
    error: Float[np.ndarray, " m"]
    kind: str = eqx.field(static=True)
    left: tuple[float, float, float] = eqx.field(static=True)
    weights: Float[np.ndarray, " p"]
    forces: Float[np.ndarray, " p"]

    def __call__(self, w: Numbers) -> np.ndarray:
        """The force on weights `w`, an odd function; constant beyond those seen."""
        w = numbers("w", w)
        return np.sign(w) * np.interp(np.abs(w), self.at, self.force)

    def plot(self, **options: Any) -> Any:
        """What is left of the gradient against the weight, with the spline.

        Args:
            **options: As [`curves`][penchant.plotting.curves] takes them.
        """
        from penchant import plotting

        both = np.concatenate([-self.at[::-1], self.at])
        axes = plotting.curves(
            {"spline": (both, np.concatenate([-self.force[::-1], self.force]))},
            xlabel="weight",
            ylabel="−gradient",
            logx=False,
            **options,
        )
        axes.plot(self.weights, self.forces, ".", ms=3, alpha=0.5, zorder=1)
        return axes

    def __repr__(self) -> str:
        shape = {
            "convex": "rises with the weight: convex, as ℓ2 and Huber's",
            "concave": "falls with the weight: concave, as log and MCP",
            "constant": "is the same for all weights: a multiple of ℓ1",
            "neither": "neither only rises nor only falls",
        }[self.kind]
        return (
            f"WeightProfile of {len(self.weights)} weights: the force {shape}; "
            f"{self.left[0]:.2g} of its square is left"
        )


def weight_profile(
    weights: Numbers, forces: Numbers, *, knots: int = 9
) -> WeightProfile:
    r"""Read $\rho'$ off the scatter of forces against weights: no family needed.

    At a minimiser of $\mathcal L+\sum_j\rho(|w_j|)$ the force
    $-\partial_j\mathcal L$ is
    $\rho'(|w_j|)\operatorname{sign}w_j$: a curve through the scatter *is* the penalty's
    derivative. An odd cubic spline is fitted by least squares, its knots at quantiles
    of the sizes; then one that only rises (a convex penalty) and one that only falls (a
    concave one), with coefficients of one sign. Where entries of equal size have
    different forces, the penalty is not separable, or the weights are no minimiser,
    and what is left says so.

    >>> import numpy as np
    >>> import penchant as pn
    >>> w = np.linspace(-2.0, 2.0, 200)
    >>> pn.estimators.weight_profile(w, 0.3 * w).kind
    'convex'
    >>> pn.estimators.weight_profile(w, 0.1 * np.sign(w)).kind
    'constant'

    Args:
        weights: Of any shape.
        forces: Of the same shape: minus the gradient of the loss, or what is left of a
            run's steps.
        knots: At so many quantiles of the sizes; wide intervals are halved besides.

    Raises:
        ValueError: If shapes disagree, entries are not finite, or there are fewer
            weights other than 0 than twice the knots.
    """
    w, f = numbers("weights", weights).ravel(), numbers("forces", forces).ravel()
    knots = check_count("knots", knots, least=2)
    if w.shape != f.shape:
        raise ValueError(
            f"weights and forces must be of one shape; got {w.shape} and {f.shape}."
        )
    if not (np.isfinite(w).all() and np.isfinite(f).all()):
        raise ValueError("weights and forces must be finite.")
    on = w != 0
    size, pull = np.abs(w[on]), f[on] * np.sign(w[on])
    if len(size) < 2 * knots:
        raise ValueError(
            f"weights must have at least {2 * knots} entries other than 0 for {knots} "
            f"knots; got {len(size)}."
        )
    basis, edges = _basis(size, knots)
    free, *_ = np.linalg.lstsq(basis, pull, rcond=1e-12)
    # with coefficients that rise, a spline rises: sums from the end, all but one >= 0
    steps = np.tril(np.ones((basis.shape[1], basis.shape[1])))
    rising = steps @ _one_sign(basis @ steps, pull)
    falling = steps @ _one_sign(basis @ steps, pull, down=True)
    whole = max(float(pull @ pull), 1e-300)
    rests = [float(np.sum((pull - basis @ c) ** 2)) for c in (free, rising, falling)]
    # a constraint that costs no more than chance: an F of its coefficients at 3 sd
    degrees = max(len(size) - basis.shape[1], 1)
    slack = (
        rests[0] / degrees * (basis.shape[1] + 3.0 * math.sqrt(2.0 * basis.shape[1]))
    )
    up, down = (rest <= rests[0] + slack + 1e-12 * whole for rest in rests[1:])
    if not (up or down):
        # splines overshoot at kinks, where one that only rises can't follow
        kinked = [rest <= rests[0] + KINKED * whole for rest in rests[1:]]
        up, down = kinked[0] and rests[1] <= rests[2], kinked[1] and rests[2] < rests[1]
    kind = {
        (True, True): "constant",
        (True, False): "convex",
        (False, True): "concave",
        (False, False): "neither",
    }[up, down]
    chosen = {"convex": rising, "concave": falling}.get(kind, free)
    at = np.linspace(float(size.min()), float(size.max()), 200)
    shown = _design(at, edges)
    spread = np.linalg.pinv(basis.T @ basis)
    error = np.sqrt(
        rests[0] / degrees * np.maximum(np.sum((shown @ spread) * shown, axis=1), 0.0)
    )
    return WeightProfile(
        at=at,
        force=shown @ chosen,
        error=error,
        kind=kind,
        left=(rests[0] / whole, rests[1] / whole, rests[2] / whole),
        weights=w,
        forces=f,
    )


def _basis(size: np.ndarray, knots: int) -> tuple[np.ndarray, np.ndarray]:
    inner = np.quantile(size, np.linspace(0.0, 1.0, knots))
    low, high = float(size.min()), float(size.max())
    width = high - low or 1.0
    inner = np.unique(inner[(inner > low) & (inner < high)])
    inner = _halved(inner, size, (high - low) / max(knots - 1, 1))
    high = low + width
    edges = np.concatenate([[low] * (DEGREE + 1), inner, [high] * (DEGREE + 1)])
    return _design(size, edges), edges


def _halved(inner: np.ndarray, size: np.ndarray, widest: float) -> np.ndarray:
    """Knots with wide intervals halved, as long as both halves hold enough weights.

    Quantiles leave large weights, which are few, in one interval, where no spline has
    the kink of a penalty that levels off.
    """
    ends = [float(size.min()), *inner, float(size.max())]
    more, todo = list(inner), list(itertools.pairwise(ends))
    while todo:
        a, b = todo.pop()
        held = np.sort(size[(size >= a) & (size <= b)])
        if b - a <= widest or len(held) < 2 * FEWEST + 1:
            continue
        middle = float(np.clip(0.5 * (a + b), held[FEWEST], held[-FEWEST - 1]))
        more.append(middle)
        todo += [(a, middle), (middle, b)]
    return np.array(sorted(more))


def _design(x: np.ndarray, edges: np.ndarray) -> np.ndarray:
    from scipy.interpolate import BSpline

    return BSpline.design_matrix(
        np.clip(x, edges[0], edges[-1]), edges, DEGREE
    ).toarray()


def _one_sign(columns: np.ndarray, target: np.ndarray, *, down: bool = False) -> Any:
    """Least squares whose coefficients but the first are all >= 0, or all <= 0."""
    from scipy.optimize import lsq_linear

    k = columns.shape[1]
    low, high = np.full(k, 0.0), np.full(k, np.inf)
    if down:
        low, high = np.full(k, -np.inf), np.full(k, 0.0)
    low[0], high[0] = -np.inf, np.inf
    low, high = np.where(low == high, low - 1e-300, low), high
    return lsq_linear(columns, target, bounds=(low, high), method="bvls").x
