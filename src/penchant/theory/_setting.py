"""What a prediction is asked of, and assumptions that several theorems share."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from penchant._checks import check_instance
from penchant._types import Numbers, Scalar, Vector
from penchant.margins import MaxMargin
from penchant.norms import L2, AbstractNorm, AbstractSchatten, Lp, Mahalanobis, lp
from penchant.optimizers import AbstractOptimizer, Character
from penchant.problems import LinearClassification, losses
from penchant.theory._prediction import Assumption, Prediction, Regime, Verdict
from penchant.training import Trajectory
from penchant.training.batching import AbstractBatching
from penchant.training.schedules import Constant, Power, Schedule

HOLDS, FAILS, UNKNOWN = Verdict.HOLDS, Verdict.FAILS, Verdict.UNKNOWN

STABLE = 0.2
"""Constant steps below this share of 1/R were measured stable for sign, spectral and
nuclear descent (`fan2025spectral` data; R is the largest dual norm of a row)."""


class Setting(eqx.Module):
    """One question: a problem and the algorithm run on it.

    `best` computes a maximum margin, and may remember what it has computed. `init` is
    where a linear classifier starts, None at zero: which of several limits is reached
    may hang on it.
    """

    problem: Any
    optimizer: AbstractOptimizer
    batching: AbstractBatching
    schedule: Schedule | None
    trajectory: Trajectory | None
    best: Callable[[AbstractNorm], MaxMargin] = eqx.field(static=True)
    init: Numbers | None = None

    @property
    def character(self) -> Character:
        """What the optimizer is."""
        return self.optimizer.character()

    @property
    def name(self) -> str:
        """What the optimizer is called."""
        return type(self.optimizer).__name__

    @property
    def network(self) -> bool:
        """Whether margins are not linear in the parameters, so that limits are many."""
        return not isinstance(self.problem, LinearClassification)

    @property
    def full_batch(self) -> bool:
        """Whether every update sees every sample, for all that is known."""
        return self.batching.covers(self.problem.samples) is True

    def predict(
        self,
        norm: AbstractNorm | None,
        source: str,
        statement: str,
        assumptions: tuple[Assumption, ...],
        regimes: tuple[Regime, ...] = (),
        alternatives: tuple[Prediction, ...] = (),
    ) -> Prediction:
        """A prediction, with the solution of its norm filled in."""
        weights = margin = None
        if norm is not None:
            norm = canonical(norm, self.problem)
            found = self.best(norm)
            weights, margin = found.weights, found.margin
        return Prediction(
            norm, weights, margin, source, statement, assumptions, regimes, alternatives
        )

    def stationary(
        self,
        norm: AbstractNorm,
        source: str,
        who: str,
        assumptions: tuple[Assumption, ...],
        regimes: tuple[Regime, ...] = (),
    ) -> Prediction:
        """A KKT point of a margin problem: which norm's, not which point."""
        weighed = isinstance(norm, Mahalanobis)
        label = "ℓ2 (weighted by its accumulators)" if weighed else norm.label
        tends = "its direction tends" if who.endswith(":") else "tends in direction"
        return Prediction(
            norm,
            None,
            None,
            source,
            f"{who} {tends} to a KKT point of the {label} margin problem of all "
            "parameters: a first-order statement, no largest margin. penchant.limit "
            "finds the point.",
            assumptions,
            regimes,
        )

    def unknown(
        self,
        why: str,
        source: str = "none",
        candidates: tuple[AbstractNorm, ...] = (),
        evidence: Any = None,
    ) -> Prediction:
        """No limit known; what else it may be, and what that was computed from."""
        if self.network:
            candidates = ()
        others = tuple(
            self.predict(norm, source, f"the {norm.label} max margin", ())
            for norm in candidates
        )
        return Prediction(
            None, None, None, source, why, (), alternatives=others, evidence=evidence
        )

    def separable(self) -> Assumption:
        """Certified by the maximum margin itself (else there is no prediction)."""
        margin = float(self.best(L2()).margin)
        return Assumption(
            "the data are linearly separable", HOLDS, f"ℓ2 margin {margin:.3g} > 0"
        )

    def every_sample(self) -> Assumption:
        """Full batches; unknown of a batching that does not say what it covers."""
        covers = self.batching.covers(self.problem.samples)
        verdict = {True: HOLDS, False: FAILS, None: UNKNOWN}[covers]
        return Assumption(
            "every update sees every sample", verdict, repr(self.batching)
        )

    def exponential_tail(self) -> Assumption:
        """The loss is one of those treated."""
        known = isinstance(
            self.problem.loss, (losses.Exponential, losses.Logistic, losses.PairLog)
        )
        return Assumption(
            "the loss has an exponential tail",
            HOLDS if known else UNKNOWN,
            repr(self.problem.loss),
        )

    def decreasing_steps(self, norm: AbstractNorm) -> Assumption:
        r"""$\eta_t\downarrow0$, $\sum\eta_t=\infty$."""
        statement = "step sizes fall to 0, while their sum does not stay finite"
        schedule = self.schedule
        if schedule is None:
            return Assumption(statement, UNKNOWN, "no step size was given")
        if isinstance(schedule, Constant):
            c = float(schedule.scale) * longest_row(self.problem, norm)
            seen = f"constant; times the longest row it is {c:.2g}"
            if c <= STABLE:
                why = (
                    f"{seen}, below the {STABLE:g} under which constant steps were "
                    "measured, not proved, to reach the same limit"
                )
                return Assumption(statement, UNKNOWN, why)
            why = (
                f"{seen}, above the {STABLE:g} under which constant steps were "
                "measured to reach the same limit: expect a floor"
            )
            return Assumption(statement, FAILS, why)
        if isinstance(schedule, Power):
            a = float(schedule.exponent)
            return Assumption(
                statement, HOLDS if 0 < a <= 1 else FAILS, f"exponent {a:g} in (0, 1]"
            )
        return Assumption(statement, UNKNOWN, "an arbitrary function of the step")

    def largest_step(self) -> float | None:
        """The largest step size, where it is known: power laws start with it."""
        if isinstance(self.schedule, (Constant, Power)):
            return float(self.schedule(jnp.zeros(())))
        return None


def canonical(norm: AbstractNorm, problem: LinearClassification) -> AbstractNorm:
    """The simplest name of the same norm on this problem's weights."""
    if isinstance(norm, AbstractSchatten) and (problem.binary or norm.p == 2.0):
        return L2()  # a vector has one singular value, its length
    return lp(norm.p) if isinstance(norm, Lp) else norm


def longest_row(problem: LinearClassification, norm: AbstractNorm) -> float:
    r"""$R_*=\max_{ic}\|a_{ic}\|_*$ of the gradients $a_{ic}$ of the margins.

    A step of length $\eta$ in the norm moves no margin by more than $\eta R_*$.
    """
    check_instance("problem", problem, LinearClassification, "a LinearClassification")
    check_instance("norm", norm, AbstractNorm, "one of penchant.norms")
    X = problem.X
    if isinstance(norm, AbstractSchatten):  # (e_y - e_c) x' has one singular value
        longest = jnp.max(jnp.linalg.norm(X, axis=1))
        return float(longest) * (1.0 if problem.binary else math.sqrt(2.0))

    return float(_longest(problem, norm))


@eqx.filter_jit
def _longest(problem: LinearClassification, norm: AbstractNorm) -> Scalar:
    def row(x: Vector) -> Scalar:
        if problem.binary:
            return norm.dual(x)
        # which two classes are opposed matters to a weighted norm only
        a = jnp.zeros(problem.weight_shape)
        return norm.dual(a.at[0].set(x).at[1].set(-x))

    size = min(256, problem.samples)
    return jnp.max(jax.lax.map(row, problem.X, batch_size=size))
