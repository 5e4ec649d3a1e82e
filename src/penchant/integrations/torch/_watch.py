"""The door: three lines about a training loop of one's own."""

import importlib.metadata
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from penchant import _progress
from penchant._checks import check_count, check_instance, check_number
from penchant.diagnosis import Reading, reading
from penchant.integrations._plan import (
    DEFAULT,
    LAGS,
    Plan,
    check_readouts,
    make_plan,
    state_due,
    worth_a_last_one,
)
from penchant.integrations._record import Guard, Recorder, listener_of
from penchant.integrations.torch._adapters import Grouped
from penchant.integrations.torch._batches import ProbeSet, probe_set
from penchant.integrations.torch._curvature import Curvature, Loss
from penchant.integrations.torch._hooks import Hooks
from penchant.integrations.torch._isolated import isolated, unwrapped
from penchant.integrations.torch._outputs import (
    Logits,
    flat_outputs,
    mean_loss,
    usual_logits,
)
from penchant.integrations.torch._state import Side

Optimizers: TypeAlias = Grouped | Sequence[Grouped]
Losses: TypeAlias = Loss | Mapping[torch.optim.Optimizer, Loss]

TIMED = 10
"""Steps whose time makes the plan."""

READOUTS = ("sharpness", "edge", "memory", "margins", "hessian_trace")

SAME = 1e-3
"""By how much a loss may differ from the cross-entropy of the outputs, relatively."""


def watch(
    model: torch.nn.Module,
    optimizer: Optimizers,
    *,
    loss: Losses | None = None,
    batches: Iterable[Any] | None = None,
    logits: Logits | None = None,
    folder: str | Path | None = None,
    overhead: float = 0.05,
    readouts: Sequence[str] = DEFAULT,
    probe_size: int | None = None,
    probe_batches: Sequence[Any] | None = None,
    total_steps: int | None = None,
    mode: str = "eval",
    key: int = 0,
    snapshots: int = 0,
    first_step: int = 0,
) -> "Watch":
    """Watch a training run: what does its step do that nobody asked for?

    The loop stays as it is: hooks of the optimizer's step read a fixed sample of
    coordinates, and at few steps, within `overhead` of the run's time, curvature on a
    fixed probe set. Training is the same bit for bit, random numbers included. What is
    wrong with an argument raises here; what fails later is switched off, with one
    [`ProbeWarning`][penchant.torch.ProbeWarning], and never ends a training.

        watch = pn.torch.watch(model, optimizer, loss=f, batches=loader, folder="out")
        ...                                  # the loop
        says = watch.finish()                # a Reading, and out/report.html

    Args:
        model: The model; of a compiled one the module inside is probed.
        optimizer: Of `torch.optim`, or several. Each parameter group is a row of the
            report. An unknown rule has its steps measured.
        loss: `loss(model, batch)`, the mean over examples of the model it is handed; a
            mapping from optimizers where each has its own. Without it no curvature.
        batches: A `DataLoader`, whose dataset is read without its sampler, or an
            iterable of batches, which is read once, at the start.
        logits: `logits(model, batch) -> (logits, labels)`; labels below 0 are ignored.
            None: of `(x, y)` batches and of dictionaries with "labels" the model's own
            output, if its cross-entropy is the loss.
        folder: Where files lie; a folder with a run is gone on with. None: in memory.
        overhead: Share of the run's time that curvature may take.
        readouts: Which of state, sharpness, edge, memory, margins, hessian_trace.
        probe_size: Examples of the probe set; None: 128 to 1024, by what they cost.
        probe_batches: The probe set itself, as batches.
        total_steps: Steps of the run, where known: then probes are spread over it.
        mode: "eval", or "train" with fixed masks.
        key: Of samples, draws and first vectors.
        snapshots: Every how many state records the weights are kept; 0 for never.
        first_step: Updates made before, of a run that goes on with an optimizer that
            does not count them itself (SGD).

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If it is out of its range, an optimizer asks for a closure, or the
            loss is no number.
    """
    return Watch(
        model,
        optimizer,
        loss=loss,
        batches=batches,
        logits=logits,
        folder=folder,
        overhead=overhead,
        readouts=readouts,
        probe_size=probe_size,
        probe_batches=probe_batches,
        total_steps=total_steps,
        mode=mode,
        key=key,
        snapshots=snapshots,
        first_step=first_step,
    )


class Watch:
    """A run that is watched, as [`watch`][penchant.torch.watch] returns it.

    A context: at its end, also by an exception, it is finished.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: Optimizers,
        *,
        loss: Losses | None,
        batches: Iterable[Any] | None,
        logits: Logits | None,
        folder: str | Path | None,
        overhead: float,
        readouts: Sequence[str],
        probe_size: int | None,
        probe_batches: Sequence[Any] | None,
        total_steps: int | None,
        mode: str,
        key: int,
        snapshots: int,
        first_step: int,
    ):
        check_instance("model", model, torch.nn.Module, "a torch.nn.Module")
        optimizers = _checked(optimizer)
        check_number("overhead", overhead, above=0.0, most=10.0)
        self.readouts = check_readouts(readouts)
        if mode not in ("eval", "train"):
            raise ValueError(f"mode must be 'eval' or 'train'; got {mode!r}.")
        for name, count in (("probe_size", probe_size), ("total_steps", total_steps)):
            if count is not None:
                check_count(name, count)
        self.key = check_count("key", key, least=0)
        self.snapshots = check_count("snapshots", snapshots, least=0)
        done = check_count("first_step", first_step, least=0)
        if self.snapshots and folder is None:
            raise ValueError("snapshots need a folder; got folder=None.")
        self.model, self.overhead, self.total = model, float(overhead), total_steps
        names = {id(p): name for name, p in unwrapped(model).named_parameters()}
        taken: set[str] = set()
        self.sides = [Side(o, names, self.key, taken) for o in optimizers]
        self.sides = [side for side in self.sides if side.groups]
        for side in self.sides:
            side.step = side.step or done
        if not self.sides:
            raise ValueError(
                "optimizer must train at least one parameter; it has none."
            )
        self.missing: dict[str, str] = {}
        self.curvatures = self._curvatures(
            loss, batches, logits, probe_batches, probe_size, mode
        )
        self.recorder = Recorder(
            None if folder is None else Path(folder), self._about(mode, probe_size)
        )
        kept = Plan.read(self.recorder.before.get("plan"))
        self.plan = kept or Plan()
        self.fixed_size = probe_size is not None or probe_batches is not None
        for side in self.sides:
            side.changes()
        self.guard = Guard(self.recorder)
        self.finished: Reading | None = None
        self.clock, self.spent = time.perf_counter(), {"state": 0.0, "curvature": 0.0}
        self.seconds: dict[str, float] = {}
        self.done = self.looks = 0
        self._due = [False] * len(self.sides)
        self._steps_taken, self._last_probe = 0, [-1] * len(self.sides)
        self._last_step: float | None = None
        self._gaps: list[float] = []
        self._hooks = [
            Hooks(side.optimizer, self._before(i), self._after(i))
            for i, side in enumerate(self.sides)
            if hasattr(side.optimizer, "register_step_post_hook")
        ]

    # what a user calls

    def note(self, name: str, value: float) -> None:
        """Attach a number of one's own to the current step, as a training loss."""
        check_instance("name", name, str, "a name")
        self.recorder.record(self.now, "note", None, {name: float(value)})

    def to(self, writer: object) -> "Watch":
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
        if self.finished is not None:
            return self.finished
        self._leave(last=True)
        says = reading(self.recorder.recording())
        self.recorder.close()
        if self.recorder.folder is not None:
            says.save(self.recorder.folder)
        self.finished = says
        return says

    @property
    def now(self) -> int:
        """Updates made, by the first optimizer's count."""
        return self.sides[0].step

    def __enter__(self) -> "Watch":
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
            self._leave(last=False)
            says = reading(self.recorder.recording())
            self.recorder.close()
            if self.recorder.folder is not None:
                says.save(self.recorder.folder)
            self.finished = says
        self.recorder.close()

    # about a step

    def _before(self, i: int) -> Callable[[], None]:
        def before() -> None:
            begun = time.perf_counter()
            side = self.sides[i]
            if i == 0 and len(self._gaps) < TIMED:
                if self._last_step is not None:
                    self._gaps.append(begun - self._last_step)
                self._last_step = begun
            self._due[i] = False
            if not state_due(side.step + 1) or not self.guard.on("state"):
                return
            with self.guard("state", side.step):
                if not side.skipped():
                    if "state" in self.readouts:
                        side.look()
                    self._due[i] = True
            self.spent["state"] += time.perf_counter() - begun

        return before

    def _after(self, i: int) -> Callable[[], None]:
        def after() -> None:
            begun = time.perf_counter()
            side = self.sides[i]
            with self.guard("hooks", side.step):
                if side.skipped():
                    self.recorder.event("skipped", side.step, why="infinite gradients")
                    return
                side.step += 1
                self._steps_taken += i == 0
            if self._due[i] and self.guard.on("state"):
                with self.guard("state", side.step):
                    self._state(side)
            self.spent["state"] += time.perf_counter() - begun
            if self.curvatures:
                begun = time.perf_counter()
                with self.guard("curvature", side.step):
                    self._curvature(i)
                gone = time.perf_counter() - begun
                self.spent["curvature"] += gone
                if self._last_step is not None and gone > 0:
                    self._last_step += gone  # a probe is no part of a step

        return after

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
                    self.recorder.record(at, "curvature", _named(self, i), {
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
                        place = _named(self, i) if group is None else group
                        self.recorder.record(side.step, "curvature", place, values)
                self.seconds[name] = time.perf_counter() - begun
            if "memory" in self.seconds:
                self.seconds["lags"] = len(LAGS) * of.look
            with self.guard("loss", side.step):
                self.recorder.record(
                    side.step, "curvature", _named(self, i), {"loss": of.losses(bare)}
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
        from penchant.integrations.torch._products import Hessian

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

    # the ends

    def _curvatures(
        self,
        loss: Losses | None,
        batches: Iterable[Any] | None,
        logits: Logits | None,
        probe_batches: Sequence[Any] | None,
        size: int | None,
        mode: str,
    ) -> list[Curvature | None]:
        asked = [name for name in READOUTS if name in self.readouts]
        if loss is not None:
            _check_loss(loss, self.sides)
        device = self.sides[0].parameters[0].device
        probe = probe_set(batches, probe_batches, size, device, self.key)
        why = ""
        if loss is None:
            why = "no loss was given"
        elif probe is None:
            why = "no batches were given"
        half = {
            p.dtype
            for side in self.sides
            for p in side.parameters
            if p.dtype in (torch.float16, torch.bfloat16)
        }
        if not why and half:
            kinds = ", ".join(sorted(str(d).removeprefix("torch.") for d in half))
            why = (
                f"the weights are stored in {kinds}: second derivatives have no digits"
            )
        if why or not asked:
            self.missing |= dict.fromkeys(asked, why)
            return []
        assert probe is not None
        assert loss is not None
        found: list[Curvature | None] = []
        for i, side in enumerate(self.sides):
            own = loss[side.optimizer] if isinstance(loss, Mapping) else loss
            found.append(self._of_side(side, own, logits, probe, mode, i))
        return found

    def _of_side(
        self,
        side: Side,
        loss: Loss,
        logits: Logits | None,
        probe: ProbeSet,
        mode: str,
        i: int,
    ) -> Curvature:
        outputs = usual_logits if logits is None else logits
        with isolated(self.model, mode, self.key) as bare:
            with torch.no_grad():
                value = loss(bare, probe.parts[0])
            if not isinstance(value, Tensor) or value.numel() != 1:
                raise ValueError(
                    "loss must return one number, the mean over examples; got "
                    f"{value!r:.80}."
                )
            reason = _disagreement(bare, outputs, probe, float(value), logits is None)
        if reason:
            for name in ("sharpness", "margins"):
                if name in self.readouts:
                    self.missing[name] = reason
        return Curvature(
            side,
            self.model,
            loss,
            None if reason else outputs,
            probe,
            mode,
            self.key + i,
        )

    def _about(self, mode: str, size: int | None) -> dict[str, Any]:
        groups = [told for side in self.sides for told in side.formats()]
        of = next((c for c in self.curvatures if c is not None), None)
        about: dict[str, Any] = {
            "penchant": importlib.metadata.version("penchant"),
            "framework": f"torch {torch.__version__}",
            "python": sys.version.split()[0],
            "device": str(self.sides[0].parameters[0].device),
            "model": type(unwrapped(self.model)).__name__,
            "parameters": sum(p.numel() for s in self.sides for p in s.parameters),
            "first_step": self.now,
            "groups": groups,
            "sides": [_named(self, i) for i in range(len(self.sides))],
            "readouts": list(self.readouts),
            "missing": self.missing,
            "mode": mode,
            "key": self.key,
            "overhead": self.overhead,
            "total_steps": self.total,
        }
        if of is not None:
            about |= {
                "probe_hash": of.probe.digest,
                "probe_examples": of.probe.examples,
                "probe_parts": len(of.probe.parts),
            }
        return about

    def _told(self) -> None:
        gone = time.perf_counter() - self.clock
        self.recorder.describe(
            seconds=gone,
            spent=dict(self.spent),
            measured_overhead={
                name: x / max(gone - sum(self.spent.values()), 1e-9)
                for name, x in self.spent.items()
            },
            last_step=self.now,
            steps=self._steps_taken,
        )

    def _leave(self, *, last: bool) -> None:
        for hooks in self._hooks:
            hooks.remove()
        self._hooks = []
        cost = sum(self.seconds.values())
        gone = time.perf_counter() - self.clock
        if last and self.curvatures and self._steps_taken:
            for i, side in enumerate(self.sides):
                if self._last_probe[i] == side.step or not self.guard.on("curvature"):
                    continue
                if worth_a_last_one(
                    self.plan, side.step, self.done, cost, gone, self.overhead
                ):
                    with self.guard("curvature", side.step):
                        self.measure(i)
        self._told()


def _named(watch: Watch, i: int) -> str | None:
    """What records of a whole model are called: nothing, unless there are several."""
    if len(watch.sides) == 1:
        return None
    return f"{i}: {type(watch.sides[i].optimizer).__name__}"


def _checked(optimizer: Optimizers) -> list[Any]:
    several: Any = optimizer
    given = list(several) if isinstance(several, (list, tuple)) else [several]
    if not given:
        raise ValueError("optimizer must be at least one; got none.")
    for one in given:
        # those of other makes have groups and a state, and no hooks: `Watch.step`
        if not isinstance(one, Grouped):
            raise TypeError(
                "optimizer must be an optimizer of torch.optim, or several; got "
                f"{one!r:.100} of type {type(one).__name__}."
            )
        if isinstance(one, torch.optim.LBFGS):
            raise ValueError(
                "optimizer must take its gradients before its step; LBFGS asks a "
                "closure for them within, several times."
            )
    return given


def _check_loss(loss: Losses, sides: Sequence[Side]) -> None:
    if isinstance(loss, Mapping):
        for side in sides:
            if side.optimizer not in loss:
                raise ValueError("loss must have an entry for every optimizer.")
    elif not callable(loss):
        raise TypeError(
            f"loss must be a function of model and batch; got {loss!r:.100} of type "
            f"{type(loss).__name__}."
        )


def _disagreement(
    bare: torch.nn.Module, outputs: Logits, probe: ProbeSet, loss: float, guessed: bool
) -> str:
    """Why labels can't be drawn from these outputs; nothing if they can."""
    try:
        with torch.no_grad():
            rows, y = flat_outputs(*outputs(bare, probe.parts[0]))
            own = float(mean_loss(rows, y))
    except Exception as error:
        if not guessed:
            raise
        return f"logits were not given, and could not be guessed ({error})"
    if abs(own - loss) > SAME * max(abs(loss), 1e-12):
        kind = "half the mean square" if y.is_floating_point() else "cross-entropy"
        said = f"the loss ({loss:.6g}) is not the {kind} of the logits ({own:.6g})"
        if guessed:
            return said + "; give logits="
        return said
    return ""
