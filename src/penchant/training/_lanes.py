"""Lanes of a sweep, run in groups whose make-up hangs on the sweep alone.

A lane's last bits can depend on how many others its loop was compiled with. Groups are
cut from the grid in one way, whatever the number of cores, workers and boxes, and every
group is one call of the same program; so a lane has the same bits wherever it runs.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from penchant._types import Parameters, Tree
from penchant.problems import AbstractClassification, AbstractProblem
from penchant.training._grid import lanes
from penchant.training._loop import Rule, RunState, States, advance, start
from penchant.training._store import Layout

MOST_LANES = 64
"""Lanes of a group on a CPU: XLA emits a loop over more no longer as one function."""

FEWEST_LANES = 8
"""Lanes of a group at least, where a sweep has as many."""

GROUPS = 8
"""Groups into which a small sweep is cut, so that several cores have some."""

_STATE_AXES: Any = RunState(None, 0, 0, 0)


def group_size(count: int) -> int:
    """Lanes that run as one group, in a sweep of `count` lanes."""
    if jax.default_backend() != "cpu":
        return count
    return min(count, MOST_LANES, max(FEWEST_LANES, -(-count // GROUPS)))


def cores() -> int:
    """Those that this process may run on: two threads on one core wait in turns."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Vectorised:
    """The compiled calls for some lanes, in groups; on a CPU one thread takes each.

    A loop that is compiled as one function runs on a single core by itself. The last
    group is filled up with copies of its last lane, which nobody sees.

    Args:
        rule: What is run.
        initial: Initial weights of lanes that vary none.
        points: A grid point a lane.
        size: Lanes in a group.
        threads: On how many cores groups run at once.
    """

    def __init__(
        self,
        rule: Rule,
        initial: Tree,
        points: Sequence[dict[str, Any]],
        size: int,
        threads: int,
    ):
        self.count, self.size = len(points), size
        filled = [*points, *[points[-1]] * (-len(points) % size)]
        cut = [filled[at : at + size] for at in range(0, len(filled), size)]
        self.parts = [lanes(rule, initial, part) for part in cut]
        self.threads = min(threads, len(self.parts))
        rule_axes = self.parts[0].rule_axes
        self._start = eqx.filter_vmap(
            start, in_axes=(rule_axes, 0), out_axes=_STATE_AXES
        )
        self._advance = eqx.filter_jit(
            eqx.filter_vmap(
                advance,
                in_axes=(rule_axes, _STATE_AXES, None, None),
                out_axes=(_STATE_AXES, 0),
            )
        )

    def start(self) -> States:
        """The states before the first step."""
        return States([self._start(part.rule, part.initial) for part in self.parts])

    def advance(
        self, rule: Rule, states: States, until: Any, inline: bool
    ) -> tuple[States, np.ndarray]:
        """Do steps up to number `until`; the states, and each lane's recorded loss."""
        del rule  # each group has its own
        run = lambda part, state: jax.block_until_ready(
            self._advance(part.rule, state, until, inline)
        )
        done = self._each(run, self.parts, states.groups)
        losses = np.concatenate([np.asarray(loss) for _, loss in done])
        return States([state for state, _ in done]), losses[: self.count]

    def _each(self, run: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
        if self.threads <= 1:
            return [run(*row) for row in zip(*columns, strict=True)]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(run, *columns))

    def merged(self, states: States) -> RunState:
        """One state of all lanes, as it is kept in a checkpoint."""
        join = lambda *leaves: jnp.concatenate(leaves)[: self.count]
        groups = [(s.weights, s.optimizer, s.pace) for s in states.groups]
        return RunState(states.step, *jax.tree.map(join, *groups))

    def split(self, state: RunState) -> States:
        """The groups' states, from one that was merged."""
        more = len(self.parts) * self.size - self.count
        rest = (state.weights, state.optimizer, state.pace)
        fill = lambda leaf: np.concatenate([leaf, np.repeat(leaf[-1:], more, 0)])
        rest = jax.tree.map(fill, jax.tree.map(np.asarray, rest))
        groups = []
        for at in range(0, len(self.parts) * self.size, self.size):
            cut = lambda x, at=at: jnp.asarray(x[at : at + self.size])
            groups.append(RunState(state.step, *jax.tree.map(cut, rest)))
        return States(groups)

    def record(self, states: States, layout: Layout) -> dict[str, np.ndarray]:
        """What is recorded of every lane, with a leading axis of lanes."""
        problem = self.parts[0].rule.problem
        parts = [recorded(problem, state.weights, layout) for state in states.groups]
        join = lambda name: np.concatenate([part[name] for part in parts])
        return {name: join(name)[: self.count] for name in layout}


def names_of(problem: AbstractProblem) -> tuple[str, str]:
    """What is recorded beside the weights: a margin where there are any."""
    if isinstance(problem, AbstractClassification):
        return "log_loss", "margin"
    return "log_loss", "loss"


def recorded(
    problem: AbstractProblem, w: Parameters, layout: Layout
) -> dict[str, np.ndarray]:
    """The records of lanes with these weights."""
    out = {name: np.asarray(x) for name, x in _measured(problem, w).items()}
    if "weights" in layout:
        flat = w if isinstance(w, jax.Array) else jax.vmap(_flat)(w)
        out["weights"] = np.asarray(flat)
    return out


def _flat(w: Parameters) -> jax.Array:
    return ravel_pytree(w)[0]


@eqx.filter_jit
def _measured(problem: AbstractProblem, w: Tree) -> dict[str, Any]:
    def one(w: Tree) -> dict[str, Any]:
        seen = problem.recorded(w)
        if isinstance(problem, AbstractClassification):
            return {"log_loss": seen, "margin": jnp.min(problem.margins(w))}
        return {"log_loss": jnp.log(seen), "loss": seen}

    return dict(jax.lax.map(one, w, batch_size=MOST_LANES))
