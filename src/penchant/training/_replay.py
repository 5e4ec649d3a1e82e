"""A run made again, to have what it did not record: weights and gradients."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from penchant._checks import check_count, check_instance
from penchant._types import Parameters, Tree
from penchant.problems import AbstractProblem
from penchant.training._loop import (
    Rule,
    RunState,
    advance_jit,
    block_length,
    start,
    tables,
    within,
)
from penchant.training._trajectory import Trajectory
from penchant.training.schedules import LossBased


class Replayed(eqx.Module):
    r"""Consecutive steps of a run, numbers `first` to `first + t - 1`, counted from 0.

    `weights` (leading axis `t + 1`) are those before each step, and after the last;
    `gradients` (leading axis `t`) are of the batch that the step saw, at its weights;
    `step_sizes` is `(t,)`. Gradients are by value: 0 below $10^{-308}$.
    """

    weights: Parameters
    gradients: Parameters
    step_sizes: Float[Array, " t"]
    first: int = eqx.field(static=True)

    @property
    def steps(self) -> int:
        """How many there are."""
        return self.step_sizes.shape[0]


def replay(
    run: Trajectory,
    *,
    steps: int,
    first: int = 0,
    problem: AbstractProblem | None = None,
) -> Replayed:
    """Make part of a run again and keep every step of it.

    Batches, step sizes and noise are those of the run, and so are the weights but for
    rounding; a run records few of them, since `steps` times the parameters have to fit
    into memory.

    >>> import penchant as pn
    >>> problem = pn.datasets.gaussian(8, 30, seed=0).problem()
    >>> rule = pn.optimizers.GradientDescent()
    >>> run = pn.train(problem, rule, steps=50, step_size=0.1)
    >>> pn.training.replay(run, steps=5, first=10).weights.shape
    (6, 30)

    Args:
        run: A run of `train`.
        steps: How many.
        first: The first of them, counted from 0.
        problem: Whose gradients are taken, with the run's weights and batches; None for
            the run's own.

    Raises:
        TypeError: If an argument is of the wrong kind, or the run's step sizes follow
            its loss.
        ValueError: If the run has not as many steps, or went on from another's memory
            (`train(after=)`), or the problem has other samples.
    """
    check_instance("run", run, Trajectory, "a Trajectory of penchant.train")
    steps, first = check_count("steps", steps), check_count("first", first, least=0)
    rule = run.rule
    if isinstance(rule.schedule, LossBased):
        raise TypeError(
            "run must have step sizes that are a function of the step; loss-based ones "
            "undo epochs."
        )
    made = int(run.state.step)
    if first + steps > made:
        raise ValueError(
            f"first + steps must be at most the {made} made; got {first + steps}."
        )
    loss = rule.problem if problem is None else problem
    check_instance("problem", loss, AbstractProblem, "a problem of penchant")
    if loss.samples != rule.problem.samples:
        raise ValueError(
            f"problem must have the run's {rule.problem.samples} samples, for its "
            f"batches; got {loss.samples}."
        )
    state = start(rule, run.initial)
    _check_start(run, state)
    if first:
        state, _ = advance_jit(rule, state, jnp.asarray(first), False)
    weights, gradients, etas = _made(rule, loss, state, steps)
    return Replayed(weights, gradients, etas, first)


def _check_start(run: Trajectory, state: RunState) -> None:
    """A stage that went on with another run's memory can't be begun without it."""
    if int(run.steps[0]) != 1:
        return
    after, _ = advance_jit(run.rule, state, jnp.asarray(1), False)
    pairs = zip(
        jax.tree.leaves(after.weights), jax.tree.leaves(run.weights), strict=True
    )
    for again, record in pairs:
        if not bool(jnp.allclose(again, record[0], rtol=1e-9, atol=1e-12)):
            raise ValueError(
                "run must start without a memory: its first step is another than that "
                "of its rule, as of a stage made with after=."
            )


@eqx.filter_jit
def _made(rule: Rule, loss: AbstractProblem, state: RunState, steps: int) -> Any:
    tabled = block_length(rule.batching, loss.samples)

    def one(carry: Tree, _: None) -> Tree:
        state, seen = carry
        seen = jax.lax.cond(
            state.step % tabled == 0, lambda: tables(rule, state.step), lambda: seen
        )
        j = state.step - seen.begin
        rows = row_weights = None
        if seen.batches is not None:
            rows = seen.batches.rows[j]
            if seen.batches.weights is not None:
                row_weights = seen.batches.weights[j]
        key = jax.random.fold_in(rule.key, state.step) if loss.random else None
        g = loss.scaled_gradient(state.weights, rows, row_weights, key).value()
        kept = (state.weights, g, seen.etas[j])
        return (within(rule, state, seen, state.step + 1, False), seen), kept

    first = tables(rule, (state.step // tabled) * tabled)
    (state, _), (weights, gradients, etas) = jax.lax.scan(
        one, (state, first), None, length=steps
    )
    add = lambda x, last: jnp.concatenate([x, last[None]])
    return jax.tree.map(add, weights, state.weights), gradients, etas
