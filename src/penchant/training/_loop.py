"""The one compiled loop: any problem, optimizer, step sizes and batching."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from penchant._types import Parameters, Scalar
from penchant.optimizers import AbstractOptimizer
from penchant.training._inline import call_inlined, can_inline
from penchant.training.batching import AbstractBatching, Batches
from penchant.training.schedules import Schedule, table


class RunState(eqx.Module):
    """All that a run carries from step to step; `step` counts updates done."""

    step: Any
    weights: Parameters
    optimizer: Any


class Rule(eqx.Module):
    """What is run: everything but the state."""

    problem: Any
    optimizer: AbstractOptimizer
    schedule: Schedule
    batching: AbstractBatching
    key: PRNGKeyArray


def block_length(batching: AbstractBatching, samples: int) -> int:
    """Steps whose batches and step sizes are tabulated at once.

    Long enough to amortise drawing an epoch's order, short enough that the tables
    stay small.
    """
    size = getattr(batching, "size", 1)
    per_epoch = batching.steps_per_epoch(samples)
    wanted = max(1024, per_epoch // 2)
    return max(1, min(wanted, (1 << 18) // size))


def start(rule: Rule, w: Parameters) -> RunState:
    """The state before the first step."""
    memory = jax.tree.map(_strong, rule.optimizer.init(w))
    return RunState(jnp.zeros((), jnp.int64), w, memory)


def _strong(leaf: Any) -> Any:
    """A leaf of the type it has after a step: of another, the loop compiles twice."""
    return jnp.asarray(leaf, leaf.dtype) if getattr(leaf, "weak_type", False) else leaf


def advance(
    rule: Rule, state: RunState, until: Int[Array, ""], inline: bool
) -> tuple[RunState, Scalar]:
    """Do steps up to number `until`; the state there and the log of the mean loss.

    Blocks start at multiples of their length, so that a table's entry is computed in
    the same lane whatever step a call starts from: runs resume bit by bit.
    """
    samples = rule.problem.samples
    length = block_length(rule.batching, samples)
    # which entries exist is known here; in the loop only arrays go round
    arrays, frozen = eqx.partition((rule.problem, rule.optimizer), eqx.is_array)

    def one_block(state: RunState) -> RunState:
        begin = (state.step // length) * length
        etas = table(rule.schedule, begin, length)
        batches = rule.batching.batches(rule.key, begin, length, samples)
        first = state.step - begin
        last = jnp.minimum(begin + length, until) - begin
        loop = functools.partial(_steps, frozen)
        arguments = (arrays, etas, batches, first, last, state.weights, state.optimizer)
        if inline and can_inline(loop, *arguments):
            weights, memory = call_inlined(loop, *arguments)
        else:
            weights, memory = loop(*arguments)
        return RunState(begin + last, weights, memory)

    state = jax.lax.while_loop(lambda s: s.step < until, one_block, state)
    return state, rule.problem.log_loss(state.weights)


def _steps(
    frozen: Any,
    arrays: Any,
    etas: Float[Array, " t"],
    batches: Batches | None,
    first: Int[Array, ""],
    last: Int[Array, ""],
    w: Parameters,
    memory: Any,
) -> tuple[Parameters, Any]:
    problem, optimizer = eqx.combine(arrays, frozen)

    def one(carry: Any) -> Any:
        j, w, memory = carry
        rows = row_weights = None
        if batches is not None:
            rows = _row(batches.rows, j)
            if batches.weights is not None:
                row_weights = _row(batches.weights, j)
        gradient = problem.scaled_gradient(w, rows, row_weights)
        w, memory = optimizer.update(gradient, memory, w, _row(etas, j))
        return j + 1, w, memory

    _, w, memory = jax.lax.while_loop(lambda c: c[0] < last, one, (first, w, memory))
    return w, memory


def _row(table: Array, j: Int[Array, ""]) -> Array:
    return jax.lax.dynamic_index_in_dim(table, j, keepdims=False)


advance_jit = eqx.filter_jit(advance)
