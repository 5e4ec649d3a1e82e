import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from penchant._checks import check_count, check_instance, check_number
from penchant._types import Parameters, Scalar
from penchant.margins import NotSeparatedError
from penchant.margins._geometry import Geometry, geometry_of
from penchant.margins._gradients import (
    flat_margins,
    margins_and_change,
    pair_gradients,
)
from penchant.margins._least_norm import NoStepError
from penchant.norms import L2, AbstractNorm
from penchant.problems import AbstractClassification, NotHomogeneousError

Flat = NDArray[np.float64]

FIRST_RISE = 1e-3

LONGEST = 1.0
"""Growth of log-norm in one step, at most."""

MOST_ROUNDS = 30

SETTLED = 1e-9
"""A turn per unit of log-norm below which a direction counts as settled."""


class Tail(eqx.Module):
    r"""A direction followed to large norms, where only the least margins matter.

    `weights` have unit norm; `log_norm` is the log of the norm reached, and
    `log_norms` `(r,)`, `turns` `(r,)` and `margins` `(r,)` are its steps: where each
    ended, the angle it turned (radians, in the geometry's coordinates; maximum
    relative change in the max norm) and the normalised margin $q_{\min}/\|w\|^L$.
    `settled` says whether the last steps turned by less than $10^{-9}$ per unit of
    log-norm. It is no proof that the direction has a limit.
    """

    weights: Parameters
    log_norm: Scalar
    log_norms: Float[Array, " r"]
    turns: Float[Array, " r"]
    margins: Float[Array, " r"]
    settled: bool = eqx.field(static=True)
    norm: AbstractNorm

    @property
    def steps(self) -> int:
        """How many steps it took."""
        return len(self.turns)

    def __repr__(self) -> str:
        settled = "settled" if self.settled else "still turning"
        return (
            f"Tail({self.norm.label}: log_norm={float(self.log_norm):.4g}, "
            f"margin={float(self.margins[-1]):.7g}, steps={self.steps}, {settled})"
        )


def tail_flow(
    problem: AbstractClassification,
    weights: Parameters,
    *,
    norm: AbstractNorm = L2(),
    log_norm: float = 30.0,
    turn: float = 0.02,
    most_steps: int = 20_000,
) -> Tail:
    r"""Follow the direction of a homogeneous network to infinite time.

    Far down, only the least margins have a gradient to speak of, and with
    $\ell=\log\|w\|$ the direction $u$ obeys a flow without temperature,

    $$\frac{du}{d\ell}=\frac{n(u)}{L\,q_{\min}(u)}-u,$$

    $n$ the shortest element of the hull of the gradients of the least margins. Its
    fixed points are the KKT points of the margin problem. It is followed by raising
    the least margin with the shortest step: from $q_{\min}(w)=1$,
    $x=\arg\min\|x\|$ such that $q_i+\langle\nabla q_i,x\rangle\ge1+c$, which is
    implicit in which samples matter. $c$ adapts to how far directions turn, so a
    settled one gains a unit of log-norm a step. Training would need a loss of
    $e^{-e^{30}}$ for what takes tens of steps here. Derived; no paper's.

    Where gradients jump (ReLU units at a kink) steps shorten, and the flow slides.

    Args:
        problem: With a degree $L$; one class against another, or several.
        weights: Where to start: every sample on its side, and far enough down a run
            that margins differ by much more than their losses weigh.
        norm: L2, Linf, or Mahalanobis with one positive weight a parameter, in
            the order of `problem.flat`. Linf has no unique shortest step: one is taken.
        log_norm: Where to end.
        turn: Angle of one step, at most.
        most_steps: Give up after so many steps.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range, or the weights have another shape.
        NotHomogeneousError: If the problem has no degree.
        NotSeparatedError: If a sample is on the wrong side.
    """
    check_instance(
        "problem",
        problem,
        AbstractClassification,
        "a LinearClassification or a NetworkClassification",
    )
    degree = check_degree(problem)
    check_number("log_norm", log_norm)
    check_number("turn", turn, above=0.0, most=0.5)
    most_steps = check_count("most_steps", most_steps)
    w = problem.read(weights)
    least = float(jnp.min(problem.margins(w)))
    if not least > 0:
        raise NotSeparatedError(problem, w)
    geometry = geometry_of(norm, problem)
    path = _Path(problem, geometry, degree, np.asarray(problem.flat(w)))
    path.follow(log_norm, turn, most_steps)
    unit = path.v / geometry.length(path.v)
    return Tail(
        weights=problem.unflat(jnp.asarray(geometry.back(unit))),
        log_norm=jnp.asarray(path.ell),
        log_norms=jnp.asarray(path.ells),
        turns=jnp.asarray(path.turns),
        margins=jnp.asarray(path.margins),
        settled=path.settled,
        norm=norm,
    )


def check_degree(problem: AbstractClassification) -> float:
    """The degree of a problem that has one.

    Raises:
        NotHomogeneousError: If it has none.
    """
    degree = problem.degree
    if degree is None:
        raise NotHomogeneousError(
            "problem must be homogeneous in its parameters for a limit of its "
            "direction; this network is not (see problem.homogeneity)."
        )
    return degree


class _Path:
    """The flow under way: coordinates `v` with least margin 1, and log-norm `ell`."""

    def __init__(
        self,
        problem: AbstractClassification,
        geometry: Geometry,
        degree: float,
        w: Flat,
    ):
        self.problem, self.geometry, self.degree = problem, geometry, degree
        self.ell = math.log(geometry.length(geometry.there(w)))
        self.v = geometry.there(w)
        self.support: set[tuple[int, int]] = set()
        self.ells: list[float] = [self.ell]
        self.turns: list[float] = [0.0]
        self.q = self._normalise()
        self.margins: list[float] = [self._margin()]

    @property
    def settled(self) -> bool:
        """Whether the last steps hardly turned."""
        rates = np.asarray(self.turns[1:]) / np.maximum(np.diff(self.ells), 1e-12)
        return len(rates) >= 3 and bool((rates[-3:] < SETTLED).all())

    def follow(self, until: float, turn: float, most: int) -> None:
        rise, before = FIRST_RISE, None
        longest = self.degree * math.expm1(LONGEST)
        for _ in range(most):
            if self.ell >= until - 1e-9:
                return
            rise = min(rise, self.degree * math.expm1(max(until - self.ell, 1e-9)))
            try:
                x = self._step(rise)
            except NoStepError:
                if rise < 1e-9:
                    return
                rise *= 0.25
                continue
            after = self.v + x
            grown = self.geometry.length(after) / self.geometry.length(self.v)
            change = after / self.geometry.length(after)
            change -= self.v / self.geometry.length(self.v)
            angle = self.geometry.length(change)
            if angle > turn and rise > 1e-9:
                rise *= max(0.25, 0.7 * turn / angle)
                continue
            if before is not None and angle > 1e-12:
                # a direction that goes to and fro has been taken too far
                swing = float(change @ before)
                swing /= float(np.linalg.norm(change) * np.linalg.norm(before))
                if swing < -0.5:
                    rise *= 0.5
            self.v = after
            self.q = self._normalise()
            self.ell += math.log(grown)
            self.ells.append(self.ell)
            self.turns.append(angle)
            self.margins.append(self._margin())
            before = change
            if angle < 0.5 * turn:
                rise = min(1.6 * rise, longest)

    def _normalise(self) -> Flat:
        """Scale to a least margin of 1; all pair margins there."""
        w = self.geometry.back(self.v)
        q = np.asarray(flat_margins(self.problem, jnp.asarray(w)))
        self.v = self.v * float(q.min()) ** (-1.0 / self.degree)
        return q / q.min()

    def _margin(self) -> float:
        return 1.0 / self.geometry.length(self.v) ** self.degree

    def _step(self, rise: float) -> Flat:
        """The shortest step to a least margin of `1 + rise`, margins taken linear."""
        w = jnp.asarray(self.geometry.back(self.v))
        q, level = self.q, 1.0 + rise
        near = q <= 1.0 + 2.0 * rise
        for i, c in self.support:
            near[i, c] = True
        for _ in range(MOST_ROUNDS):
            pairs = np.nonzero(near)
            J = self.geometry.covariant(pair_gradients(self.problem, w, pairs))
            known = self.support
            guess = np.array([
                not known or (int(i), int(c)) in known
                for i, c in zip(*pairs, strict=True)
            ])
            x, dual = self.geometry.shortest(J, level - q[pairs], guess)
            step = jnp.asarray(self.geometry.back(x))
            _, slope = margins_and_change(self.problem, w, step)
            short = q + np.asarray(slope) < level - 1e-9 * (1.0 + rise)
            short &= np.isfinite(q) & ~near
            if not short.any():
                break
            near |= short
        carried = dual > 1e-12 * dual.max(initial=0.0)
        self.support = {
            (int(i), int(c)) for i, c, on in zip(*pairs, carried, strict=True) if on
        }
        return x
