import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from penchant._checks import check_count, check_instance, check_number
from penchant._types import Parameters, Real, Scalar
from penchant.margins import NotSeparatedError
from penchant.margins._geometry import Geometry, geometry_of
from penchant.margins._gradients import flat_margins, pair_gradients
from penchant.margins._kkt import check_degree
from penchant.margins._least_norm import NoStepError
from penchant.norms import L2, AbstractNorm
from penchant.problems import AbstractClassification

Flat = NDArray[np.float64]

FIRST_RISE = 1e-3

LONGEST = 1.0
"""Growth of log-norm in one step, at most."""

LEAST_RISE = 1e-10
"""Relative rise of the least margin below which a step is rounding."""

REACHED = 0.7
"""Share of the rise asked for that a step must reach."""

FIRST_POLISH, MOST_POLISH = 0.05, 12

MOST_ROUNDS = 10

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
    log_norm: Real = 30.0,
    turn: Real = 0.02,
    most_steps: int = 1000,
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
        turn: Angle of one step at the start, at most; with every unit of log-norm
            as much again is allowed.
        most_steps: Stop after so many tries of a step, wherever that is. Smooth
            networks need some hundreds; wide ReLU networks slide along hundreds of
            kinks at once, turn at every one, and may not arrive.

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
    if path.wavering:
        path.polish()
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

    @property
    def wavering(self) -> bool:
        """Whether the margin, which grows along the flow, fell of late: at kinks."""
        last = np.asarray(self.margins[-20:])
        return bool((np.diff(last) < -1e-6 * last[1:]).any())

    def follow(self, until: float, turn: float, most: int) -> None:
        rise, before = FIRST_RISE, None
        longest = self.degree * math.expm1(LONGEST)
        for _ in range(most):
            left = until - self.ell
            if left < 1e-9 or rise < LEAST_RISE:
                return
            rise = min(rise, self.degree * math.expm1(left))
            x = self._step(rise)
            if x is None:
                rise *= 0.25
                continue
            after = self.v + x
            grown = self.geometry.length(after) / self.geometry.length(self.v)
            change = after / self.geometry.length(after)
            change -= self.v / self.geometry.length(self.v)
            angle = self.geometry.length(change)
            allowed = min(0.5, turn * (1.0 + self.ell - self.ells[0]))
            if angle > allowed:
                rise *= max(0.25, 0.7 * allowed / angle)
                continue
            if before is not None and angle > 1e-12:
                # a direction that goes to and fro has been taken too far
                swing = float(change @ before)
                swing /= float(np.linalg.norm(change) * np.linalg.norm(before))
                if swing < -0.5:
                    rise *= 0.5
            self._go(after, grown, angle)
            before = change
            if angle < 0.5 * allowed:
                rise = min(1.6 * rise, longest)

    def polish(self) -> None:
        """Short steps, those that raise the normalised margin: long ones overshoot."""
        rise = FIRST_POLISH
        for _ in range(MOST_POLISH):
            x = self._step(rise)
            if x is None:
                return
            v, q = self.v, self.q
            after = v + x
            grown = self.geometry.length(after) / self.geometry.length(v)
            change = after / self.geometry.length(after) - v / self.geometry.length(v)
            self._go(after, grown, self.geometry.length(change))
            if self.margins[-1] < self.margins[-2]:
                self.v, self.q = v, q
                for record in (self.ells, self.turns, self.margins):
                    record.pop()
                self.ell = self.ells[-1]
            rise *= 0.6

    def _go(self, after: Flat, grown: float, angle: float) -> None:
        self.v = after
        self.q = self._normalise()
        self.ell += math.log(grown)
        self.ells.append(self.ell)
        self.turns.append(angle)
        self.margins.append(self._margin())

    def _normalise(self) -> Flat:
        """Scale to a least margin of 1; all pair margins there."""
        w = self.geometry.back(self.v)
        q = np.asarray(flat_margins(self.problem, jnp.asarray(w)))
        self.v = self.v * float(q.min()) ** (-1.0 / self.degree)
        return q / q.min()

    def _margin(self) -> float:
        return 1.0 / self.geometry.length(self.v) ** self.degree

    def _step(self, rise: float) -> Flat | None:
        """The shortest step to a least margin of `1 + rise`; None where it misses.

        Margins are taken linear. Where the step ends below the level after all, their
        tangents there join (cutting planes): at the kinks of ReLU units that is what
        makes the flow slide along them.
        """
        level = 1.0 + rise
        near = self.q <= 1.0 + 2.0 * rise
        for i, c in self.support:
            near[i, c] = True
        owners = np.argwhere(near)
        known = self.support
        guess = [not known or (int(i), int(c)) in known for i, c in owners]
        J = self._tangents(self.v, owners)
        wanted = level - self.q[near]
        for _ in range(MOST_ROUNDS):
            try:
                x, dual = self.geometry.shortest(J, wanted, np.array(guess))
            except NoStepError:
                return None
            w = jnp.asarray(self.geometry.back(self.v + x))
            reached = np.asarray(flat_margins(self.problem, w))
            if reached.min() >= 1.0 + REACHED * rise:
                carried = dual > 1e-12 * dual.max(initial=0.0)
                self.support = {(int(i), int(c)) for i, c in owners[carried]}
                return x
            short = np.argwhere(reached < level - 0.1 * rise)
            T = self._tangents(self.v + x, short)
            J = np.vstack([J, T])
            below = level - reached[tuple(short.T)]
            wanted = np.concatenate([wanted, below + T @ x])
            owners = np.vstack([owners, short])
            guess = [*(dual > 0), *([True] * len(short))]
        return None

    def _tangents(self, v: Flat, pairs: NDArray[np.intp]) -> Flat:
        """Gradients of some margins at `v`, in its coordinates."""
        w = jnp.asarray(self.geometry.back(v))
        J = pair_gradients(self.problem, w, (pairs[:, 0], pairs[:, 1]))
        return self.geometry.covariant(J)
