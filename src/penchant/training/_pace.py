"""Loss-based step sizes inside the loop: try an epoch, keep it or undo it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from penchant._types import Parameters, Scalar, Tree
from penchant.problems import AbstractProblem, ScaledGradient
from penchant.training.schedules import LossBased

LOWEST = -1e12
"""Below this log-loss margins differ by less than their rounding: nothing to learn."""


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


def relative(gradient: ScaledGradient, pace: Pace) -> ScaledGradient:
    """The gradient over the loss with which its epoch started."""
    return ScaledGradient(gradient.direction, gradient.log_scale - pace.log_loss)


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
    rate = jnp.where(fell, pace.rate * steps.grow, pace.rate / steps.shrink)
    return w, memory, Pace(rate, jnp.where(fell, log_loss, pace.log_loss), w)
