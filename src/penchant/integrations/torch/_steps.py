"""What a watch does about the steps of a run: look, count, and measure when due."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from penchant import _progress
from penchant.integrations._plan import LAGS, Plan, make_plan, state_due
from penchant.integrations._record import Guard, Recorder
from penchant.integrations.torch._curvature import Curvature
from penchant.integrations.torch._products import Hessian
from penchant.integrations.torch._state import Side

TIMED = 10
"""Steps whose time makes the plan."""

READOUTS = ("sharpness", "edge", "memory", "margins", "hessian_trace")


class Steps:
    """The part of a [`Watch`][penchant.torch.Watch] that hooks call.

    Args:
        sides: The optimizers.
        curvatures: What is measured of each; none where only states are looked at.
        readouts: Names of read-outs that are wanted.
        missing: Those that can't be had, and why.
        recorder: Where records go.
        overhead: Share of the run's time that curvature may take.
        total: Steps of the run, where known.
        fixed: Whether the probe set keeps its size.
        snapshots: Every how many looks the weights are kept; 0 for never.
    """

    def __init__(
        self,
        sides: list[Side],
        curvatures: list[Curvature | None],
        *,
        readouts: Sequence[str],
        missing: dict[str, str],
        recorder: Recorder,
        overhead: float,
        total: int | None,
        fixed: bool,
        snapshots: int,
    ):
        self.sides, self.curvatures = sides, curvatures
        self.readouts, self.missing = readouts, missing
        self.recorder, self.guard = recorder, Guard(recorder)
        self.overhead, self.total, self.fixed_size = overhead, total, fixed
        self.snapshots = snapshots
        self.plan = Plan.read(recorder.before.get("plan")) or Plan()
        self.clock, self.spent = time.perf_counter(), {"state": 0.0, "curvature": 0.0}
        self.seconds: dict[str, float] = {}
        self.done = self.looks = 0
        self._due = [False] * len(sides)
        self._steps_taken, self._last_probe = 0, [-1] * len(sides)
        self._last_step: float | None = None
        self._gaps: list[float] = []

    # about a step

    def _before(self, i: int) -> Callable[[], None]:
        side = self.sides[i]

        def before() -> None:
            if i == 0 and len(self._gaps) < TIMED:
                begun = time.perf_counter()
                if self._last_step is not None:
                    self._gaps.append(begun - self._last_step)
                self._last_step = begun
            if not state_due(side.step + 1) or not self.guard.on("state"):
                return
            begun = time.perf_counter()
            with self.guard("state", side.step):
                if not side.skipped():
                    if "state" in self.readouts:
                        side.look()
                    self._due[i] = True
            self.spent["state"] += time.perf_counter() - begun

        return before

    def _after(self, i: int) -> Callable[[], None]:
        side = self.sides[i]

        def after() -> None:
            # steps between looks are counted, and that is all
            try:
                skipped = side.skipped()
            except Exception as error:  # noqa: BLE001 - never in the run's way
                self.recorder.failure("hooks", side.step, error)
                return
            if skipped:
                self.recorder.event("skipped", side.step, why="infinite gradients")
                self._due[i] = False
                return
            side.step += 1
            self._steps_taken += i == 0
            if self._due[i]:
                self._due[i] = False
                begun = time.perf_counter()
                with self.guard("state", side.step):
                    self._state(side)
                self.spent["state"] += time.perf_counter() - begun
            if self.curvatures and self._curved(i):
                begun = time.perf_counter()
                with self.guard("curvature", side.step):
                    self._curvature(i)
                gone = time.perf_counter() - begun
                self.spent["curvature"] += gone
                if self._last_step is not None:
                    self._last_step += gone  # a probe is no part of a step

        return after

    def _curved(self, i: int) -> bool:
        """Whether curvature, or a kept gradient, is looked at after this step."""
        side, of = self.sides[i], self.curvatures[i]
        if of is None:
            return False
        lagging = of.stale is not None and side.step - of.stale.step in LAGS
        return lagging or self.plan.due(side.step)

    def _state(self, side: Side) -> None:
        first = self.looks == 0
        self.looks += 1
        counted = side.counted()
        if counted is not None and counted != side.step:
            self.recorder.event("gap", side.step, counted=counted)
            side.step = counted
        for change in side.changes():
            self.recorder.event("changed", side.step, **change)
        if "state" in self.readouts:
            for name, values in side.records():
                self.recorder.record(side.step, "state", name, values)
        if first:
            groups = [told for s in self.sides for told in s.formats()]
            self.recorder.describe(groups=groups)
        if self.snapshots and self.looks % self.snapshots == 0:
            with self.guard("snapshots", side.step):
                if self.guard.on("snapshots"):
                    arrays = {
                        t.name: t.tensor.detach().float().cpu().numpy()
                        for group in side.groups
                        for t in group.tensors
                    }
                    self.recorder.snapshot(side.step, arrays)

    def _curvature(self, i: int) -> None:
        side, of = self.sides[i], self.curvatures[i]
        if of is None or not self.guard.on("curvature"):
            return
        if of.stale is not None and side.step - of.stale.step in LAGS:
            if self.guard.on("memory"):
                with self.guard("memory", side.step), of.isolated() as bare:
                    lag, ratio = of.staleness(bare)
                    at = of.stale.step
                    self.recorder.record(at, "curvature", named(self.sides, i), {
                        f"stale_{lag}": ratio,
                    })  # fmt: skip
            if side.step - of.stale.step == LAGS[-1]:
                of.stale = None
        if self.plan.due(side.step):
            self.measure(i, with_edge=side.step in self.plan.edge)
            if not self.plan.made and i == len(self.sides) - 1:
                self._make_plan()

    def measure(self, i: int = 0, *, with_edge: bool = True) -> None:
        """Measure curvature at the weights of now, whatever the plan says."""
        side, of = self.sides[i], self.curvatures[i]
        if of is None:
            return
        self._last_probe[i] = side.step
        self.done += i == 0
        with of.isolated() as bare:
            self._guard_memory(of, bare)
            for name in READOUTS:
                if name not in self.readouts or name in self.missing:
                    continue
                if name == "edge" and not with_edge:
                    continue
                if not self.guard.on(name) or not self.guard.on("curvature"):
                    continue
                begun = time.perf_counter()
                with self.guard(name, side.step):
                    found = getattr(of, name)(bare)
                    for group, values in found:
                        place = named(self.sides, i) if group is None else group
                        self.recorder.record(side.step, "curvature", place, values)
                self.seconds[name] = time.perf_counter() - begun
            if "memory" in self.seconds:
                self.seconds["lags"] = len(LAGS) * of.look
            with self.guard("loss", side.step):
                self.recorder.record(
                    side.step,
                    "curvature",
                    named(self.sides, i),
                    {"loss": of.losses(bare)},
                )
        of.forget()

    def _guard_memory(self, of: Curvature, bare: torch.nn.Module) -> None:
        """Refuse where an eighth of a probe foretells that all of it is too much."""
        if self.done > 1 or not torch.cuda.is_available():
            return
        device = of.side.parameters[0].device
        if device.type != "cuda":
            return
        torch.cuda.reset_peak_memory_stats(device)
        base = torch.cuda.memory_allocated(device)
        part = of.probe.parts[:1]
        # an eighth of the parts: the graphs of all are held together
        H = Hessian(lambda b: of.loss(bare, b), part, of.side.parameters)
        H(H.gradient)
        used = torch.cuda.max_memory_allocated(device) - base
        del H
        free, _ = torch.cuda.mem_get_info(device)
        free += torch.cuda.memory_reserved(device) - base
        if used * len(of.probe.parts) > 0.8 * free:
            raise MemoryError(
                f"a probe would take about {used * len(of.probe.parts) / 2**30:.1f} GB "
                f"of {free / 2**30:.1f} GB that are free; give a smaller probe_size"
            )

    def _make_plan(self) -> None:
        of = next(c for c in self.curvatures if c is not None)
        unit = float(np.median(self._gaps)) if self._gaps else 0.0
        left = self.total
        grows = of.probe.grow is not None and not self.fixed_size
        plan, factor = make_plan(
            self.seconds,
            unit,
            self.overhead,
            left,
            of.probe.examples,
            min(of.probe.most, 1024) if grows else of.probe.examples,
        )
        if factor > 1 and of.probe.grow is not None:
            grown = of.probe.grow(of.probe.examples * factor)
            for curvature in self.curvatures:
                if curvature is not None:
                    curvature.probe = grown
        self.plan = plan
        self.recorder.describe(
            plan=plan.to_dict(),
            probe_hash=of.probe.digest,
            probe_examples=of.probe.examples,
            probe_parts=len(of.probe.parts),
            step_seconds=unit,
            probe_seconds=dict(self.seconds),
        )
        if _progress.is_shown(None):
            shown = [f"{s:,}" for s in plan.to_dict()["steps"][:8]]
            _progress.say(
                f"probe: {of.probe.examples} examples after {', '.join(shown)} … "
                f"steps; {plan.why}"
            )

    def step(self) -> None:
        """Count a step by hand, of an optimizer that has no hooks, and probe if due.

        The state tier needs a look before the step, and is not measured.
        """
        for i, side in enumerate(self.sides):
            if not hasattr(side.optimizer, "register_step_post_hook"):
                self._due[i] = False
                self._after(i)()


def named(sides: Sequence[Side], i: int) -> str | None:
    """What records of a whole model are called: nothing, unless there are several."""
    return None if len(sides) == 1 else f"{i}: {type(sides[i].optimizer).__name__}"
