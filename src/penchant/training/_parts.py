"""A part of a sweep as a task of its own, for whichever process runs it."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from penchant._types import Parameters
from penchant.training._grid import Axis
from penchant.training._lanes import Vectorised, cores
from penchant.training._loop import Rule
from penchant.training._store import Layout
from penchant.training._train import Runner


@dataclasses.dataclass(frozen=True)
class Plan:
    """What all parts of a sweep share.

    Args:
        rule: What is run.
        initial: Initial weights of lanes that vary none.
        axes: Of the grid.
        at: Numbers of the steps recorded.
        layout: What is recorded, with its shapes.
        size: Lanes in a group.
        threads: Cores that a part may use; None for all of the machine.
    """

    rule: Rule
    initial: Parameters
    axes: list[Axis]
    at: np.ndarray
    layout: Layout
    size: int
    threads: int | None = None

    @property
    def steps(self) -> int:
        """Number of updates."""
        return int(self.at[-1])

    def vectorised(self, points: Sequence[dict[str, Any]]) -> Vectorised:
        """The compiled calls for lanes at these grid points."""
        threads = cores() if self.threads is None else self.threads
        return Vectorised(self.rule, self.initial, points, self.size, threads)


@dataclasses.dataclass(frozen=True, order=True)
class Part:
    """Consecutive lanes of a box, whole groups, from number `first` on."""

    box: int
    first: int
    points: list[dict[str, Any]] = dataclasses.field(compare=False)

    def __str__(self) -> str:
        last = self.first + len(self.points) - 1
        return f"lanes {self.first} to {last} of box {self.box} of the sweep"


@dataclasses.dataclass(frozen=True)
class Result:
    """A part's records, each array with axes of lanes and records, and its time."""

    records: dict[str, np.ndarray]
    seconds: float


def run_part(plan: Plan, part: Part) -> Result:
    """All steps of a part's lanes."""
    begun = time.monotonic()
    call = plan.vectorised(part.points)
    runner = Runner(plan.rule, call.advance)
    states: Any = call.start()
    records = []
    while (step := int(states.step)) < plan.steps:
        due = int(plan.at[np.searchsorted(plan.at, step, side="right")])
        states, _ = runner(states, due)
        if int(states.step) == due:
            records.append(call.record(states, plan.layout))
    stacked = {
        name: np.stack([record[name] for record in records], axis=1)
        for name in plan.layout
    }
    return Result(stacked, time.monotonic() - begun)
