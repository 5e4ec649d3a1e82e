"""Loss-based step sizes inside the loop: try an epoch, keep it or undo it."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from penchant._types import Parameters, Scalar, Tree
from penchant.problems import AbstractProblem, ScaledGradient
from penchant.training.schedules import LossBased

LOWEST = -1e12
"""Below this log-loss margins differ by less than their rounding: nothing to learn."""


STEEPEST = 100.0
"""Log of the largest gradient, over the loss, that a step follows."""


class Pace(eqx.Module):
    r"""The rate $\alpha$, and where the epoch under way started, with its log-loss."""

    rate: Scalar
    log_loss: Scalar
    weights: Parameters


def first_pace(problem: AbstractProblem, steps: LossBased, w: Parameters) -> Pace:
    """Before the first epoch."""
    return Pace(jnp.asarray(steps.scale), _log_loss(problem, w), w)


def _log_loss(problem: AbstractProblem, w: Parameters) -> Scalar:
    recorded = problem.recorded(w)
    return recorded if problem.in_logs else jnp.log(recorded)


def relative(
    gradient: ScaledGradient, pace: Pace, steps: LossBased, samples: int
) -> ScaledGradient:
    """The gradient over the loss with which its epoch started.

    Batches late in an epoch that went wrong may be e^1000 times as large. One step
    along such a batch alone can separate easy data by a margin that nothing later
    turns, so where the rate has an end a batch counts no more than if it had all of the
    loss, n times the mean. Without, the epoch is judged as it is, and weights stay
    finite.
    """
    most = jnp.where(jnp.isfinite(steps.largest), math.log(samples) + 1.0, STEEPEST)
    log_scale = jnp.minimum(gradient.log_scale - pace.log_loss, most)
    return ScaledGradient(gradient.direction, log_scale)


def judge(
    problem: AbstractProblem,
    steps: LossBased,
    pace: Pace,
    w: Parameters,
    memory: Tree,
    empty: Tree,
) -> tuple[Parameters, Any, Pace]:
    """At the end of an epoch: go on from here if the loss fell, else from its start.

    Then without the memory of gradients: momentum that once points uphill does so
    however small the rate becomes, and nothing would move again.
    """
    log_loss = _log_loss(problem, w)
    fell = (log_loss < pace.log_loss) & (log_loss > LOWEST)
    keep = lambda new, old: jax.tree.map(lambda a, b: jnp.where(fell, a, b), new, old)
    w, memory = keep(w, pace.weights), keep(memory, empty)
    grown = jnp.minimum(pace.rate * steps.grow, jnp.maximum(steps.largest, pace.rate))
    rate = jnp.where(fell, grown, pace.rate / steps.shrink)
    return w, memory, Pace(rate, jnp.where(fell, log_loss, pace.log_loss), w)
