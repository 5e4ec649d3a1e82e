"""When what is measured: by costs seen on the first steps, and fixed from then on."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from penchant._checks import check_instance

DEFAULT = ("state", "sharpness", "edge", "memory", "margins")
"""Read-outs of a probe: `state` needs no model, the others a loss and batches."""

OPTIONAL = ("hessian_trace",)
"""Dearer ones, measured where asked for."""

STATE_EVERY, EARLY = 20, (1, 2, 5, 10)
"""Steps of the state tier."""

FIRST, RATIO, LAST = 10, 3, 10**12
"""Curvature is measured after 10·3^k steps."""

LAGS = (1, 3, 10, 30)
"""Steps after which a gradient is looked at again."""

EDGE_EVERY = 3
"""Of how many probes one has the edge, where all of them would be too dear."""

FEWEST = 3
"""Probes that a short run gets all the same: start, middle and end."""


def check_readouts(readouts: Sequence[str]) -> tuple[str, ...]:
    """The names asked for, each known.

    Raises:
        TypeError: If they are no names.
        ValueError: If one is unknown.
    """
    check_instance("readouts", readouts, (list, tuple), "a list of names")
    known = (*DEFAULT, *OPTIONAL)
    for name in readouts:
        if name not in known:
            raise ValueError(f"readouts must be of {', '.join(known)}; got {name!r}.")
    return tuple(dict.fromkeys(readouts))


def state_due(step: int) -> bool:
    """Whether the state tier looks at this step."""
    return step in EARLY or step % STATE_EVERY == 0


@dataclasses.dataclass
class Plan:
    """Steps of the curvature tier; `edge` those that have the edge as well.

    Before costs are known there is the first probe alone.
    """

    steps: tuple[int, ...] = (FIRST,)
    edge: tuple[int, ...] = (FIRST,)
    examples: int = 0
    why: str = ""
    made: bool = False

    def due(self, step: int) -> bool:
        """Whether curvature is measured after this step."""
        return step in self.steps

    def to_dict(self) -> dict[str, Any]:
        """What `run.json` keeps, so that a run that goes on measures alike."""
        near = lambda steps: [s for s in steps if s < LAST]
        return {
            "steps": near(self.steps),
            "edge": near(self.edge),
            "examples": self.examples,
            "why": self.why,
        }

    @classmethod
    def read(cls, kept: Mapping[str, Any] | None) -> "Plan | None":
        """A plan from `run.json`; None where that has none."""
        if not kept or not kept.get("steps"):
            return None
        return cls(
            tuple(kept["steps"]),
            tuple(kept["edge"]),
            int(kept["examples"]),
            str(kept["why"]),
            True,
        )


def candidates(total: int | None) -> list[int]:
    """10, 30, 90, … up to the end of the run."""
    found, step = [], FIRST
    while step < (LAST if total is None else total):
        found.append(step)
        step *= RATIO
    if total is not None and total >= FIRST:
        found.append(total)
    return found


def make_plan(
    seconds: Mapping[str, float],
    step_seconds: float,
    overhead: float,
    total: int | None,
    examples: int,
    most: int,
) -> tuple[Plan, int]:
    """The plan for a budget, and by which factor the probe set may grow.

    Args:
        seconds: What each read-out took at the first probe.
        step_seconds: Of a training step.
        overhead: Share of the run's time that probes may take.
        total: Steps of the run, None if unknown: then a probe is due once the steps
            before have earned it.
        examples: Of the probe set.
        most: Examples that it could have.
    """
    heavy = seconds.get("edge", 0.0)
    light = sum(seconds.values()) - heavy
    unit = max(step_seconds, 1e-9)
    if total is None:
        steps, edge, spent = [], [], 0.0
        for i, step in enumerate(candidates(None)):
            cost = light + heavy * (i % EDGE_EVERY == 0)
            # the first is done; that it was dear is earned before the next
            if i == 0 or spent + cost <= overhead * step * unit:
                steps.append(step)
                spent += cost
                if i % EDGE_EVERY == 0:
                    edge.append(step)
        why = "due when the steps before have earned it (total_steps is not known)"
        return Plan(tuple(steps), tuple(edge), examples, why, True), 1
    wanted, budget = candidates(total), overhead * total * unit
    n = len(wanted)
    if n * (light + heavy) <= budget:
        factor = 1
        while (
            2 * factor * n * (light + heavy) <= budget and 2 * factor * examples <= most
        ):
            factor *= 2
        plan = Plan(tuple(wanted), tuple(wanted), examples * factor, "all fit", True)
        return plan, factor
    third = wanted[::EDGE_EVERY]
    if n * light + len(third) * heavy <= budget:
        why = f"the edge at every {EDGE_EVERY}rd probe, to stay within the overhead"
        return Plan(tuple(wanted), tuple(third), examples, why, True), 1
    each = light + heavy / EDGE_EVERY
    count = int(budget / each) if each > 0 else n
    why = "fewer probes, to stay within the overhead"
    if count < FEWEST:
        count = FEWEST
        share = FEWEST * each / (total * unit)
        why = (
            f"the run is short for what a probe costs: start, middle and end take "
            f"about {100 * share:.0f} % of its time"
        )
    places = [round(i * (n - 1) / max(count - 1, 1)) for i in range(count)]
    steps = [wanted[i] for i in sorted(set(places))]
    return Plan(tuple(steps), tuple(steps[::EDGE_EVERY]), examples, why, True), 1


def worth_a_last_one(
    plan: Plan, step: int, done: int, cost: float, gone: float, overhead: float
) -> bool:
    """Whether `finish` measures once more, where the run has ended."""
    if step < 1:
        return False
    within = cost * (done + 1) <= overhead * gone
    return done < FEWEST or (within and not math.isinf(cost))
