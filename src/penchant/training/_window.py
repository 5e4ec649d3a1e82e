"""What a run would do next, a step at a time: the gradients of a window of steps."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from penchant._checks import check_count, check_instance
from penchant._types import Parameters
from penchant.problems import AbstractProblem, ScaledGradient
from penchant.training._loop import Rule, RunState, block_length, tables, within
from penchant.training._trajectory import Trajectory


class Window(eqx.Module):
    r"""Means over `blocks` of consecutive steps that follow a run, leading axis `b`.

    `weights` are means of the weights, `gradients` of the whole loss's gradients there,
    for classifiers each divided by the loss itself, that is of $\nabla\log\mathcal L$,
    so that a loss that falls across the window doesn't leave all the weight to its
    first steps. Label noise is in the steps and not in these gradients.
    """

    weights: Parameters
    gradients: Parameters
    steps: int = eqx.field(static=True)


def window(run: Trajectory, *, steps: int, blocks: int = 16) -> Window:
    """Go on with a run, which stays as it is, and average weights and gradients.

    Args:
        run: A run of `train`, which goes on with its own batches and step sizes.
        steps: About how many steps; a multiple of `blocks` is made.
        blocks: In how many blocks they are averaged, for an error from their spread.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a count is below 1.
    """
    check_instance("run", run, Trajectory, "a Trajectory of penchant.train")
    blocks = check_count("blocks", blocks)
    length = max(1, check_count("steps", steps) // blocks)
    weights, gradients = _blocks(run.rule, run.state, blocks, length)
    return Window(weights, gradients, blocks * length)


@eqx.filter_jit
def _blocks(rule: Rule, state: RunState, blocks: int, length: int) -> Any:
    problem = rule.problem
    tabled = block_length(rule.batching, problem.samples)

    def one_step(carry: Any, _: None) -> Any:
        state, seen, w, g = carry
        seen = jax.lax.cond(
            state.step % tabled == 0, lambda: tables(rule, state.step), lambda: seen
        )
        state = within(rule, state, seen, state.step + 1, False)
        add = lambda total, x: jax.tree.map(lambda a, b: a + b / length, total, x)
        g = add(g, _relative(problem, state))
        return (state, seen, add(w, state.weights), g), None

    def one_block(carry: Any, _: None) -> Any:
        zero = jax.tree.map(jnp.zeros_like, state.weights)
        carry, _ = jax.lax.scan(one_step, (*carry, zero, zero), None, length=length)
        *carry, w, g = carry
        return tuple(carry), (w, g)

    first = tables(rule, (state.step // tabled) * tabled)
    _, means = jax.lax.scan(one_block, (state, first), None, length=blocks)
    return means


def _relative(problem: AbstractProblem, state: RunState) -> Parameters:
    """The gradient over the loss; the plain gradient where a loss may be negative."""
    g: ScaledGradient = problem.scaled_gradient(state.weights)
    log_scale: Float[Array, ""] = g.log_scale
    if problem.in_logs:
        log_scale = log_scale - problem.recorded(state.weights)
    factor = jnp.exp(log_scale)
    return jax.tree.map(lambda d: d * factor, g.direction)
