"""A run that is watched, in whatever framework: notes, loggers, a reading, an end."""

import abc
import math
import time
from types import TracebackType
from typing import Any, TypeVar

from penchant import _progress
from penchant._checks import check_instance
from penchant.diagnosis import Reading, reading
from penchant.integrations._plan import (
    STATE_EVERY,
    Costs,
    Plan,
    foretold,
    last_probe,
    look_every,
    next_look,
    short_of,
)
from penchant.integrations._record import Guard, Recorder, listener_of

TIMED = 10
"""Steps whose time makes the plan."""

FEW, RECENT = 3, 15
"""Looks whose time is known, before it counts, and of which the middle one is taken."""

Own = TypeVar("Own", bound="Session")


class Session(abc.ABC):
    """What a watch is whatever it watches. A host gives `now`, and how it leaves.

    Args:
        recorder: Where records go; a plan that is there is gone by.
        overhead: Share of the run's time that probes may take.
        total: Steps of the run, where known.
        every: Steps between looks at the state; None: by what they cost.
        examples: Least and most of the probe set; None where there is no curvature.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        overhead: float,
        total: int | None,
        every: int | None,
        examples: tuple[int, int] | None,
    ):
        self.recorder, self.guard = recorder, Guard(recorder)
        self.overhead, self.total = overhead, total
        self.clock, self.spent = time.perf_counter(), {"state": 0.0, "curvature": 0.0}
        self.costs: Costs | None = None
        self.seconds: dict[str, float] = {}
        self.done = self.edges = self.steps = 0
        self.finished: Reading | None = None
        self.gaps: list[float] = []
        self.look_seconds: list[float] = []
        self.plan = Plan.read(recorder.before.get("plan")) or Plan()
        self._told_every = every is not None
        if every is not None:
            self.plan.every = every
        if not self.plan.made:
            fixed = self.plan.every or None
            self._announce(foretold(total, overhead, fixed, examples))
        recorder.describe(plan=self.plan.to_dict())

    # what a host gives

    @property
    @abc.abstractmethod
    def now(self) -> int:
        """Updates made."""

    @abc.abstractmethod
    def _leave(self, *, last: bool) -> None:
        """Get out of the loop; with `last` also measure where it has ended."""

    # what a user calls

    def note(self, name: str, value: float) -> None:
        """Attach a number of one's own to the current step, as a training loss."""
        check_instance("name", name, str, "a name")
        self.recorder.record(self.now, "note", None, {name: float(value)})

    def to(self: Own, writer: object) -> Own:
        """Hand every record to a logger too; returns the watch itself.

        Args:
            writer: Something with `add_scalar(name, x, step)`,
                `log_metrics({…}, step=)` or `log({…}, step=)`.

        Raises:
            TypeError: If it has none of them.
        """
        self.recorder.listeners.append(listener_of(writer))
        return self

    def reading(self) -> Reading:
        """What can be said so far."""
        self._told()
        return reading(self.recorder.recording())

    def finish(self) -> Reading:
        """Leave the loop, and say what was seen; in a folder, with the report.

        A second call returns the same.
        """
        return self._end(last=True) if self.finished is None else self.finished

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.finish()
            return
        self.recorder.event("ended", self.now, why=f"{type(error).__name__}: {error}")
        with self.guard("report", self.now):  # the run's own error is what is raised
            self._end(last=False)
        self.recorder.close()

    # the plan

    def _unit(self) -> float:
        """Seconds of a step, the middle one of those timed."""
        return sorted(self.gaps)[len(self.gaps) // 2] if self.gaps else 0.0

    def _state_share(self) -> float:
        """Of the run's time that looks at the state will take."""
        known, unit = sorted(self.look_seconds[1:]), self._unit()
        if not known or unit <= 0:
            return 0.0
        every = self.plan.every or STATE_EVERY
        return min(known[len(known) // 2] / unit / every, 0.5 * self.overhead)

    def _time_looks(self) -> None:
        """Settle how often the state is looked at, once a few looks are timed."""
        known = sorted(self.look_seconds[1:])  # the first is not like later ones
        if self.plan.every or len(known) < FEW or len(self.gaps) < TIMED - 1:
            return
        look, unit = known[len(known) // 2], self._unit()
        self.plan.every = look_every(look, unit)
        if self.plan.every > STATE_EVERY:
            self._announce(
                f"the state every {self.plan.every:,} steps: a look takes "
                f"{look / unit:.2g} of a step"
            )
        self.recorder.describe(plan=self.plan.to_dict(), look_seconds=look)

    def _next_look(self, step: int) -> int:
        """The step of the next look: when the steps before it have earned it.

        What looks were foretold to take is not what they take, nor are steps; where
        looks have taken more than their share, those that are due are left out until
        they have not. Those after 20, 40, 80, … steps stay.
        """
        every = self.plan.every or STATE_EVERY
        known = sorted(self.look_seconds[1:][-RECENT:])
        if self._told_every or len(known) < FEW:
            return next_look(step, every)
        own = self._gone() - sum(self.spent.values())
        look = known[len(known) // 2]
        return next_look(
            step, every, short_of(self.spent["state"], look, own, self.steps)
        )

    def _planned(self, plan: Plan, examples: int, **more: Any) -> None:
        """Keep a plan that costs have made, and say it."""
        plan.every = self.plan.every
        self.plan = plan
        unit = self._unit()
        self.recorder.describe(
            plan=plan.to_dict(),
            step_seconds=unit,
            probe_seconds=dict(self.seconds),
            probe_examples=examples,
            **more,
        )
        dear = self.costs if not self.edges and len(plan.edge) < 2 else None
        if dear is not None and dear.tops and self.total:
            # said in the reading where no record has it
            share = dear.edges(1, 1, plan.warm) / max(self.total * unit, 1e-9)
            why = f"the run is short for it: once takes about {100 * share:.0f} % of it"
            missing = self.recorder.run.get("missing") or {}
            self.recorder.describe(missing={"edge": why, **missing})
        shown = plan.to_dict()["steps"]
        steps = ", ".join(f"{s:,}" for s in shown[:12])
        share = plan.share
        cost = (
            f", about {100 * share:.2g} % of the time" if math.isfinite(share) else ""
        )
        self._announce(
            f"curvature after {steps} steps on {examples:,} examples{cost}; {plan.why}",
            share=share,
        )

    def _announce(self, text: str, **detail: Any) -> None:
        self.recorder.event(
            "planned", self.now if self.steps else 0, how=text, **detail
        )
        if _progress.is_shown(None):
            _progress.say(f"probe: {text}")

    # the end

    def _last(self) -> tuple[bool, bool]:
        """Whether to measure where the run has ended, and the edge too."""
        spent = self.spent["curvature"]
        return last_probe(
            self.costs,
            step=self.now if self.steps else 0,
            done=self.done,
            edges=self.edges,
            spent=spent,
            gone=self._gone() - sum(self.spent.values()),
            overhead=self.overhead,
        )

    def _gone(self) -> float:
        return time.perf_counter() - self.clock

    def _told(self) -> None:
        gone = self._gone()
        rest = max(gone - sum(self.spent.values()), 1e-9)
        missing = self.recorder.run.get("missing") or {}
        if self.edges and "edge" in missing:  # its end had room for it
            missing = {name: why for name, why in missing.items() if name != "edge"}
            self.recorder.describe(missing=missing)
        self.recorder.describe(
            seconds=gone,
            spent=dict(self.spent),
            measured_overhead={name: x / rest for name, x in self.spent.items()},
            last_step=self.now,
            steps=self.steps,
        )

    def _end(self, *, last: bool) -> Reading:
        self._leave(last=last)
        self._told()
        says = reading(self.recorder.recording())
        self.recorder.close()
        if self.recorder.folder is not None:
            says.save(self.recorder.folder)
        self.finished = says
        return says
