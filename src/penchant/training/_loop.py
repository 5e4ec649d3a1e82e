"""The one compiled loop: any problem, optimizer, step sizes and batching."""

import functools
from collections.abc import Hashable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt32

from penchant._types import Parameters, Scalar, Tree
from penchant.optimizers import AbstractOptimizer
from penchant.training._inline import call_inlined, can_inline, over_lanes
from penchant.training._pace import Pace, first_pace, judge, relative
from penchant.training.batching import AbstractBatching, Batches
from penchant.training.schedules import LossBased, Schedule, table


class RunState(eqx.Module):
    """All that a run carries from step to step; `step` counts updates done.

    `pace` is what loss-based step sizes carry, None with any others.
    """

    step: Any
    weights: Parameters
    optimizer: Any
    pace: Any = None


class States(NamedTuple):
    """The states of groups of lanes, each with a leading axis of lanes."""

    groups: list[RunState]

    @property
    def step(self) -> Any:
        """The step that all of them have reached."""
        return self.groups[0].step


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
    size = max(1, batching.size_of(samples))
    per_epoch = batching.steps_per_epoch(samples)
    wanted = max(1024, per_epoch // 2)
    return max(1, min(wanted, (1 << 18) // size))


ORDER = 0x6F72646
"""Folded into the key of a random problem's run for the order of its samples."""


def order_key(rule: Rule) -> PRNGKeyArray:
    """What batches are drawn from: the key of the run.

    A random problem draws from `fold_in(key, step)` itself; the order of samples then
    has a stream of its own, or a batch's noise would tell which samples are in it.
    """
    return jax.random.fold_in(rule.key, ORDER) if rule.problem.random else rule.key


def start(rule: Rule, w: Parameters) -> RunState:
    """The state before the first step."""
    memory = jax.tree.map(_strong, rule.optimizer.init(w))
    pace = None
    if isinstance(rule.schedule, LossBased):
        pace = first_pace(rule.problem, rule.schedule, w)
    return RunState(jnp.zeros((), jnp.int64), w, memory, pace)


def _strong(leaf: Tree) -> Any:
    """A leaf of the type it has after a step: of another, the loop compiles twice."""
    return jnp.asarray(leaf, leaf.dtype) if getattr(leaf, "weak_type", False) else leaf


def advance(
    rule: Rule, state: RunState, until: Int[Array, ""], inline: bool
) -> tuple[RunState, Scalar]:
    """Do steps up to number `until`; the state there and what is recorded of the loss.

    Blocks start at multiples of their length, so that a table's entry is computed in
    the same lane whatever step a call starts from: runs resume bit by bit.
    """
    length = block_length(rule.batching, rule.problem.samples)

    # lanes that draw their own samples have their own matrices to multiply
    first = tables(rule, jnp.zeros((), jnp.int64)).batches
    products = not over_lanes((rule, state)) or over_lanes(first)

    def one_block(state: RunState) -> RunState:
        begin = (state.step // length) * length
        return within(rule, state, tables(rule, begin), until, inline, products)

    state = jax.lax.while_loop(lambda s: s.step < until, one_block, state)
    return state, rule.problem.recorded(state.weights)


class Tables(eqx.Module):
    """Step sizes and batches of a block of steps, from number `begin` on."""

    begin: Int[Array, ""]
    etas: Float[Array, " t"]
    batches: Batches | None


def tables(rule: Rule, begin: Int[Array, ""]) -> Tables:
    """The tables of the block that begins there, a multiple of the block's length."""
    samples = rule.problem.samples
    length = block_length(rule.batching, samples)
    etas = table(rule.schedule, begin, length)
    batches = rule.batching.batches(order_key(rule), begin, length, samples)
    return Tables(begin, etas, batches)


def within(
    rule: Rule,
    state: RunState,
    seen: Tables,
    until: Int[Array, ""],
    inline: bool,
    products: bool = True,
) -> RunState:
    """Do steps up to number `until`, or to the end of the tables."""
    steps = rule.schedule if isinstance(rule.schedule, LossBased) else None
    # which entries exist is known here; in the loop only arrays go round
    parts = (rule.problem, rule.optimizer, steps)
    arrays, frozen = eqx.partition(parts, eqx.is_array)
    begin, length = seen.begin, len(seen.etas)
    first = state.step - begin
    last = jnp.minimum(begin + length, until) - begin
    epoch = rule.batching.steps_per_epoch(rule.problem.samples)
    carried = (state.weights, state.optimizer, state.pace)
    # a key goes in as its numbers, as all else does
    key = jax.random.key_data(rule.key) if rule.problem.random else None
    kind = jax.random.key_impl(rule.key) if rule.problem.random else None
    loop = functools.partial(_steps, frozen, epoch, kind)
    arguments = (arrays, seen.etas, seen.batches, key, begin, first, last, carried)
    if inline and can_inline(loop, *arguments, products=products):
        carried = call_inlined(loop, *arguments)
    else:
        carried = loop(*arguments)
    return RunState(begin + last, *carried)


Carried = tuple[Parameters, Any, Pace | None]
"""Weights, the optimizer's memory, and the pace of loss-based steps."""


def _steps(
    frozen: Tree,
    epoch: int,
    kind: Hashable,
    arrays: Tree,
    etas: Float[Array, " t"],
    batches: Batches | None,
    words: UInt32[Array, " k"] | None,
    begin: Int[Array, ""],
    first: Int[Array, ""],
    last: Int[Array, ""],
    carried: Carried,
) -> Carried:
    problem, optimizer, steps = eqx.combine(arrays, frozen)
    key = None if words is None else jax.random.wrap_key_data(words, impl=kind)

    def one(carry: Tree) -> Any:
        j, (w, memory, pace) = carry
        rows = row_weights = None
        if batches is not None:
            rows = _row(batches.rows, j)
            if batches.weights is not None:
                row_weights = _row(batches.weights, j)
        drawn = None if key is None else jax.random.fold_in(key, begin + j)
        gradient = problem.scaled_gradient(w, rows, row_weights, drawn)
        more = {}
        if optimizer.needs_loss:
            more["loss"] = lambda w: problem.batch_loss(w, rows, row_weights, drawn)
        if steps is None:
            w, memory = optimizer.update(gradient, memory, w, _row(etas, j), **more)
            return j + 1, (w, memory, pace)
        gradient = relative(gradient, pace, steps, problem.samples)
        w, memory = optimizer.update(gradient, memory, w, pace.rate, **more)
        ends = (begin + j + 1) % epoch == 0
        after = jax.lax.cond(
            ends,
            lambda: judge(problem, steps, pace, w, memory, optimizer.init(w)),
            lambda: (w, memory, pace),
        )
        return j + 1, after

    start = (first, carried)
    _, carried = jax.lax.while_loop(lambda c: c[0] < last, one, start)
    return carried


def _row(table: Array, j: Int[Array, ""]) -> Array:
    return jax.lax.dynamic_index_in_dim(table, j, keepdims=False)


def through(
    rule: Rule, state: RunState, dues: Int[Array, " k"], inline: bool
) -> tuple[RunState, tuple[Parameters, Float[Array, " k"]]]:
    """Go to each of these steps in turn; the last state, weights and losses at each.

    A number that is not ahead takes no step, and records what was recorded before it.
    """

    def one(carry: Any, due: Int[Array, ""]) -> Any:
        state, log_loss = carry
        carry = jax.lax.cond(
            due > state.step,
            lambda: advance(rule, state, due, inline),
            lambda: (state, log_loss),
        )
        return carry, (carry[0].weights, carry[1])

    unknown = jax.eval_shape(rule.problem.recorded, state.weights)
    first = (state, jnp.full((), jnp.nan, unknown.dtype))
    (state, _), records = jax.lax.scan(one, first, dues)
    return state, records


advance_jit = eqx.filter_jit(advance)
through_jit = eqx.filter_jit(through)
