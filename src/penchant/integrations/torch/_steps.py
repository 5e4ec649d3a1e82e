"""What a watch does about the steps of a run: look, count, and measure when due."""

import time
from collections.abc import Callable, Sequence

import torch

from penchant.integrations._plan import (
    COLD,
    FEWEST,
    LAGS,
    STATE_EVERY,
    Costs,
    affords,
    make_plan,
    next_look,
)
from penchant.integrations._record import Recorder
from penchant.integrations._session import TIMED, Session
from penchant.integrations.torch._batches import LARGEST, count
from penchant.integrations.torch._curvature import Curvature
from penchant.integrations.torch._products import Hessian
from penchant.integrations.torch._state import Side

READOUTS = (
    "sharpness",
    "memory",
    "edge",
    "margins",
    "hessian_trace",
    "intervention",
)


class Steps(Session):
    """The part of a [`Watch`][penchant.torch.Watch] that hooks call.

    Args:
        sides: The optimizers.
        curvatures: What is measured of each; none where only states are looked at.
        readouts: Names of read-outs that are wanted.
        missing: Those that can't be had, and why.
        recorder: Where records go.
        overhead: Share of the run's time that probes may take.
        total: Steps of the run, where known.
        every: Steps between looks at the state; None: by what they cost.
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
        every: int | None,
        fixed: bool,
        snapshots: int,
    ):
        self.sides, self.curvatures = sides, curvatures
        self.readouts, self.missing = readouts, missing
        self.fixed_size, self.snapshots = fixed, snapshots
        of = next((c for c in curvatures if c is not None), None)
        super().__init__(
            recorder,
            overhead=overhead,
            total=total,
            every=every,
            examples=None if of is None else (of.probe.examples, self._most(of)),
        )
        self.looks = 0
        self._due = [False] * len(sides)
        self._next = [next_look(side.step, self._every) for side in sides]
        self._mark = 0.0
        self._last_probe = [-1] * len(sides)
        self._last_step: float | None = None

    @property
    def now(self) -> int:
        """Updates made, by the first optimizer's count."""
        return self.sides[0].step

    @property
    def _every(self) -> int:
        return self.plan.every or STATE_EVERY

    def _most(self, of: Curvature) -> int:
        """Examples that the probe set could have."""
        if of.probe.grow is None or self.fixed_size:
            return of.probe.examples
        return max(min(of.probe.most, LARGEST), of.probe.examples)

    # about a step

    def _before(self, i: int) -> Callable[[], None]:
        side = self.sides[i]

        def before() -> None:
            if i == 0 and len(self.gaps) < TIMED:
                begun = time.perf_counter()
                if self._last_step is not None:
                    self.gaps.append(begun - self._last_step)
                self._last_step = begun
            # steps between looks are counted, and that is all
            if side.step + 1 < self._next[i] or not self.guard.on("state"):
                return
            begun = time.perf_counter()
            if i == 0:
                self._mark = self.spent["state"]
            with self.guard("state", side.step):
                if not side.skipped():
                    if "state" in self.readouts:
                        side.look()
                    self._due[i] = True
            self._took("state", time.perf_counter() - begun)

        return before

    def _after(self, i: int) -> Callable[[], None]:
        side, of = self.sides[i], self._curvature_of(i)

        def after() -> None:
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
            self.steps += i == 0
            if self._due[i]:
                self._due[i] = False
                begun = time.perf_counter()
                with self.guard("state", side.step):
                    self._state(i)
                self._took("state", time.perf_counter() - begun)
            if of is not None and self._curved(of):
                begun = time.perf_counter()
                with self.guard("curvature", side.step):
                    self._curvature(i)
                self._took("curvature", time.perf_counter() - begun)

        return after

    def _took(self, tier: str, seconds: float) -> None:
        """Book time of the probe, which is no part of a step."""
        self.spent[tier] += seconds
        if self._last_step is not None:
            self._last_step += seconds

    def _curvature_of(self, i: int) -> Curvature | None:
        return self.curvatures[i] if self.curvatures else None

    def _curved(self, of: Curvature) -> bool:
        """Whether curvature, or a kept gradient, is looked at after this step."""
        step = of.side.step
        lagging = of.stale is not None and step - of.stale.step in LAGS
        return lagging or self.plan.due(step)

    def _state(self, i: int) -> None:
        side, begun = self.sides[i], time.perf_counter()
        first = self.looks == 0
        self.looks += 1
        counted = side.counted()
        if counted is not None and counted != side.step:
            self.recorder.event("gap", side.step, counted=counted)
            side.step = counted
        for change in side.changes():
            self.recorder.event("changed", side.step, **change)
        if "state" in self.readouts:
            self.recorder.records_of(side.step, "state", side.records())
        if i == len(self.sides) - 1:  # a look is one at every optimizer
            before = self.spent["state"] - self._mark
            self.look_seconds.append(before + time.perf_counter() - begun)
            self._time_looks()
        self._next[i] = self._next_look(side.step)
        if first:
            groups = [told for s in self.sides for told in s.formats()]
            self.recorder.describe(groups=groups)
        if self.snapshots and self.looks % self.snapshots == 0:
            self._snapshot(side)

    def _snapshot(self, side: Side) -> None:
        with self.guard("snapshots", side.step):
            if self.guard.on("snapshots"):
                arrays = {
                    t.name: t.tensor.detach().float().cpu().numpy()
                    for group in side.groups
                    for t in group.tensors
                }
                self.recorder.snapshot(side.step, arrays)

    def _curvature(self, i: int) -> None:
        side, of = self.sides[i], self._curvature_of(i)
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
            self._fit_probe(of)
            self.measure(i, with_edge=side.step in self.plan.edge)
            if not self.plan.made and i == len(self.sides) - 1:
                self._make_plan()

    def measure(self, i: int = 0, *, with_edge: bool = True) -> None:
        """Measure curvature at the weights of now, whatever the plan says."""
        side, of = self.sides[i], self._curvature_of(i)
        if of is None:
            return
        self._last_probe[i] = side.step
        self.done += i == 0
        of.products = self.plan.warm
        begun = time.perf_counter()
        with of.isolated() as bare:
            self._guard_memory(of, bare)
            seconds = self._read_out(i, of, bare, with_edge)
        of.forget()
        if self.costs is None or self.done == 1:
            seconds["loss"] = time.perf_counter() - begun - sum(seconds.values())
            seconds["lags"] = len(LAGS) * of.look
            own = of.costs(seconds, self._wanted("edge"))
            self.costs = own if self.costs is None else self.costs + own
            for name, gone in seconds.items():
                self.seconds[name] = self.seconds.get(name, 0.0) + gone

    def _read_out(
        self, i: int, of: Curvature, bare: torch.nn.Module, with_edge: bool
    ) -> dict[str, float]:
        """Record every read-out that is wanted and works; seconds of each."""
        step, whole = of.side.step, named(self.sides, i)
        seconds: dict[str, float] = {}
        for name in READOUTS:
            if not self._wanted(name):
                continue
            if name == "edge" and not (
                with_edge and self._affords(of, sum(seconds.values()))
            ):
                continue
            if not self.guard.on(name) or not self.guard.on("curvature"):
                continue
            begun = time.perf_counter()
            with self.guard(name, step):
                for group, values in getattr(of, name)(bare):
                    place = whole if group is None else group
                    self.recorder.record(step, "curvature", place, values)
                    self.edges += "largest" in values
            seconds[name] = time.perf_counter() - begun
        with self.guard("loss", step):
            loss = {"loss": of.losses(bare)}
            self.recorder.record(step, "curvature", whole, loss)
        return seconds

    def _wanted(self, name: str) -> bool:
        return name in self.readouts and name not in self.missing

    def _fit_probe(self, of: Curvature) -> None:
        """Begin with two of the run's batches where the smallest set is too dear."""
        examples, training, grow = of.probe.examples, of.probe.training, of.probe.grow
        if self.total is None or self.done or self.fixed_size:
            return
        if grow is None or not training:
            return
        own = count(training[0])
        least = max(2 * own, len(of.probe.parts))
        if least < examples and not affords(examples / own, self.total, self.overhead):
            of.probe = grow(least)

    def _affords(self, of: Curvature, light: float) -> bool:
        """Whether the first probe's edge leaves room for a middle and an end.

        Args:
            of: Whose product has been timed, in the read-outs before.
            light: Seconds that these took.
        """
        if self.plan.made or self.total is None or self.total <= of.side.step:
            return True
        light += len(LAGS) * of.look
        need = COLD * of.product + of.batch_seconds + FEWEST * light
        return need <= self.overhead * self.total * self._unit()

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
        plan, factor = make_plan(
            self.costs or Costs(),
            self._unit(),
            self.overhead - self._state_share(),
            self.total,
            of.probe.examples,
            self._most(of),
            sum(self.seconds.values()),
        )
        if factor > 1 and of.probe.grow is not None:
            grown = of.probe.grow(of.probe.examples * factor)
            for curvature in self.curvatures:
                if curvature is not None:
                    curvature.probe = grown
        self._planned(
            plan,
            of.probe.examples,
            probe_hash=of.probe.digest,
            probe_parts=len(of.probe.parts),
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
