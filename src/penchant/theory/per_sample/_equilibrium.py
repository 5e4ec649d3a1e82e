r"""Sample weights at which a mean step changes nothing more: a variational inequality.

Find $c$ on the simplex with $c_i>0\Rightarrow F_i=\min_jF_j$, where
$F_i=\langle a_i,\delta(c)\rangle$ is what sample $i$ gains in margin. Under the
exponential loss training itself is the flow $\dot{\log c_i}=-F_i$, so following it from
the start's own weights finds the limit of *that* start.
"""

import dataclasses
import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from penchant._checks import check_count, check_instance, check_number
from penchant._types import PerSample, Real, Scalar, Tree, Vector
from penchant.theory.per_sample._mean_step import AbstractMeanStep

TOLERANCE = 1e-12

PATIENCE, LONG = 100, 400
"""Steps in which the gap has to halve: while some margin falls, and while none does.

Flows that come to rest late hold margins of one sign, with gaps of some per cent; those
that never rest were seen to make margins fall again and again."""

FAR = 1e3
"""How much margin the drift of a solution is followed for."""

LARGEST_SPECTRUM = 1500
"""Size of matrices up to which all eigenvalues are computed."""


class Equilibrium(eqx.Module):
    r"""A solution of the variational inequality, and how exact it is.

    `log_c` `(n,)` are log-weights whose largest is 0, `step` `(d,)` the mean step
    $\delta(c)$, `margin` $\min_iF_i$: the margin gained for every unit of
    $\sum_t\eta_t$. It need not be positive.

    `gap` is $1-\min_iF_i/\sum_ic_iF_i$, 0 at a solution. `drift` is the relative change
    of the step after a thousand more units of margin at these $F$; it also sees ties
    among samples that matter only to some features, which the gap does not.
    `converged` says whether both are within the tolerance.
    """

    log_c: PerSample
    step: Vector
    margin: Scalar
    gap: float = eqx.field(static=True)
    drift: float = eqx.field(static=True)
    iterations: int = eqx.field(static=True)
    converged: bool = eqx.field(static=True)

    @property
    def c(self) -> PerSample:
        """The weights on the simplex, `(n,)`."""
        return jax.nn.softmax(self.log_c)

    def __repr__(self) -> str:
        end = "" if self.converged else ", not converged"
        return (
            f"Equilibrium(margin={float(self.margin):.6g}, gap={self.gap:.1e}, "
            f"support={int((self.c > 1e-9).sum())} of {len(self.log_c)}{end})"
        )


def equilibrium(
    step: AbstractMeanStep,
    start: Tree | None = None,
    *,
    tol: Real = TOLERANCE,
    max_steps: int = 2000,
    newton: bool = False,
) -> Equilibrium:
    r"""Follow the flow of the sample weights to where it rests.

    Linearly implicit Euler steps in $\log c$, small while the flow is far from linear
    and without bound once it is linear, when each is a step of Newton's method. A step
    costs a solution with $\min(n,d)$ unknowns; tens of steps are usual. Where the gap
    does not halve in 100 steps in which some margin falls, or in 400 in which none
    does, the last point is returned, not converged: the flow is not known to rest.

    Args:
        step: The mean step.
        start: Log-weights to start from, `(n,)`, finite; None for equal ones, which
            are those of zero weights. Weights of 0 are refused: they would stay 0.
        tol: Where `gap` is below it and `drift` below its square root, all is done.
        max_steps: At most so many steps.
        newton: Take unbounded steps from the start. It then finds rest points nearby,
            those included that the flow runs away from.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range, or `start` is not finite.
    """
    check_instance("step", step, AbstractMeanStep, "a mean step, such as adam_proxy()")
    check_number("tol", tol, above=0.0, below=1.0)
    max_steps = check_count("max_steps", max_steps)
    at = _Point.of(step, _check_start(start, len(step.rows)))
    scale = np.abs(at.F).max() + np.finfo(float).tiny
    h = 1e8 / scale if newton else 0.5 / scale
    done, count = False, 0
    best, since, fell = math.inf, 0, -LONG
    for count in range(max_steps + 1):
        done = at.gap <= float(tol) and at.drift(step) <= math.sqrt(tol)
        if at.gap <= max(0.5 * best, float(tol)):
            best, since = at.gap, count
        fell = count if at.F.min() < 0 else fell
        patience = PATIENCE if count - fell < PATIENCE else LONG
        if done or count == max_steps or count - since >= patience:
            break
        linear = _Linear(at)
        after, error = linear.advance(step, h)
        for _ in range(60):
            # the flow is followed while weights that count change by factors, not more
            calm = newton or linear.stretch(after) <= 2.0
            if (calm and error < 0.5) or h * scale < 1e-9:
                break
            h *= 0.3
            after, error = linear.advance(step, h)
        at = after
        if error < 0.25:
            h = min(h * (10.0 if error < 0.02 else 3.0), 1e10 / scale)
    return Equilibrium(
        jnp.asarray(at.log_c),
        jnp.asarray(at.delta),
        jnp.asarray(at.F.min()),
        at.gap,
        at.drift(step),
        count,
        done,
    )


def respond(step: AbstractMeanStep, at: Equilibrium, extra: np.ndarray) -> np.ndarray:
    r"""To first order, how an equilibrium's step turns where `extra` is added to it.

    `extra` `(b, d)` are changes of $\delta$ at fixed weights, which then rearrange
    themselves until margins grow alike again.
    """
    point = _Point.of(step, np.asarray(at.log_c))
    linear = _Linear(point)
    h = 1e8 / (np.abs(point.F).max() + np.finfo(float).tiny)
    return np.stack([
        x + linear.solve(point.rows @ x - point.c @ (point.rows @ x), h)[1]
        for x in extra
    ])


def rates(step: AbstractMeanStep, at: Equilibrium) -> Float[Array, " r"] | None:
    r"""At what rates disturbances of the weights die out: eigenvalues, ascending.

    Real parts of the eigenvalues of $\partial F/\partial\log c$ on the samples that
    count, less those that are 0 by construction (weights have no scale, and dependent
    rows keep their dependence): a disturbance falls like $e^{-\lambda s}$ with
    $s=\sum_t\eta_t$. A negative one makes the equilibrium unstable. Empty where one
    sample decides alone; None where the matrix is larger than 1500.

    Args:
        step: The mean step.
        at: Its equilibrium.
    """
    rows = np.asarray(step.rows)
    delta, slopes = map(np.asarray, _sensitivity(step, at.log_c))
    size = np.abs(slopes).max(axis=1)
    if size.max() <= 1e-12 * np.abs(delta).max():
        return jnp.zeros(0)  # one sample decides, or each one by itself
    counts = size > 1e-9 * size.max()
    A, E = rows[counts], slopes[counts]
    if min(A.shape) > LARGEST_SPECTRUM:
        return None
    small = A @ E.T if len(A) <= A.shape[1] else E.T @ A
    values = np.linalg.eigvals(small)
    values = values[np.argsort(np.abs(values))]
    if (rows == 0).any():  # each group of tied samples has a scale of its own
        idle = int((np.abs(values) <= 1e-9 * np.abs(values).max()).sum())
    else:
        idle = len(small) - np.linalg.matrix_rank(A) + 1
    return jnp.asarray(np.sort(values[idle:].real))


@dataclasses.dataclass(frozen=True)
class _Point:
    """Log-weights, and what the mean step does there."""

    rows: np.ndarray
    log_c: np.ndarray
    delta: np.ndarray
    slopes: np.ndarray

    @staticmethod
    def of(step: AbstractMeanStep, log_c: np.ndarray) -> "_Point":
        log_c = log_c - log_c.max()
        delta, slopes = map(np.asarray, _sensitivity(step, jnp.asarray(log_c)))
        return _Point(np.asarray(step.rows), log_c, delta, slopes)

    @functools.cached_property
    def F(self) -> np.ndarray:
        return self.rows @ self.delta

    @functools.cached_property
    def c(self) -> np.ndarray:
        c = np.exp(self.log_c)
        return c / c.sum()

    @property
    def mean(self) -> float:
        return float(self.c @ self.F)

    @property
    def gap(self) -> float:
        size = max(abs(self.mean), 1e-12 * float(np.abs(self.F).max()), 1e-300)
        return float(self.mean - self.F.min()) / size

    def drift(self, step: AbstractMeanStep) -> float:
        """How much the step turns if everybody's margin goes on growing as now."""
        F = self.F
        pace = max(float(F.min()), 1e-3 * float(np.abs(F).max()), 1e-300)
        later = self.log_c - FAR / pace * (F - F.min())
        after = _Point.of(step, later).delta
        turned = np.linalg.norm(after - self.delta)
        return float(turned / max(np.linalg.norm(self.delta), 1e-300))


class _Linear:
    r"""The flow linear about a point: $\dot\theta=-(F'+AE^\top\Delta\theta)$."""

    def __init__(self, at: _Point):
        size = np.abs(at.slopes).max(axis=1)
        # samples without influence follow the others, and join no system
        self.counts = size > 1e-15 * size.max()
        self.at, self.excess = at, at.F - at.mean
        self.A, self.E = at.rows[self.counts], at.slopes[self.counts]
        self.wide = len(self.A) <= at.rows.shape[1]
        self.product = self.A @ self.E.T if self.wide else self.E.T @ self.A

    def solve(self, F: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
        r"""$(I+hAE^\top)\Delta\theta=-hF$, and how $\Delta\theta$ turns the step."""
        counted = F[self.counts]
        system = self.product * h
        system[np.diag_indices_from(system)] += 1.0
        if self.wide:
            change = np.linalg.solve(system, -h * counted)
        else:  # (I + h A E')^-1 = I - A (I/h + E'A)^-1 E'
            inner = np.linalg.solve(system, h * (self.E.T @ counted))
            change = -h * (counted - self.A @ inner)
        turned = self.E.T @ change
        full = -h * (F + self.at.rows @ turned)
        full[self.counts] = change
        return full, turned

    def advance(self, step: AbstractMeanStep, h: float) -> tuple[_Point, float]:
        """An implicit step of the flow; how far F is from linear over it."""
        at = self.at
        change, turned = self.solve(self.excess, h)
        after = _Point.of(step, at.log_c + change)
        bent = np.abs(at.rows @ (after.delta - at.delta - turned))
        weight = np.sqrt(np.maximum(at.c, after.c))
        size = (weight * np.abs(self.excess)).max()
        return after, float((weight * bent).max() / max(size, 1e-300))

    def stretch(self, after: _Point) -> float:
        """By how much weights that count change against each other, in logarithms."""
        leaders = self.at.c > 1e-3 * self.at.c.max()
        return float(np.ptp((after.log_c - self.at.log_c)[leaders]))


@eqx.filter_jit
def _sensitivity(
    step: AbstractMeanStep, log_c: PerSample
) -> tuple[Vector, Float[Array, "n d"]]:
    return step.sensitivity(log_c)


def _check_start(start: Tree, n: int) -> np.ndarray:
    if start is None:
        return np.zeros(n)
    try:
        log_c = np.array(start, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(f"start must be {n} log-weights; got {start!r}.") from None
    if log_c.shape != (n,):
        raise ValueError(f"start must have shape ({n},); got {log_c.shape}.")
    if not np.isfinite(log_c).all():
        where = int(np.flatnonzero(~np.isfinite(log_c))[0])
        raise ValueError(
            "start must be finite logarithms: a sample of weight 0, on the simplex's "
            f"boundary, never gets any back; sample {where} has {log_c[where]}."
        )
    return log_c - log_c.max()
