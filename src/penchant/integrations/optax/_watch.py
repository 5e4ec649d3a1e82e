"""The door for a loop in JAX: called after an update, with weights and state."""

import importlib.metadata
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import jax

from penchant._checks import check_count, check_instance, check_number
from penchant._types import Tree
from penchant.integrations._plan import (
    LAGS,
    STATE_EVERY,
    check_readouts,
    make_plan,
    next_look,
)
from penchant.integrations._record import Recorder
from penchant.integrations._rules import UNKNOWN
from penchant.integrations._session import TIMED, Session
from penchant.integrations.optax._curvature import (
    Curvature,
    Moment,
    raveled,
    stacked,
)
from penchant.integrations.optax._probe import ProbeState, state_of
from penchant.integrations.optax._rules import NAMES
from penchant.integrations.optax._state import States
from penchant.optimizers import Character

DEFAULT = ("state", "sharpness", "edge", "memory", "margins")

PARTS = 8


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
    state_every: int | None = None,
    rule: Character | None = None,
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
            schedule, `weight_decay`, `b1`, `b2`, `decay`, `eps`, `momentum`,
            `nesterov`), where
            `inject_hyperparams` does not have them in the state.
        logits: `logits(params, batch) -> (logits, labels)`; labels below 0 are ignored.
            None: no traces, and no margins.
        overhead: Share of the run's time that probes may take, compilation apart.
        readouts: Which of state, sharpness, edge, memory, margins.
        total_steps: Steps of the run, where known.
        key: Of draws and first vectors.
        state_every: Steps between looks at the state. None: 20, or as many twenties as
            keep looks within 1 % of the time; `run.json` has what it came to.
        rule: What a transformation without a row in the table is, as
            [`identify`][penchant.identify] measured it: thresholds and terms of memory
            are then those of its decays. Its moments stay unread.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If it is out of its range, a setting has no such name, or batches
            differ in shape.
    """
    return Watch(
        loss,
        batches,
        folder,
        settings,
        logits,
        overhead,
        readouts,
        total_steps,
        key,
        state_every,
        rule,
    )


class Watch(Session):
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
        state_every: int | None,
        rule: Character | None,
    ):
        if rule is not None:
            check_instance("rule", rule, Character, "a Character, as identify gives")
        for name, given in (("loss", loss), ("logits", logits)):
            if given is not None and not callable(given):
                raise TypeError(
                    f"{name} must be a function of params and batch; got "
                    f"{given!r:.100} of type {type(given).__name__}."
                )
        check_number("overhead", overhead, above=0.0, most=10.0)
        counts = {"total_steps": total_steps, "state_every": state_every}
        for name, count in counts.items():
            if count is not None:
                check_count(name, count)
        self.key = check_count("key", key, least=0)
        numbers = dict(settings or {})
        for name in numbers:
            if name not in NAMES:
                raise ValueError(
                    f"settings must be of {', '.join(NAMES)}; got {name!r}."
                )
        self.readouts = check_readouts(readouts)
        self.loss, self.logits = loss, logits
        self.parts = None
        if batches is not None:
            check_instance("batches", batches, Iterable, "an iterable of batches")
            self.parts = stacked(list(islice(iter(batches), PARTS)))
        self.missing = self._missing()
        self.active = [
            n for n in self.readouts if n != "state" and n not in self.missing
        ]
        size = math.prod(self._sizes())
        about = {
            **self._about(),
            "overhead": float(overhead),
            "total_steps": total_steps,
        }
        super().__init__(
            Recorder(None if folder is None else Path(folder), about),
            overhead=float(overhead),
            total=total_steps,
            every=state_every,
            examples=(size, size) if self.active else None,
        )
        self.states = States(self.recorder, numbers, rule)
        self.of: Curvature | None = None
        self._now = self._next = 0
        self._offset: int | None = None
        self._last_seen: tuple[Any, Any] | None = None
        self._probed, self._tick = -1, math.nan

    def _missing(self) -> dict[str, str]:
        """Read-outs that can't be had, and why."""
        missing = {
            name: "it is not measured in JAX"
            for name in self.readouts
            if name not in DEFAULT
        }
        asked = [n for n in self.readouts if n != "state" and n in DEFAULT]
        if self.loss is None:
            return missing | dict.fromkeys(asked, "no loss was given")
        if self.parts is None:
            return missing | dict.fromkeys(asked, "no batches were given")
        told = {
            "sharpness": "no logits were given: labels are drawn of them",
            "margins": "no logits were given: margins are differences of them",
        }
        if self.logits is None:
            missing |= {name: why for name, why in told.items() if name in asked}
        return missing

    def _sizes(self) -> tuple[int, ...]:
        """Parts, and examples of each."""
        leaves = jax.tree.leaves(self.parts)
        return tuple(map(int, leaves[0].shape[:2])) if leaves else (0,)

    @property
    def now(self) -> int:
        """Updates made."""
        return self._now

    def __call__(self, step: int, params: Tree, opt_state: Tree) -> None:
        """After an update.

        Args:
            step: Any count that grows by one an update; records go by the state's own.
            params: The weights after it.
            opt_state: The optimizer's state after it, with that of
                [`probe`][penchant.optax.probe] somewhere inside.
        """
        with self.guard("watch", self._now):
            if not self.guard.on("watch"):
                return
            if len(self.gaps) < TIMED:
                jax.block_until_ready(params)  # a step that is under way has no time
                if math.isfinite(self._tick):
                    self.gaps.append(time.perf_counter() - self._tick)
            if self._offset is None:
                self._set_up(int(step), params, state_of(opt_state))
            assert self._offset is not None
            self._now, self.steps = int(step) + self._offset, self.steps + 1
            self._last_seen = params, opt_state
            # calls between looks count, and that is all
            if self._now >= self._next:
                self._look(params, state_of(opt_state))
            if self.of is not None and self._curved(self.of):
                self._curvature(self.of, params, state_of(opt_state))
        if len(self.gaps) < TIMED:
            self._tick = time.perf_counter()

    # the two tiers

    def _set_up(self, step: int, params: Tree, state: ProbeState | None) -> None:
        done = step + 1 if state is None else int(state.count)
        self._offset = done - step
        if state is None and "state" in self.readouts:
            self.missing["state"] = "opt_state has no state of pn.optax.probe"
        if state is None:
            # without it the rule is unknown: so are its geometry and its memory
            self.states.settings = {}
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
            flat, back = raveled(params)
            self.of = Curvature(
                self.loss, self.logits, self.parts, back, flat, self.key
            )
        self._next = next_look(done - 1, self.plan.every or STATE_EVERY)

    def _look(self, params: Tree, state: ProbeState | None) -> None:
        begun = time.perf_counter()
        if "state" in self.readouts and state is not None and self.guard.on("state"):
            with self.guard("state", self._now):
                counted = int(state.count)
                if counted != self._now:
                    self.recorder.event("gap", self._now, counted=counted)
                    self._offset = (self._offset or 0) + counted - self._now
                    self._now = counted
                self.states.record(self._now, params, state)
            self.look_seconds.append(time.perf_counter() - begun)
            self._time_looks()
        self._next = self._next_look(self._now)
        self.spent["state"] += time.perf_counter() - begun

    def _curved(self, of: Curvature) -> bool:
        """Whether curvature, or a kept gradient, is looked at after this step."""
        lagging = of.stale is not None and self._now - of.stale[0] in LAGS
        return lagging or self.plan.due(self._now)

    def _curvature(self, of: Curvature, params: Tree, state: ProbeState | None) -> None:
        if not self.guard.on("curvature"):
            return
        begun = time.perf_counter()
        with self.guard("curvature", self._now):
            kept = of.stale
            if kept is not None and self._now - kept[0] in LAGS:
                at = Moment(self._now, raveled(params)[0], UNKNOWN, {}, None, None)
                lag, ratio = of.staleness(at)
                told = {f"stale_{lag}": ratio}
                self.recorder.record(kept[0], "curvature", None, told)
                if lag == LAGS[-1]:
                    of.stale = None
            if self.plan.due(self._now):
                edge = self._now in self.plan.edge
                at = self._measure(of, params, state, edge=edge)
                if not self.plan.made:
                    self._make_plan(of, at)
        self.spent["curvature"] += time.perf_counter() - begun

    def _measure(
        self, of: Curvature, params: Tree, state: ProbeState | None, *, edge: bool
    ) -> Moment:
        self.done, self._probed = self.done + 1, self._now
        at = self.states.moment(self._now, params, state)
        of.begin(at)
        for name in self.active:
            if (name == "edge" and not edge) or not self.guard.on(name):
                continue
            begun = time.perf_counter()
            with self.guard(name, self._now):
                values = getattr(of, name)(at)
                self.recorder.record(self._now, "curvature", None, values)
                self.edges += "largest" in values
            if self.done == 1:
                self.seconds[name] = time.perf_counter() - begun
        self.recorder.record(self._now, "curvature", None, {"loss": of.losses()})
        of.forget()
        return at

    def _make_plan(self, of: Curvature, at: Moment) -> None:
        self.costs = of.costs(at, self.active)
        examples = math.prod(self._sizes())
        plan, _ = make_plan(
            self.costs,
            self._unit(),
            self.overhead - self._state_share(),
            self.total,
            examples,
            examples,
            self.costs.lights() + self.costs.edges(1),
        )
        self._planned(plan, examples, probe_parts=of.k)

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
        }

    def _leave(self, *, last: bool) -> None:
        again, edge = self._last()
        of, seen, self._last_seen = self.of, self._last_seen, None
        if not (last and again and of and seen) or self._probed == self._now:
            return
        if self.guard.on("curvature"):
            params, opt_state = seen
            begun = time.perf_counter()
            with self.guard("curvature", self._now):
                self._measure(of, params, state_of(opt_state), edge=edge)
            self.spent["curvature"] += time.perf_counter() - begun
