import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from penchant._checks import check_count, check_instance, check_number
from penchant._threads import one_blas_thread
from penchant._types import Parameters, Real, Scalar
from penchant.margins import NotSeparatedError
from penchant.margins.geometry import Geometry, NoStepError, geometry_of
from penchant.margins.gradients import flat_margins, pair_gradients
from penchant.norms import L2, AbstractNorm
from penchant.problems import AbstractClassification

Flat = NDArray[np.float64]

FIRST, LEAST = 5e-4, 1e-11
"""Growth of log-norm in the first step, and below which a step is rounding."""

LONG, LONGER, LONGEST = 1.0, 0.01, 4.0
"""A step's growth, at most: this, or that share of the way gone, and never more."""

SHARES = ((6, 0.9), (12, 0.3), (18, 0.0))
"""Up to a round, the share of the rise its planes foretell that a step must bring."""

MANY = 256
"""Margins that carry from which rounds are long: a third of them is made, and the last
may let the margin fall."""

REACHED = 0.7
"""Share of a step's growth that such a last round must bring."""

NEAR, MOST_FRESH = 0.02, 32
"""Roots of margins that near to the least have a plane at once; more join later."""

ALL_KEPT = 2
"""Rounds of planes after which idle ones go."""

BELOW = 0.01
"""A plane that much of the step below its root is no bound."""

SETTLED = 1e-9
"""A turn over the last unit of log-norm below which a direction counts as settled."""


class Tail(eqx.Module):
    r"""A direction followed to large norms, where only the least margins matter.

    `weights` have unit norm; `log_norm` is the log of the norm reached, and
    `log_norms` `(r,)`, `turns` `(r,)` and `margins` `(r,)` are its steps: where each
    ended, the angle it turned (radians, in the geometry's coordinates; maximum
    relative change in the max norm) and the normalised margin $q_{\min}/\|w\|^L$.
    `settled` says whether the last unit of log-norm, or the last step where that is
    longer, turned by less than $10^{-9}$. It is no proof that the direction has a
    limit.
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
    fixed points are the KKT points of the margin problem. A step of $g$ in $\ell$ is
    the shortest that lifts the least margin by $e^{Lg}$, from $q_{\min}(v)=1$

    $$x=\arg\min\|x\|\quad\text{such that}\quad q_i(v+x)^{1/L}\ge e^g,$$

    implicit in which samples matter. The roots of the margins have degree 1, so their
    tangent planes pass through 0, wherever they were taken; $x$ is the shortest for
    planes, planes at its end join, and so on until it brings nine tenths of the rise in
    normalised margin that they foretell (a serious step of a bundle method,
    `kiwiel1990proximity`), or any rise after many. So the margin does not fall, as it
    never does along the flow, and at kinks of ReLU units, where it slides, planes of
    both sides are there.
    Where hundreds of margins are least at once, such steps are cut short, and it may.
    Steps adapt to how far directions turn; a settled one gains a unit of log-norm each.
    Training would need a loss of $e^{-e^{30}}$ for what takes tens of steps here.
    Derived; no paper's.

    Args:
        problem: With a degree $L$; one class against another, or several.
        weights: Where to start: every sample on its side, and far enough down a run
            that margins differ by much more than their losses weigh.
        norm: L2, Linf, Mahalanobis with one positive weight a parameter, in
            the order of `problem.flat`, `Layerwise(Spectral())`, or `Spectral()` where
            the parameters are one matrix. Linf and the spectral norms have no unique
            shortest step: one is taken.
        log_norm: Where to end.
        turn: Angle of one step at the start, at most; with every unit of log-norm
            as much again is allowed.
        most_steps: Stop after so many tries of a step, wherever that is.

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
    problem.require_degree()
    check_number("log_norm", log_norm)
    check_number("turn", turn, above=0.0, most=0.5)
    most_steps = check_count("most_steps", most_steps)
    path = path_of(problem, problem.read(weights), norm)
    path.follow(float(log_norm), float(turn), most_steps)
    return path.tail()


def path_of(
    problem: AbstractClassification, w: Parameters, norm: AbstractNorm
) -> "Path":
    """The flow at its start.

    Raises:
        NotHomogeneousError: If the problem has no degree.
        NotSeparatedError: If a sample is on the wrong side.
    """
    degree = problem.require_degree()
    if not float(jnp.min(problem.margins(w))) > 0:
        raise NotSeparatedError(problem, w)
    geometry = geometry_of(norm, problem)
    return Path(problem, norm, geometry, degree, np.asarray(problem.flat(w)))


class Path:
    """The flow under way: coordinates `v` with least margin 1, and log-norm `ell`."""

    def __init__(
        self,
        problem: AbstractClassification,
        norm: AbstractNorm,
        geometry: Geometry,
        degree: float,
        w: Flat,
    ):
        self.problem, self.norm, self.geometry = problem, norm, geometry
        self.degree, self.growth = degree, FIRST
        v = geometry.there(w)
        self.ell = math.log(geometry.length(v))
        self.support: set[tuple[int, int]] = set()
        self.ells: list[float] = []
        self.turns: list[float] = []
        self.margins: list[float] = []
        self._stand(v, self._roots(v), 0.0)

    @property
    def settled(self) -> bool:
        """Whether the last unit of log-norm hardly turned."""
        ells = np.asarray(self.ells)
        if ells[-1] - ells[0] < 1.0:
            return False  # steps that became short are no sign of rest
        first = int(np.searchsorted(ells, ells[-1] - 1.0, side="right"))
        return sum(self.turns[first:]) < SETTLED

    def follow(self, until: float, turn: float, most: int) -> None:
        """Go on to a log-norm, by so many tries of a step at most."""
        with one_blas_thread():  # systems of some hundred rows, thousands of times
            self._follow(until, turn, most)

    def _follow(self, until: float, turn: float, most: int) -> None:
        for _ in range(most):
            left = until - self.ell
            if left < 1e-9 or self.growth < LEAST:
                return
            self.growth = min(self.growth, left)
            found = self._step(self.growth)
            if found is None:
                self.growth *= 0.25
                continue
            after, roots = found
            change = after / self.geometry.length(after)
            change -= self.v / self.geometry.length(self.v)
            angle = self.geometry.length(change)
            gone = self.ell - self.ells[0]
            allowed = min(0.5, turn * (1.0 + gone))
            if angle > allowed:
                self.growth *= max(0.25, 0.7 * allowed / angle)
                continue
            self.ell += math.log(self._grown(after))
            self._stand(after, roots, angle)
            if angle < 0.5 * allowed:
                longest = min(max(LONG, LONGER * gone), LONGEST)
                self.growth = min(1.6 * self.growth, longest)

    def tail(self) -> Tail:
        """Where it is, and how it came there."""
        unit = self.v / self.geometry.length(self.v)
        return Tail(
            weights=self.problem.unflat(jnp.asarray(self.geometry.back(unit))),
            log_norm=jnp.asarray(self.ell),
            log_norms=jnp.asarray(self.ells),
            turns=jnp.asarray(self.turns),
            margins=jnp.asarray(self.margins),
            settled=self.settled,
            norm=self.norm,
        )

    def _stand(self, v: Flat, roots: Flat, angle: float) -> None:
        """Go to `v`, scaled to a least margin of 1."""
        least = float(roots.min())
        self.v, self.roots = v / least, roots / least
        self.ells.append(self.ell)
        self.turns.append(angle)
        self.margins.append(self.geometry.length(self.v) ** -self.degree)

    def _grown(self, after: Flat) -> float:
        return self.geometry.length(after) / self.geometry.length(self.v)

    def _step(self, growth: float) -> tuple[Flat, Flat] | None:
        """Where a step ends, and the roots of all margins there; None if nowhere.

        The planes of margins whose roots are concave are never below them. Where a
        plane is, the root is not concave there, and the plane goes.
        """
        level = math.exp(growth)
        near = self.roots <= 1.0 + min(1.5 * (level - 1.0), NEAR)
        for pair in self.support:
            near[pair] = True
        owners = np.argwhere(near)
        guess = np.array([not self.support or tuple(o) in self.support for o in owners])
        planes = self._tangents(self.v, self.roots, owners)
        haste = 3 if len(self.support) > MANY else 1
        for tries in range(0, SHARES[-1][0], haste):
            wanted = level - planes @ self.v
            try:
                x, dual = self.geometry.shortest(planes, wanted, guess)
            except NoStepError:
                return None
            after = self.v + x
            roots = self._roots(after)
            least = float(roots.min())
            if not least > 0:
                return None
            grown = self._grown(after)
            foretold, seen = math.log(level / grown), math.log(least / grown)
            share = next(share for before, share in SHARES if tries < before)
            enough = seen >= share * foretold - self.geometry.rounding
            last = haste > 1 and tries + haste >= SHARES[-1][0]
            if enough or (last and least >= 1.0 + REACHED * (level - 1.0)):
                carried = dual > 1e-12 * dual.max(initial=0.0)
                self.support = {(int(i), int(c)) for i, c in owners[carried]}
                return after, roots
            carried = dual > 0
            low = np.sort(roots[roots < level])[: max(MOST_FRESH, carried.sum() // 2)]
            joins = roots <= low.max(initial=-math.inf)
            joins[tuple(owners[carried].T)] = True
            fresh = np.argwhere(joins)
            above = planes @ after >= roots[tuple(owners.T)] - BELOW * (level - 1.0)
            keep = above & carried if tries > ALL_KEPT * haste else above
            planes = np.vstack([planes[keep], self._tangents(after, roots, fresh)])
            owners = np.vstack([owners[keep], fresh])
            guess = np.concatenate([carried[keep], np.ones(len(fresh), dtype=bool)])
        return None

    def _roots(self, v: Flat) -> Flat:
        r"""$q^{1/L}$ of all pairs, negative where a margin is."""
        w = jnp.asarray(self.geometry.back(v))
        q = np.asarray(flat_margins(self.problem, w))
        return np.sign(q) * np.abs(q) ** (1.0 / self.degree)

    def _tangents(self, v: Flat, roots: Flat, pairs: NDArray[np.intp]) -> Flat:
        """Gradients of some roots at `v`, in its coordinates."""
        at = tuple(pairs.T)
        w = jnp.asarray(self.geometry.back(v))
        J = self.geometry.covariant(pair_gradients(self.problem, w, at))
        return J * (roots[at] ** (1.0 - self.degree) / self.degree)[:, None]
