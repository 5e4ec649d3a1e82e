import contextlib
import dataclasses
import importlib.metadata
import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import numpy as np

from penchant._checks import check_count, check_instance
from penchant._places import place
from penchant._progress import progress_bar
from penchant._types import Key, Parameters, StepSize, Tree
from penchant.optimizers import AbstractOptimizer
from penchant.problems import AbstractProblem
from penchant.training import _checkpoint as checkpoints
from penchant.training._grid import Axis, blocks, lanes, points_in, read_grid
from penchant.training._lanes import group_size, names_of
from penchant.training._loop import Rule, RunState
from penchant.training._parts import Part, Plan, Result, run_part
from penchant.training._store import (
    Box,
    Layout,
    MemoryStore,
    ZarrStore,
    chained,
)
from penchant.training._train import Runner, make_rule
from penchant.training._trajectory import record_steps, weight_dims
from penchant.training.batching import AbstractBatching, FullBatch
from penchant.training.executors import AbstractExecutor, Here

if TYPE_CHECKING:
    import xarray

SAVE_SECONDS = 5.0

TASK_SECONDS = 10.0
"""What a task of an executor takes, about: a worker that dies loses no more."""


def sweep(
    problem: AbstractProblem,
    optimizer: AbstractOptimizer | str | object,
    *,
    grid: Mapping[str, Sequence[Any] | np.ndarray],
    steps: int,
    step_size: StepSize | None = None,
    batching: AbstractBatching = FullBatch(),
    init: Parameters | None = None,
    key: Key = 0,
    record: int = 50,
    weights: bool = True,
    progress: bool | None = None,
    save: str | Path | None = None,
    executor: AbstractExecutor | None = None,
) -> "xarray.Dataset":
    r"""Run every combination of a grid of hyper-parameters, vectorised.

    All grid points are lanes of one compiled run (in batches where there are very
    many). The data set has an axis for each name in `grid`, then `step`, and holds
    `log_loss`, `margin` (the least margin $\min_iq_i(w_t)$, not normalised) and
    `weights`; for a problem without margins `loss` in place of `margin`.

    >>> import penchant as pn
    >>> problem = pn.datasets.gaussian(10, 50, seed=0).problem()
    >>> runs = pn.sweep(
    ...     problem,
    ...     pn.optimizers.Adam(0.9, 0.95, 0.0),
    ...     grid={"b2": [0.9, 0.99], "step_size": [0.01, 0.1]},
    ...     steps=100,
    ...     record=5,
    ... )
    >>> dict(runs.log_loss.sizes)
    {'b2': 2, 'step_size': 2, 'step': 5}

    Args:
        problem: What is learned.
        optimizer: The update rule, as `train` takes it.
        grid: Maps names to values: fields of the optimizer (`"b2"`, `"eps"`, …),
            `"step_size"` (numbers, which replace the scale of a power law, or power
            laws), `"exponent"` and `"offset"` of a power law, `"seed"` and `"init"`
            (arrays of weights).
        steps: Number of updates.
        step_size: As in `train`; may be left out if the grid has `"step_size"`.
        batching: Which samples an update sees.
        init: Initial weights of all lanes; zeros if None.
        key: Seed of all lanes where the grid has none.
        record: Number of log-spaced records.
        weights: Keep the weights of every record; a network's as one flat axis
            `parameter`, of which the problem's `unflat` makes a pytree again.
        progress: Show a bar; None for one on a terminal or in a notebook.
        save: Path of a Zarr store, or its URL, such as `s3://bucket/runs.zarr` (through
            fsspec; nothing is locked there). Records are written there as the sweep
            proceeds, with a checkpoint; if the store holds this same sweep, unfinished,
            it goes on from its last checkpoint, whatever ended it. Records that are no
            longer there as they were written are computed again, with a warning.
        executor: Where the runs are made, such as `executors.Ray()`; None for this
            process. The numbers are the same to the last bit, and a store is resumed
            by either.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range, the grid names what can't be varied,
            or the store holds something else, can't be written, or is in use by
            another process.
        OSError: If the store can't be written any more; what is in it is kept.
        RuntimeError: If a task of the executor failed as often as is tried; what was
            done is in the store.
    """
    if executor is not None:
        check_instance(
            "executor", executor, AbstractExecutor, "one of penchant.executors"
        )
    steps = check_count("steps", steps)
    record = check_count("record", record, least=2)
    if step_size is None and "step_size" not in grid:
        raise ValueError('Give step_size, or "step_size" in the grid.')
    first = grid["step_size"][0] if step_size is None else step_size
    rule, initial = make_rule(problem, optimizer, first, batching, init, key)
    axes = read_grid(grid, rule)
    _check_values(axes, rule, initial)
    at = record_steps(steps, record)
    layout: Layout = {name: ((), ()) for name in names_of(problem)}
    if weights:
        layout["weights"] = _weight_layout(initial)
    shape = tuple(len(axis.values) for axis in axes)
    boxes = list(blocks(shape, problem.parameters))
    attrs = {
        "optimizer": repr(rule.optimizer),
        "batching": repr(batching),
        "step_size": repr(rule.schedule),
        "steps": steps,
        "penchant": importlib.metadata.version("penchant"),
    }
    where = None if save is None else place("save:", save)
    if where is None:
        store: MemoryStore | ZarrStore = MemoryStore(axes, at, layout)
    else:
        size = tuple(s.stop - s.start for s in boxes[0])
        store = ZarrStore(where, axes, at, layout, size, attrs, executor is not None)
    plan = Plan(rule, initial, axes, at, layout, group_size(math.prod(shape)))
    job = _Job(plan, boxes, store)
    with (
        contextlib.nullcontext() if where is None else where.held("save:"),
        progress_bar(progress, steps * len(boxes), 0, "sweeping") as report,
    ):
        try:
            job.run(executor, report)
        except OSError as error:
            if isinstance(error, ConnectionError):
                raise  # of the executor
            raise OSError(
                f"save: {save} can't be written: {error.strerror or error}. The same "
                "call goes on from what is stored there."
            ) from error
    return store.dataset(attrs)


class _Job:
    """A sweep under way: which boxes of lanes, how far, and what is not stored yet."""

    def __init__(
        self,
        plan: Plan,
        boxes: list[Box],
        store: MemoryStore | ZarrStore,
    ):
        self.plan, self.boxes, self.store = plan, boxes, store
        rule = plan.rule
        self.identity = checkpoints.fingerprint(rule, plan.initial) | {
            "grid": repr([(axis.name, _listed(axis.values)) for axis in plan.axes]),
            "steps": repr(plan.at.tolist()),
            "weights": repr("weights" in plan.layout),
        }
        self.box = 0  # the one that runs here
        self.state: Any = None
        self.pending: list[dict[str, np.ndarray]] = []
        # of each box: how many records are stored, and their digest by variable
        self.counts = [0] * len(boxes)
        self.digests: list[dict[str, str]] = [{} for _ in boxes]
        self.parts: dict[Part, dict[str, np.ndarray]] = {}  # of boxes not yet whole
        self.saved = time.monotonic()
        self.seconds = math.inf  # that a group takes, compiled

    def run(self, executor: AbstractExecutor | None, report: Any) -> None:
        self._resume()
        if self.state is not None:
            self._run_box(report)
        if executor is not None:
            self._spread(executor, self._unfinished(), report)
        self._spread(Here(), sorted({part.box for part in self.parts}), report)
        for box in self._unfinished():
            self.box = box
            self._run_box(report)

    def _unfinished(self) -> list[int]:
        return [i for i, count in enumerate(self.counts) if count < len(self.plan.at)]

    # in this process, records as they come

    def _run_box(self, report: Any) -> None:
        plan, box = self.plan, self.boxes[self.box]
        call = plan.vectorised(points_in(plan.axes, box))
        states = call.start()
        if self.state is not None:
            states = call.split(self._restored(call.merged(states)))
        self.state = states
        runner = Runner(plan.rule, call.advance)
        done = sum(count == len(plan.at) for count in self.counts)
        while (step := int(self.state.step)) < plan.steps:
            due = int(plan.at[np.searchsorted(plan.at, step, side="right")])
            self.state, mean = runner(self.state, due)
            report(done * plan.steps + int(self.state.step), mean)
            if int(self.state.step) == due:
                self.pending.append(call.record(self.state, plan.layout))
            if time.monotonic() - self.saved > SAVE_SECONDS:
                self._flush(call.merged(self.state))
        self._flush(call.merged(self.state))
        self.state = None

    def _restored(self, fresh: RunState) -> RunState:
        try:
            return checkpoints.tree_of("state", self.state, fresh)
        except ValueError as error:
            raise ValueError(f"{self.store_name} is {error}") from None

    def _flush(self, state: RunState) -> None:
        """Save what is pending, and the state, so that nothing of it is lost."""
        stacked = self._stack()
        self._save(stacked, state)
        self._store(self.box, stacked, len(self.pending))
        self.pending = []

    def _stack(self) -> dict[str, np.ndarray]:
        if not self.pending:
            return {}
        box = self.boxes[self.box]
        joined = {
            name: np.stack([record[name] for record in self.pending], axis=1)
            for name in self.plan.layout
        }
        return _in_box(joined, box)

    # in tasks, wherever these run

    def _spread(
        self, executor: AbstractExecutor, boxes: list[int], report: Any
    ) -> None:
        plan = dataclasses.replace(self.plan, threads=executor.threads)
        least = self.counts.count(len(plan.at)) * plan.steps
        lanes_done, total = 0, sum(self._count_of(box) for box in boxes)
        try:
            for part, result in executor.run(run_part, plan, self._tasks(boxes)):
                self._received(part, result)
                lanes_done += len(part.points)
                share = lanes_done / max(1, total)
                mean = float(np.mean(result.records["log_loss"][:, -1]))
                report(int(least + share * len(boxes) * plan.steps), mean)
        except RuntimeError as error:
            raise RuntimeError(
                f"{error} What was done is stored where save was given, and the same "
                "call goes on from there."
            ) from error
        finally:
            if self.parts:
                self._save({}, None)

    def _count_of(self, box: int) -> int:
        return math.prod(s.stop - s.start for s in self.boxes[box])

    def _tasks(self, boxes: list[int]) -> Iterator[Part]:
        """Groups not yet done, as many a task as take `TASK_SECONDS`."""
        plan = self.plan
        for box in boxes:
            points = points_in(plan.axes, self.boxes[box])
            have = {part.first for part in self.parts if part.box == box}
            first = 0
            while first < len(points):
                stop = first + plan.size
                if first not in have:
                    most = max(1.0, min(TASK_SECONDS / self.seconds, len(points)))
                    while stop < first + int(most) * plan.size and stop not in have:
                        stop += plan.size
                    yield Part(box, first, points[first:stop])
                first = stop

    def _received(self, part: Part, result: Result) -> None:
        """Keep a task's records, a group each; store a box that is whole."""
        groups = -(-len(part.points) // self.plan.size)
        self.seconds = min(self.seconds, result.seconds / groups)
        for at in range(0, len(part.points), self.plan.size):
            cut = slice(at, at + self.plan.size)
            key = Part(part.box, part.first + at, part.points[cut])
            self.parts[key] = {k: v[cut] for k, v in result.records.items()}
        mine = sorted(p for p in self.parts if p.box == part.box)
        if sum(len(p.points) for p in mine) == self._count_of(part.box):
            records = {
                name: np.concatenate([self.parts[p][name] for p in mine])
                for name in self.plan.layout
            }
            box = self.boxes[part.box]
            for p in mine:
                del self.parts[p]
            self._store(part.box, _in_box(records, box), len(self.plan.at))
            self._save({}, None)
        elif time.monotonic() - self.saved > SAVE_SECONDS:
            self._save({}, None)

    # what lasts

    def _store(self, box: int, records: dict[str, np.ndarray], count: int) -> None:
        self.store.write(self.boxes[box], self.counts[box], records)
        self._chain(box, records)
        self.counts[box] += count

    def _save(self, pending: dict[str, np.ndarray], state: RunState | None) -> None:
        """Replace the checkpoint."""
        self.saved = time.monotonic()
        if isinstance(self.store, MemoryStore):
            return
        arrays = {f"pending_{name}": values for name, values in pending.items()}
        if state is not None:
            arrays |= checkpoints.leaves_of("state", state)
        parts = sorted(self.parts)
        for i, part in enumerate(parts):
            kept = self.parts[part].items()
            arrays |= {f"part{i}_{name}": values for name, values in kept}
        meta = {
            "fingerprint": self.identity,
            "box": self.box,
            "running": state is not None and int(state.step) < self.plan.steps,
            "counts": self.counts,
            "digests": self.digests,
            "parts": [[part.box, part.first] for part in parts],
            "size": self.plan.size,
        }
        self.store.save(meta, arrays)

    def _chain(self, box: int, stored: dict[str, np.ndarray]) -> None:
        if isinstance(self.store, MemoryStore):
            return
        along, digests = len(self.plan.axes), self.digests[box]
        for name, values in stored.items():
            digests[name] = chained(digests.get(name, ""), values, along)

    def _resume(self) -> None:
        if not isinstance(self.store, ZarrStore):
            return
        found = self.store.load()
        if found is None:
            self.store.create(self.identity)
            self._save({}, None)
            return
        meta, arrays = found
        part = checkpoints.differing(meta.get("fingerprint", {}), self.identity)
        if part is not None:
            raise ValueError(
                f"save: {self.store.place} holds another sweep: its {part} differs. "
                "Give another path, or delete it."
            )
        self._check(meta)
        if not self._is_whole(meta):
            warnings.warn(
                f"save: {self.store.place} has lost records, or holds others than were "
                "written: the sweep starts anew.",
                stacklevel=4,
            )
            self.store.create(self.identity)
            self._save({}, None)
            return
        self.box, self.counts = meta["box"], meta["counts"]
        self.digests = meta["digests"]
        pending = self._named("pending_", arrays)
        along = len(self.plan.axes)
        count = next((v.shape[along] for v in pending.values()), 0)
        self._store(self.box, pending, count)
        if meta["running"]:
            self.state = arrays
        if meta["size"] == self.plan.size:
            self._resume_parts(meta["parts"], arrays)

    def _resume_parts(
        self, parts: list[list[int]], arrays: dict[str, np.ndarray]
    ) -> None:
        for i, (box, first) in enumerate(parts):
            points = points_in(self.plan.axes, self.boxes[box])
            part = Part(box, first, points[first : first + self.plan.size])
            self.parts[part] = self._named(f"part{i}_", arrays)

    def _named(
        self, prefix: str, arrays: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        names = [name for name in self.plan.layout if prefix + name in arrays]
        return {name: arrays[prefix + name] for name in names}

    def _check(self, meta: dict[str, Any]) -> None:
        """Refuse a checkpoint whose places are not in the sweep."""
        most = len(self.boxes) - 1
        bounds = {"box": most, "running": 1}
        for name, bound in bounds.items():
            seen = meta.get(name)
            if not (isinstance(seen, int) and 0 <= seen <= bound):
                raise ValueError(
                    f"{self.store_name} is no readable checkpoint: {name} must lie "
                    f"between 0 and {bound}; got {seen!r}."
                )

    @property
    def store_name(self) -> str:
        """The checkpoint, for messages."""
        return str(getattr(self.store, "checkpoint", ""))

    def _is_whole(self, meta: dict[str, Any]) -> bool:
        """Whether all is in the store that was there at a checkpoint."""
        assert isinstance(self.store, ZarrStore)
        digests, counts = meta.get("digests"), meta.get("counts")
        # none in those of version 0.1.0
        if not all(
            isinstance(each, list) and len(each) == len(self.boxes)
            for each in (digests, counts)
        ):
            return False
        return all(map(self.store.is_whole, self.boxes, counts, digests))  # type: ignore[arg-type]


def _in_box(records: dict[str, np.ndarray], box: Box) -> dict[str, np.ndarray]:
    """Records whose first axis is that of the lanes, with the box's axes instead."""
    shape = tuple(s.stop - s.start for s in box)
    return {name: x.reshape(*shape, *x.shape[1:]) for name, x in records.items()}


def _weight_layout(w: Parameters) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Shape and axes of stored weights: a pytree is stored as one flat axis."""
    if isinstance(w, jax.Array):
        return w.shape, weight_dims(w.ndim)
    count = sum(leaf.size for leaf in jax.tree.leaves(w))
    return (count,), ("parameter",)


def _check_values(axes: list[Axis], rule: Rule, initial: Tree) -> None:
    """Build every value alone, so that a bad one is named before anything runs."""
    for axis in axes:
        for value in axis.values:
            if axis.name == "init":
                make_rule(
                    rule.problem,
                    rule.optimizer,
                    rule.schedule,
                    rule.batching,
                    value,
                    rule.key,
                )
                continue
            trial = lanes(rule, initial, [{axis.name: value}]).rule
            for module in (trial.optimizer, trial.schedule):
                check = getattr(module, "__check_init__", None)
                if check is not None:
                    check()


def _listed(values: Sequence[Any]) -> list[str]:
    return [
        repr(np.asarray(v).tolist()) if eqx.is_array_like(v) else repr(v)
        for v in values
    ]
