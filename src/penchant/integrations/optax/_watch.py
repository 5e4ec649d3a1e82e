"""The door for a loop in JAX: called after an update, with weights and state."""

import importlib.metadata
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np

from penchant._checks import check_count, check_instance, check_number
from penchant._types import Tree
from penchant.diagnosis import Reading, reading
from penchant.integrations._numbers import numbers_of
from penchant.integrations._plan import (
    LAGS,
    Plan,
    check_readouts,
    make_plan,
    state_due,
    worth_a_last_one,
)
from penchant.integrations._record import Guard, Recorder, listener_of
from penchant.integrations._rules import UNKNOWN, Adapter, Seen
from penchant.integrations.optax._curvature import (
    Curvature,
    Moment,
    raveled,
    stacked,
)
from penchant.integrations.optax._probe import (
    ProbeState,
    moments,
    sample,
    state_of,
)
from penchant.integrations.optax._rules import (
    NAMES,
    believed,
    group_of,
    rows_of,
    settings_of,
)

DEFAULT = ("state", "sharpness", "edge", "memory")

PARTS, TIMED, GROUP = 8, 10, "all"


def watch(
    loss: Callable[[Any, Any], Any] | None = None,
    batches: Iterable[Any] | None = None,
    folder: str | Path | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    logits: Callable[[Any, Any], tuple[Any, Any]] | None = None,
    overhead: float = 0.05,
    readouts: Sequence[str] = DEFAULT,
    total_steps: int | None = None,
    key: int = 0,
) -> "Watch":
    """Watch a loop in JAX: call it after every update, and `finish` at the end.

        tx = pn.optax.probe(tx)
        watch = pn.optax.watch(loss, batches, "probe", settings={"learning_rate": 1e-3})
        for step, batch in enumerate(…):
            params, opt_state = update(params, opt_state, batch)
            watch(step, params, opt_state)
        says = watch.finish()

    Between the steps that it looks at a call costs nothing. Everything is read from
    copies; weights and state are as they were. Importing penchant switches JAX to 64
    bits: what should be single precision must say so, as `flax` and `equinox` do not
    for random draws of their own.

    Args:
        loss: `loss(params, batch)`, the mean over examples. Without it no curvature.
        batches: At least two, of the run's size and one shape; the first 8 are kept.
        folder: Where files lie; a folder with a run is gone on with. None: in memory.
        settings: The rule's numbers by optax's names (`learning_rate`, a number or
            schedule, `weight_decay`, `b1`, `b2`, `eps`, `momentum`, `nesterov`), where
            `inject_hyperparams` does not have them in the state.
        logits: `logits(params, batch) -> (logits, labels)`; labels below 0 are ignored.
            None: no traces.
        overhead: Share of the run's time that curvature may take.
        readouts: Which of state, sharpness, edge, memory.
        total_steps: Steps of the run, where known.
        key: Of draws and first vectors.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If it is out of its range, a setting has no such name, or batches
            differ in shape.
    """
    return Watch(
        loss, batches, folder, settings, logits, overhead, readouts, total_steps, key
    )


class Watch:
    """A run that is watched, as [`watch`][penchant.optax.watch] returns it.

    A context: at its end, also by an exception, it is finished.
    """

    def __init__(
        self,
        loss: Callable[[Any, Any], Any] | None,
        batches: Iterable[Any] | None,
        folder: str | Path | None,
        settings: Mapping[str, Any] | None,
        logits: Callable[[Any, Any], tuple[Any, Any]] | None,
        overhead: float,
        readouts: Sequence[str],
        total_steps: int | None,
        key: int,
    ):
        for name, given in (("loss", loss), ("logits", logits)):
            if given is not None and not callable(given):
                raise TypeError(
                    f"{name} must be a function of params and batch; got "
                    f"{given!r:.100} of type {type(given).__name__}."
                )
        check_number("overhead", overhead, above=0.0, most=10.0)
        if total_steps is not None:
            check_count("total_steps", total_steps)
        self.key = check_count("key", key, least=0)
        self.settings = dict(settings or {})
        for name in self.settings:
            if name not in NAMES:
                raise ValueError(
                    f"settings must be of {', '.join(NAMES)}; got {name!r}."
                )
        self.readouts = check_readouts(readouts)
        self.loss, self.logits, self.overhead = loss, logits, float(overhead)
        self.total, self.missing = total_steps, dict[str, str]()
        for name in self.readouts:
            if name not in DEFAULT:
                self.missing[name] = "it is not measured in JAX"
        self.parts = None
        if batches is not None:
            check_instance("batches", batches, Iterable, "an iterable of batches")
            self.parts = stacked(list(islice(iter(batches), PARTS)))
        why = "no loss was given" if loss is None else ""
        why = why or ("" if self.parts is not None else "no batches were given")
        asked = [n for n in self.readouts if n != "state" and n in DEFAULT]
        if why:
            self.missing |= dict.fromkeys(asked, why)
        elif logits is None and "sharpness" in asked:
            self.missing["sharpness"] = "no logits were given: labels are drawn of them"
        self.active = [n for n in asked if n not in self.missing]
        self.folder = None if folder is None else Path(folder)
        self.recorder = Recorder(self.folder, self._about())
        self.plan = Plan.read(self.recorder.before.get("plan")) or Plan()
        self.guard = Guard(self.recorder)
        self.of: Curvature | None = None
        self.finished: Reading | None = None
        self.now = 0
        self._offset: int | None = None
        self._changed: dict[str, Any] = {}
        self._last: tuple[Any, Any] | None = None
        self._steps, self._done, self._probed = 0, 0, -1
        self._gaps: list[float] = []
        self._seconds: dict[str, float] = {}
        self.spent = {"state": 0.0, "curvature": 0.0}
        self._clock, self._tick = time.perf_counter(), math.nan

    # what a user calls

    def __call__(self, step: int, params: Tree, opt_state: Tree) -> None:
        """After an update.

        Args:
            step: Any count that grows by one an update; records go by the state's own.
            params: The weights after it.
            opt_state: The optimizer's state after it, with that of
                [`probe`][penchant.optax.probe] somewhere inside.
        """
        begun = time.perf_counter()
        with self.guard("watch", self.now):
            if not self.guard.on("watch"):
                return
            state = state_of(opt_state)
            if self._offset is None:
                done = int(step) + 1 if state is None else int(state.count)
                self._offset = done - int(step)
                self._set_up(params, state)
            self.now, self._steps = int(step) + self._offset, self._steps + 1
            self._last = params, state
            if len(self._gaps) < TIMED and math.isfinite(self._tick):
                self._gaps.append(begun - self._tick)
            if state_due(self.now) and "state" in self.readouts and state is not None:
                with self.guard("state", self.now):
                    if self.guard.on("state"):
                        self._state(params, state)
                self.spent["state"] += time.perf_counter() - begun
            middle = time.perf_counter()
            if self.of is not None:
                self._curvature(params, state)
                self.spent["curvature"] += time.perf_counter() - middle
        self._tick = time.perf_counter()

    def note(self, name: str, value: float) -> None:
        """Attach a number of one's own to the current step."""
        check_instance("name", name, str, "a name")
        self.recorder.record(self.now, "note", None, {name: float(value)})

    def to(self, writer: object) -> "Watch":
        """Hand every record to a logger too, as `pn.torch.Watch.to`.

        Raises:
            TypeError: If it has none of a logger's methods.
        """
        self.recorder.listeners.append(listener_of(writer))
        return self

    def reading(self) -> Reading:
        """What can be said so far."""
        self._told()
        return reading(self.recorder.recording())

    def finish(self) -> Reading:
        """Say what was seen; in a folder, with the report. Twice gives the same."""
        if self.finished is None:
            self._end(last=True)
        assert self.finished is not None
        return self.finished

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
            self._end(last=False)
        self.recorder.close()

    # the two tiers

    def _set_up(self, params: Tree, state: ProbeState | None) -> None:
        if state is None and "state" in self.readouts:
            self.missing["state"] = "opt_state has no state of pn.optax.probe"
        if state is None:
            # without it the rule is unknown: so are its geometry and its memory
            self.settings = {}
        leaves = jax.tree.leaves(params)
        half = {str(x.dtype) for x in leaves if x.dtype.itemsize < 4}
        if half and self.active:
            kinds = ", ".join(sorted(half))
            why = (
                f"the weights are stored in {kinds}: second derivatives have no digits"
            )
            self.missing |= dict.fromkeys(self.active, why)
            self.active = []
        self.recorder.describe(
            first_step=max(int(state.count) - 1, 0) if state is not None else 0,
            parameters=sum(x.size for x in leaves),
            device=str(next(iter(leaves[0].devices()))),
            missing=self.missing,
        )
        if self.active and self.loss is not None:
            _, back = raveled(params)
            self.of = Curvature(self.loss, self.logits, self.parts, back, self.key)

    def _numbers(self, state: ProbeState, n: int) -> dict[str, float]:
        return settings_of(state.inner_state, self.settings, n)

    def _row(
        self, params: Tree, state: ProbeState
    ) -> tuple[Adapter, list[tuple[str, Seen]], str]:
        """The rule's row, if its step is the one that was made, and what was seen."""
        n = int(state.count)
        numbers = self._numbers(state, n)
        host = lambda arrays: [np.asarray(a).astype(float) for a in arrays]
        before, after = host(state.before), host(sample(params))
        gradient, update = host(state.gradient), host(state.update)
        known = moments(state.inner_state)
        rows, why = [], "settings lack learning_rate"
        if "learning_rate" in numbers:
            rows, why = rows_of([m["kind"] for m in known], numbers)
        own: dict[str, list[np.ndarray]] = {}
        if len(known) == 1:
            own = {
                name: host(sample(tree))
                for name, tree in known[0].items()
                if name not in ("kind", "count")
            }
            if any(len(arrays) != len(before) for arrays in own.values()):
                rows, own, why = [], {}, "moments are kept of a part of the weights"
            elif known[0]["count"] is not None:
                n = int(known[0]["count"])
        old = {name: host(arrays) for name, arrays in state.past.items()} if own else {}
        group = group_of({"learning_rate": math.nan, **numbers})
        seen = [
            Seen(
                group=group,
                before=before[i],
                after=after[i],
                gradient=gradient[i],
                past={name: arrays[i] for name, arrays in old.items()},
                state={name: arrays[i] for name, arrays in own.items()},
                scalars={},
                n=float(n),
            )
            for i in range(len(before))
        ]
        row, why = believed(rows, why, seen, update)
        return row, [(str(x.dtype), s) for x, s in zip(
            jax.tree.leaves(params), seen, strict=True
        )], why  # fmt: skip

    def _state(self, params: Tree, state: ProbeState) -> None:
        counted = int(state.count)
        if counted != self.now:
            self.recorder.event("gap", self.now, counted=counted)
            self._offset = (self._offset or 0) + counted - self.now
            self.now = counted
        row, pairs, why = self._row(params, state)
        group = pairs[0][1].group
        b1, b2 = row.decays(group)
        about = {"decay": group["weight_decay"], "first": b1, "second": b2}
        for name, value in about.items():
            if self._changed and self._changed["known"] == row.name:
                was = self._changed[name]
                if was != value:
                    self.recorder.event(
                        "changed", self.now, group=GROUP, what=name, before=was,
                        now=value,
                    )  # fmt: skip
        if not self._changed or self._changed["known"] != row.name:
            self._describe(params, state, row, group, why)
        self._changed = {**about, "known": row.name}
        self.recorder.record(self.now, "state", GROUP, numbers_of(row, pairs))

    def _describe(
        self,
        params: Tree,
        state: ProbeState,
        row: Adapter,
        group: Mapping[str, Any],
        why: str,
    ) -> None:
        leaves = jax.tree.leaves(params)
        kept = [
            leaf
            for m in moments(state.inner_state)
            for name, tree in m.items()
            if name not in ("kind", "count")
            for leaf in jax.tree.leaves(tree)
        ]
        kinds = [m["kind"] for m in moments(state.inner_state)]
        b1, b2 = row.decays(group)
        told = {
            "name": GROUP,
            "optimizer": row.name
            if row is not UNKNOWN
            else ", ".join(kinds) or "optax",
            "known": row.name,
            "why": why,
            "parameters": sum(x.size for x in leaves),
            "tensors": len(leaves),
            "step_size": group["lr"],
            "decay": group["weight_decay"],
            "decoupled": row.decoupled(group),
            "first": b1,
            "second": b2,
            "eps": group["eps"] if row.adaptive else None,
            "weights": _dtypes(leaves),
            "gradients": _dtypes(state.gradient),
            "state": _dtypes(kept),
        }
        self.recorder.describe(groups=[told])
        if why:
            self.recorder.event("unknown", self.now, why=why)

    def _moment(self, params: Tree, state: ProbeState | None) -> Moment:
        x, _ = raveled(params)
        if state is None:
            group = group_of({"learning_rate": math.nan})
            why = "opt_state has no state of pn.optax.probe"
            return Moment(self.now, x, UNKNOWN, group, None, None, why)
        row, pairs, why = self._row(params, state)
        group = pairs[0][1].group
        if not row.adaptive:
            return Moment(self.now, x, row, group, None, None, why)
        (own,) = moments(state.inner_state)
        zero = np.zeros(())
        flat = {
            name: np.asarray(raveled(tree)[0], float)
            for name, tree in own.items()
            if name not in ("kind", "count")
        }
        n = float(state.count if own["count"] is None else own["count"])
        found = row.moments(Seen(group, zero, zero, zero, {}, flat, {}, n))
        return Moment(self.now, x, row, group, found.root, found.first, why)

    def _curvature(self, params: Tree, state: ProbeState | None) -> None:
        assert self.of is not None
        if not self.guard.on("curvature"):
            return
        with self.guard("curvature", self.now):
            kept = self.of.stale
            if kept is not None and self.now - kept[0] in LAGS:
                at = Moment(
                    self.now, raveled(params)[0], UNKNOWN, {}, None, None
                )  # fmt: skip
                lag, ratio = self.of.staleness(at)
                told = {f"stale_{lag}": ratio}
                self.recorder.record(kept[0], "curvature", None, told)
                if lag == LAGS[-1]:
                    self.of.stale = None
            if self.plan.due(self.now):
                self._measure(params, state, edge=self.now in self.plan.edge)
                if not self.plan.made:
                    self._make_plan()

    def _measure(self, params: Tree, state: ProbeState | None, *, edge: bool) -> None:
        assert self.of is not None
        self._done, self._probed = self._done + 1, self.now
        at = self._moment(params, state)
        self.of.begin(at)
        for name in self.active:
            if (name == "edge" and not edge) or not self.guard.on(name):
                continue
            begun = time.perf_counter()
            with self.guard(name, self.now):
                values = getattr(self.of, name)(at)
                self.recorder.record(self.now, "curvature", None, values)
            self._seconds[name] = time.perf_counter() - begun
        self.recorder.record(self.now, "curvature", None, {"loss": self.of.losses()})
        self.of.forget()

    def _make_plan(self) -> None:
        assert self.of is not None
        sizes = [x.shape[:2] for x in jax.tree.leaves(self.parts)]
        examples = math.prod(sizes[0])
        unit = float(np.median(self._gaps)) if self._gaps else 0.0
        self.plan, _ = make_plan(
            self._seconds, unit, self.overhead, self.total, examples, examples
        )
        self.recorder.describe(
            plan=self.plan.to_dict(),
            probe_examples=examples,
            probe_parts=self.of.k,
            step_seconds=unit,
            probe_seconds=dict(self._seconds),
        )

    # the end

    def _about(self) -> dict[str, Any]:
        version = importlib.metadata.version
        return {
            "penchant": version("penchant"),
            "framework": f"jax {version('jax')}, optax {version('optax')}",
            "python": sys.version.split()[0],
            "model": getattr(self.loss, "__name__", "a function"),
            "first_step": 0,
            "groups": [],
            "sides": [None],
            "readouts": list(self.readouts),
            "missing": self.missing,
            "mode": "as loss says",
            "key": self.key,
            "overhead": self.overhead,
            "total_steps": self.total,
        }

    def _told(self) -> None:
        gone = time.perf_counter() - self._clock
        rest = max(gone - sum(self.spent.values()), 1e-9)
        self.recorder.describe(
            seconds=gone,
            spent=dict(self.spent),
            measured_overhead={name: x / rest for name, x in self.spent.items()},
            last_step=self.now,
            steps=self._steps,
        )

    def _end(self, *, last: bool) -> None:
        if last and self.of is not None and self._last and self._probed != self.now:
            cost, gone = sum(self._seconds.values()), time.perf_counter() - self._clock
            due = worth_a_last_one(
                self.plan, self.now, self._done, cost, gone, self.overhead
            )
            if due and self.guard.on("curvature"):
                with self.guard("curvature", self.now):
                    self._measure(*self._last, edge=True)
        self._told()
        says = reading(self.recorder.recording())
        self.recorder.close()
        if self.recorder.folder is not None:
            says.save(self.recorder.folder)
        self.finished, self._last = says, None


def _dtypes(arrays: Iterable[Any]) -> str | None:
    return ", ".join(sorted({str(x.dtype) for x in arrays})) or None
