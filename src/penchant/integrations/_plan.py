"""When what is measured: by costs seen on the first steps, and fixed from then on."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from penchant._checks import check_instance

DEFAULT = ("state", "sharpness", "edge", "memory", "margins")
"""Read-outs of a probe: `state` needs no model, the others a loss and batches."""

OPTIONAL = ("hessian_trace", "intervention")
"""Dearer ones, measured where asked for."""

STATE_EVERY, EARLY = 20, (1, 2, 5, 10)
"""Steps of the state tier."""

STATE_SHARE = 0.01
"""Of the run's time that looks may take; where they are dearer they come less often."""

EARNED = 0.009
"""The share that a look more may bring it to, where looks turn out dearer."""

DEARER = 1.5
"""A look later in a run over the first ones, whose code and arrays are at hand."""

FIRST, RATIO, LAST = 10, 3, 10**12
"""Curvature is measured after 10·3^k steps."""

LAGS = (1, 3, 10, 30)
"""Steps after which a gradient is looked at again."""

EDGE_EVERY = 3
"""Of how many probes one has the edge, where all of them would be too dear."""

COLD, WARM = 12, 4
"""Products of Lanczos from a random vector, and from the last probe's."""

THIN, BARE = 8, 2
"""The same where the budget is short, at most and at least: the residual decides."""

MORE, MOST = 2, 3
"""Products of a warm run over the fewest: as planned, and at most; it ends where its
residual is below 5 %."""

LATER = 1.2
"""A product later in a run over those timed first."""

LIGHT, PRODUCT, KEPT = 10.0, 2.5, 20.0
"""Training steps that parts of a probe take, by the arithmetic: light read-outs and a
product, on a set as large as a batch; gradients of batches that are looked at again."""

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


def next_look(step: int, every: int = STATE_EVERY, wait: int = 0) -> int:
    """The first step after `step` that the state tier looks at.

    Those are 1, 2, 5, 10, then 20, 40, 80, … and all multiples of `every` but those
    within `wait` steps.
    """
    for early in EARLY:
        if early > step:
            return early
    double = STATE_EVERY
    while double <= step:
        double *= 2
    return min(double, ((step + wait) // every + 1) * every)


def short_of(spent: float, look: float, own: float, steps: int) -> int:
    """Steps to wait until a look more stays within `EARNED` of the time.

    Args:
        spent: Seconds of the looks so far.
        look: Seconds of one.
        own: Seconds of the steps so far, without a probe's.
        steps: How many these are.
    """
    if own <= 0 or steps < 1:
        return 0
    return max(0, math.ceil((spent + look) / EARNED * steps / own) - steps - 1)


def look_every(look: float, step: float) -> int:
    """Steps between looks: 20, or as many twenties as keep them within 1 % of the time.

    Args:
        look: Seconds of one.
        step: Seconds of a training step.
    """
    if step <= 0:
        return STATE_EVERY
    share = DEARER * look / (STATE_EVERY * step)
    return STATE_EVERY * max(1, math.ceil(share / STATE_SHARE))


@dataclasses.dataclass(frozen=True)
class Costs:
    """Seconds that parts of a probe take; of several optimizers they add up.

    Attributes:
        light: All read-outs but the edge, gradients that are looked at again included.
        fixed: What of that does not grow with the probe set.
        edge: The edge but for its products: graphs, where no other read-out needs them.
        batches: Sharpness along batches of the run's size.
        product: A product with the Hessian of the whole probe set.
        tops: Runs of Lanczos that an edge takes, in products of the whole set.
        colds: Those of them that have no vector to start from yet.
    """

    light: float = 0.0
    fixed: float = 0.0
    edge: float = 0.0
    batches: float = 0.0
    product: float = 0.0
    tops: int = 0
    colds: int = 0

    def __add__(self, other: "Costs") -> "Costs":
        tops = self.tops + other.tops
        # of products that differ: their mean
        weighed = self.product * self.tops + other.product * other.tops
        return Costs(
            self.light + other.light,
            self.fixed + other.fixed,
            self.edge + other.edge,
            self.batches + other.batches,
            weighed / max(tops, 1),
            tops,
            self.colds + other.colds,
        )

    def lights(self, factor: float = 1.0) -> float:
        """A probe without the edge, of a probe set so many times as large."""
        return self.fixed + (self.light - self.fixed) * factor

    def edges(self, count: int, factor: float = 1.0, warm: int = WARM) -> float:
        """The edge of `count` probes in turn, with `warm` products where it can."""
        if not count:
            return 0.0
        cold = COLD if warm >= WARM else THIN
        first = self.colds * cold + (self.tops - self.colds) * warm * MORE
        products = first + (count - 1) * self.tops * warm * MORE
        own = count * self.edge + LATER * products * self.product
        return factor * own + count * self.batches


@dataclasses.dataclass
class Plan:
    """Steps of the curvature tier; `edge` those that have the edge as well.

    Before costs are known there is the first probe alone. `warm` is the number of
    products from a vector that is there, `every` that of steps between looks at the
    state, and `share` what probes will take of the run's time, NaN if not known.
    """

    steps: tuple[int, ...] = (FIRST,)
    edge: tuple[int, ...] = (FIRST,)
    examples: int = 0
    why: str = ""
    made: bool = False
    warm: int = WARM
    every: int = 0
    share: float = math.nan

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
            "made": self.made,
            "warm": self.warm,
            "state_every": self.every,
            "share": self.share if math.isfinite(self.share) else None,
        }

    @classmethod
    def read(cls, kept: Mapping[str, Any] | None) -> "Plan | None":
        """A plan from `run.json`; None where that has none."""
        if not kept or not kept.get("steps"):
            return None
        share = kept.get("share")
        return cls(
            tuple(kept["steps"]),
            tuple(kept["edge"]),
            int(kept["examples"]),
            str(kept["why"]),
            bool(kept.get("made", True)),
            int(kept.get("warm", WARM)),
            int(kept.get("state_every", 0)),
            math.nan if share is None else float(share),
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


def foretold(
    total: int | None,
    overhead: float,
    every: int | None,
    examples: tuple[int, int] | None,
) -> str:
    """What can be said of a plan before the first step: steps, sizes, the budget.

    Args:
        total: Steps of the run, where known.
        overhead: Share of its time that probes may take.
        every: Steps between looks at the state where told; None: 20 or more.
        examples: Least and most examples of the probe set; None: no curvature.
    """
    early = ", ".join(map(str, EARLY))
    often = f"{STATE_EVERY} or more" if every is None else f"{every}"
    looks = f"the state after {early} and every {often} steps"
    if examples is None:
        return looks
    steps = [f"{s:,}" for s in candidates(total)[: None if total else 4]]
    wanted = ", ".join(steps) + ("" if total else ", …")
    low, high = examples
    size = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return (
        f"{looks}; curvature after {wanted} steps on {size} examples, or at fewer of "
        f"them, within {100 * overhead:g} % of the run's time: what it costs is known "
        f"after step {FIRST}"
    )


def affords(ratio: float, total: int, overhead: float) -> bool:
    """Whether a known run has room for all probes on a set, before anything is timed.

    With the edge twice: at the first, and thin.

    Args:
        ratio: Examples of the set over those of the run's batches.
        total: Steps of the run.
        overhead: Share of its time that probes may take.
    """
    n = len(candidates(total))
    edges = (COLD + 3 * THIN) * PRODUCT * ratio
    return n * (LIGHT * ratio + KEPT) + edges <= overhead * total


def make_plan(
    costs: Costs,
    step_seconds: float,
    overhead: float,
    total: int | None,
    examples: int,
    most: int,
    spent: float = 0.0,
) -> tuple[Plan, int]:
    """The plan for a budget, and by which factor the probe set may grow.

    Larger probe sets come before thinner read-outs: of those that leave room for all
    probes the largest is taken. If the smallest is too dear the edge is measured at
    every third, then with 2 products from the last vector, then there are fewer probes.
    A run too short for three has its start, middle and end without the edge, and is
    told what they take.

    Args:
        costs: Of a probe on the set as it is.
        step_seconds: Of a training step.
        overhead: Share of the run's time that probes may take.
        total: Steps of the run, None if unknown: then a probe is due once the steps
            before have earned it.
        examples: Of the probe set.
        most: Examples that it could have.
        spent: Seconds that the first probe took.
    """
    unit = max(step_seconds, 1e-9)
    if total is None:
        return _as_earned(costs, unit, overhead, examples, spent), 1
    whole = total * unit
    left = overhead * whole - spent
    later = [s for s in candidates(total) if s > FIRST]
    plan = lambda steps, edge, why, cost, factor=1, warm=WARM: Plan(
        (FIRST, *steps), (FIRST, *edge), examples * factor, why, True, warm,
        share=(spent + cost) / whole,
    )  # fmt: skip
    factor = 1
    while 2 * factor * examples <= most:
        factor *= 2
    while factor:
        cost = len(later) * costs.lights(factor) + costs.edges(len(later), factor)
        if cost <= left:
            return plan(later, later, "all fit", cost, factor), factor
        factor //= 2
    third = later[::-1][::EDGE_EVERY][::-1]
    for warm, also in ((WARM, ""), (BARE, f", by {BARE} products")):
        cost = len(later) * costs.lights() + costs.edges(len(third), 1, warm)
        if cost <= left:
            why = f"the edge at every {EDGE_EVERY}rd probe{also}, to stay within it"
            return plan(later, third, why, cost, warm=warm), 1
    return _few(costs, left, later, plan), 1


def _few(costs: Costs, left: float, later: Sequence[int], plan: Any) -> Plan:
    """As many probes as there is room for, and two at least: the middle and the end."""
    for count in range(len(later) - 1, FEWEST - 2, -1):
        # the last has the edge, where the run is long enough for one
        for edges in (1, 0):
            cost = count * costs.lights() + costs.edges(edges, 1, BARE)
            if cost <= left:
                steps = _spread(later, count)
                why = "fewer probes, to stay within the overhead"
                return plan(steps, steps[len(steps) - edges :], why, cost, warm=BARE)
    steps = _spread(later, FEWEST - 1)
    told = plan(steps, (), "", len(steps) * costs.lights(), warm=BARE)
    told.why = (
        "the run is short for what a probe costs: start, middle and end take about "
        f"{100 * told.share:.0f} % of its time"
    )
    return told


def _spread(steps: Sequence[int], count: int) -> list[int]:
    """So many of them, the last among these."""
    n = len(steps)
    places = {round((i + 1) * n / max(count, 1)) - 1 for i in range(count)}
    return [steps[i] for i in sorted(places) if i >= 0]


def _as_earned(
    costs: Costs, unit: float, overhead: float, examples: int, spent: float
) -> Plan:
    """Each probe when the steps before it have earned it, and those before."""
    steps, edge = [FIRST], [FIRST]
    for i, step in enumerate(candidates(None)[1:], start=1):
        heavy = i % EDGE_EVERY == 0
        before = costs.edges(len(edge) - 1)
        own = costs.edges(len(edge)) - before if heavy else 0.0
        if spent + costs.lights() + own <= overhead * step * unit:
            steps.append(step)
            spent += costs.lights() + own
            if heavy:
                edge.append(step)
    why = "due when the steps before have earned it (total_steps is not known)"
    return Plan(tuple(steps), tuple(edge), examples, why, True)


def last_probe(
    costs: Costs | None,
    *,
    step: int,
    done: int,
    edges: int,
    spent: float,
    gone: float,
    overhead: float,
) -> tuple[bool, bool]:
    """Whether `finish` measures once more, where the run has ended; and the edge too.

    Args:
        costs: Of a probe; None where there was none yet.
        step: Updates made.
        done: Probes made.
        edges: Those of them that have the edge; without one the last has it.
        spent: Seconds that they took.
        gone: Seconds of the run without them.
        overhead: Share of it that they may take.
    """
    if step < 1:
        return False, False
    if costs is None:
        return True, True
    left = overhead * gone - spent
    with_edge = costs.lights() + costs.edges(1) <= left
    forced = done < FEWEST
    return forced or costs.lights() <= left, with_edge or (forced and not edges)
