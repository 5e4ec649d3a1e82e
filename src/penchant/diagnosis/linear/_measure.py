"""What a run reached in each norm, against the best there is."""

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from penchant._types import Weights
from penchant.diagnosis._result import AbstractRow
from penchant.diagnosis.linear._catalogue import Catalogue
from penchant.margins import run_bounds
from penchant.norms import AbstractNorm
from penchant.problems import LinearClassification
from penchant.training import Trajectory

PerRecord = Float[np.ndarray, " r"]

CERTIFIED_RECORDS, LEAST_RECORDS = 24, 3
"""Records at which the run's own upper bounds are computed, at most and at least."""

WORK = 2.5e8
"""Entries of all rows that are passed at these records, unless they are the least."""


class Row(AbstractRow):
    r"""One norm: what the run reached in it, and the best there is.

    `label` is how the table names the norm, with a number where another has its name.
    `reached` is the margin of the last weights, $\min_iq_i(w_T)/\|w_T\|$. The best
    margin lies in `[best, upper]`, certified on both sides. `ratio` is reached / best;
    the true one lies in `[lowest_ratio, ratio]`. `increment_ratio` is the same of the
    increment $w_T-w_{T/2}$, from which what is bounded in $w$ has dropped out: where
    steps settle it runs ahead of the ratio, and where they overshoot it falls behind.
    `cosine` is that of the last weights with the optimum, where it is `unique`.
    """

    norm: AbstractNorm
    label: str = eqx.field(static=True)
    reached: float = eqx.field(static=True)
    best: float = eqx.field(static=True)
    upper: float = eqx.field(static=True)
    increment_reached: float = eqx.field(static=True)
    cosine: float | None = eqx.field(static=True)
    unique: bool | None = eqx.field(static=True)
    method: str = eqx.field(static=True)

    def to_dict(self) -> dict[str, Any]:
        return {
            "norm": self.label,
            "reached": self.reached,
            "best": self.best,
            "upper_bound": self.upper,
            "ratio": self.ratio,
            "lowest_ratio": self.lowest_ratio,
            "increment_ratio": self.increment_ratio,
            "cosine": self.cosine,
            "unique": self.unique,
            "method": self.method,
        }

    @property
    def ratio(self) -> float:
        """Of the margin reached to the best one found."""
        return self.reached / self.best

    @property
    def lowest_ratio(self) -> float:
        """What is certain: of the margin reached to the bound no weights beat."""
        return self.reached / self.upper

    @property
    def increment_ratio(self) -> float:
        """The ratio of the increment."""
        return self.increment_reached / self.best


class MarginPath(eqx.Module):
    """The ratios along a run, `(r,)` each; `proved` needs no solver.

    `ratio` is against the best margin found. `proved` is against the least upper bound
    that the run's own weights have given up to there (softmax duality, `certify`).
    """

    ratio: Float[Array, " r"]
    proved: Float[Array, " r"]


def certified(
    problem: LinearClassification, run: Trajectory, norms: Sequence[AbstractNorm]
) -> list[PerRecord]:
    """For each norm the least bound that the run's weights have proved up to there.

    Computed at some of the records, with the same products for all norms where that
    can be, and infinite before the first.
    """
    r = len(run.steps)
    entries = problem.samples * math.prod(problem.weight_shape)
    count = int(min(max(WORK / entries, LEAST_RECORDS), CERTIFIED_RECORDS))
    at = np.unique(np.rint(np.linspace(0, r - 1, count)).astype(int))
    bounds = np.full((r, len(norms)), math.inf)
    bounds[at] = run_bounds(problem, norms, np.asarray(run.weights)[at])
    return list(np.minimum.accumulate(bounds).T)


def measure(
    catalogue: Catalogue,
    run: Trajectory,
    norm: AbstractNorm,
    label: str,
    proved: PerRecord,
) -> tuple[Row, MarginPath]:
    """One norm's row of the table, and its path, from what the run has proved."""
    best = catalogue.best(norm)
    norm = best.norm
    least = np.asarray(jnp.min(run.margins, axis=1))
    lengths = np.asarray(run.lengths(norm))
    reached = least / np.where(lengths > 0, lengths, 1.0)
    increment = run.increment()
    gained = _margin(catalogue.problem, increment, norm)
    # the run may know more than the solver, on either side
    lower = max(float(best.margin), float(reached[-1]), gained)
    upper = max(min(float(best.upper_bound), float(proved[-1])), lower)
    unique = catalogue.is_unique(best)
    row = Row(
        norm=norm,
        label=label,
        reached=float(reached[-1]),
        best=lower,
        upper=upper,
        increment_reached=gained,
        cosine=cosine(run.weights[-1], best.weights) if unique else None,
        unique=unique,
        method=best.method,
    )
    path = MarginPath(jnp.asarray(reached / lower), jnp.asarray(reached / proved))
    return row, path


def cosine(u: Weights, v: Weights) -> float:
    """The cosine of the angle between two weight arrays; 0 if one is 0."""
    lengths = float(jnp.linalg.norm(jnp.ravel(u)) * jnp.linalg.norm(jnp.ravel(v)))
    return float(jnp.sum(u * v)) / lengths if lengths > 0 else 0.0


def _margin(problem: LinearClassification, w: Weights, norm: AbstractNorm) -> float:
    length = float(norm(w))
    return float(jnp.min(problem.margins(w))) / length if length > 0 else 0.0
