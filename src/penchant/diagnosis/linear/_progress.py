"""Where a run stands: arrived, on its way, stalled, or not yet there at all."""

import enum

import jax
import jax.numpy as jnp
import numpy as np

from penchant.diagnosis.linear._measure import Row
from penchant.estimators import Convergence
from penchant.training import Outcome, Trajectory

FLOOR = 0.02
"""A gap below which nobody asks whether it still falls."""

GROWN = 2.0
"""Growth of the weights over the last decade of steps from which a ratio that has
not risen will not: what was there before is less than half of them."""

RISES = 5.0
"""Standard errors of a gap's exponent from which its share rises beyond doubt."""

SWINGS = 0.2
"""Share of a loss's movement that is upward from which steps overshoot."""


class Progress(enum.Enum):
    """How a run is getting on with the margin it has most of.

    `SHORT` is not separated with a loss that falls, `SWINGING` with one that goes up as
    it goes down; `STALLED` is separated, with a ratio that no longer rises.
    """

    SHORT = "too short, or its steps too small"
    SWINGING = "its steps overshoot"
    RISING = "on its way"
    STALLED = "stalled"
    ARRIVED = "arrived"
    STOPPED = "diverged"


def progress(run: Trajectory, leader: Row, fit: Convergence) -> Progress:
    """Where the run stands, by its loss, its leading ratio and its weights."""
    if run.outcome is Outcome.DIVERGED:
        return Progress.STOPPED
    if leader.reached <= 0:
        return Progress.SWINGING if _swings(run) else Progress.SHORT
    if fit.gap <= fit.target:
        return Progress.ARRIVED
    flat = fit.exponent <= 2.0 * min(fit.error, 0.05)
    # what the weights gained in half of the run points elsewhere: they overshoot,
    # unless the share rises all the same, as while one sample is still behind
    rises = fit.exponent > max(RISES * fit.error, 0.1)
    astray = leader.increment_ratio < 0.5 * leader.ratio and not rises
    if fit.gap > FLOOR and (flat or astray) and _growth(run) > GROWN:
        return Progress.STALLED
    return Progress.RISING


def _growth(run: Trajectory) -> float:
    lengths = np.asarray(jax.lax.map(lambda w: jnp.sqrt(jnp.sum(w**2)), run.weights))
    return float(lengths[-1] / max(lengths[_decade(run)], 1e-300))


def _swings(run: Trajectory) -> bool:
    """Whether the loss rises nearly as much as it falls over the last decade."""
    moves = np.diff(np.asarray(run.log_loss)[_decade(run) :])
    moves = moves[np.isfinite(moves)]
    total = np.abs(moves).sum()
    return bool(total > 0 and moves[moves > 0].sum() > SWINGS * total)


def _decade(run: Trajectory) -> int:
    steps = np.asarray(run.steps)
    return min(int(np.searchsorted(steps, steps[-1] / 10.0)), len(steps) - 1)
