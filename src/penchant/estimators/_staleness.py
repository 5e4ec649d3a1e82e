"""How soon a gradient is out of date: what memory assumes, measured on a run."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from penchant._checks import check_count, check_instance
from penchant._keys import as_key
from penchant._types import Key, Parameters, Tree
from penchant.measures import Estimate
from penchant.problems import AbstractProblem
from penchant.training import Trajectory, train
from penchant.training.schedules import later

STALE = 0.5
"""A gradient that has changed by more of itself is another one."""


class Staleness(eqx.Module):
    r"""$\|\nabla L_b(w_n)-\nabla L_b(w_{n-k})\|/\|\nabla L_b(w_{n-k})\|$ by lag $k$.

    `lags` `(l,)` and the ratio at each, `values`, with its standard error over batches.
    `memory` is how many steps the rule's first moment looks back on average, None where
    the rule does not say. No assumption is in it: it decides before any formula whether
    past gradients are still those of here.
    """

    lags: tuple[int, ...] = eqx.field(static=True)
    values: tuple[Estimate, ...]
    memory: float | None = eqx.field(static=True)

    @property
    def stale_after(self) -> int | None:
        """The first lag measured at which the ratio is above one half."""
        for lag, value in zip(self.lags, self.values, strict=True):
            if value.value > STALE:
                return lag
        return None

    @property
    def outlived(self) -> bool | None:
        """Whether memory is longer than gradients are fresh; None if it can't be told.

        An expansion in past gradients is then none.
        """
        if self.memory is None:
            return None
        if self.stale_after is None:
            return False if self.lags[-1] >= self.memory else None
        return self.stale_after <= max(1.0, self.memory)

    def __repr__(self) -> str:
        ratios = ", ".join(
            f"{value.value:.2g} after {lag}"
            for lag, value in zip(self.lags, self.values, strict=True)
        )
        said = f"Staleness({ratios} steps"
        if self.memory is not None:
            said += f"; memory averages {self.memory:.3g}"
        return said + ")"


def staleness(
    run: Trajectory,
    *,
    lags: Sequence[int] = (1, 3, 10, 30),
    batches: int = 4,
    key: Key = 0,
) -> Staleness:
    r"""How much the gradient of the same batch changes while a run goes on.

    The run goes on for as many steps as the longest lag, with its memory, batching and
    step sizes (it stays as it is); gradients of `batches` batches at its end are
    compared with those of the same batches so much earlier. With full batches there is
    one, and no error.

    >>> import jax.numpy as jnp, penchant as pn
    >>> bowl = pn.Objective(lambda w, a: (a @ w) ** 2 / 2, jnp.ones(1), jnp.eye(1))
    >>> run = pn.train(bowl, "gd", steps=5, step_size=0.1)
    >>> pn.estimators.staleness(run, lags=(1, 3))
    Staleness(0.1 after 1, 0.27 after 3 steps; memory averages 0)

    Args:
        run: A run, as `train` returns it.
        lags: Numbers of steps, ascending.
        batches: How many batches are compared.
        key: Seed of these.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If `lags` are not ascending, or below 1.
    """
    check_instance("run", run, Trajectory, "a Trajectory of penchant.train")
    found = tuple(check_count("lags", lag) for lag in lags)
    if not found or any(a >= b for a, b in itertools.pairwise(found)):
        raise ValueError(f"lags must be ascending, at least one; got {lags!r}.")
    count = check_count("batches", batches)
    rule, longest = run.rule, found[-1]
    on = train(
        rule.problem,
        rule.optimizer,
        steps=longest + 1,
        step_size=later(rule.schedule, int(run.state.step)),
        batching=rule.batching,
        key=jax.random.fold_in(as_key(key), 1),
        record=longest + 1,
        progress=False,
        after=run,
    )
    path = jax.tree.map(
        lambda a, b: jnp.concatenate([jnp.asarray(a)[None], jnp.asarray(b)]),
        run.state.weights,
        on.weights,
    )
    problem = rule.problem
    rows: Any = None
    if rule.batching.covers(problem.samples) is not True:
        size = rule.batching.size_of(problem.samples)
        draws = [
            jax.random.choice(k, problem.samples, (size,), replace=False)
            for k in jax.random.split(as_key(key), count)
        ]
        rows = jnp.stack(draws)
    last = jax.tree.map(lambda x: x[-1], path)
    values = []
    for lag in found:
        then = jax.tree.map(lambda x, k=lag: x[-1 - k], path)
        ratios = np.asarray(_ratios(problem, last, then, rows))
        error = 0.0
        if len(ratios) > 1:
            error = float(np.std(ratios, ddof=1) / math.sqrt(len(ratios)))
        how = f"{len(ratios)} batches" if rows is not None else "all samples"
        values.append(
            Estimate(
                float(np.mean(ratios)),
                error,
                exact=rows is None,
                how=how,
                n=None if rows is None else len(ratios),
            )
        )
    what = rule.optimizer.character()
    memory = None
    if what.known:
        memory = what.b1 / (1.0 - what.b1)
    return Staleness(found, tuple(values), memory)


@eqx.filter_jit
def _ratios(
    problem: AbstractProblem, now: Parameters, then: Parameters, rows: Tree
) -> Any:
    def one(rows: Tree) -> Any:
        a = problem.scaled_gradient(now, rows)
        b = problem.scaled_gradient(then, rows)
        same = jnp.exp(a.log_scale - b.log_scale)
        a, b = problem.flat(a.direction) * same, problem.flat(b.direction)
        return jnp.linalg.norm(a - b) / jnp.linalg.norm(b)

    return one(None)[None] if rows is None else jax.lax.map(one, rows)
