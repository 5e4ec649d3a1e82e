import contextlib
import functools
import importlib.metadata
import itertools
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from penchant._checks import check_count
from penchant._files import held
from penchant._progress import progress_bar
from penchant._types import Key, Parameters, StepSize, Tree
from penchant.optimizers import AbstractOptimizer
from penchant.problems import AbstractClassification, AbstractProblem
from penchant.training import _checkpoint as checkpoints
from penchant.training._grid import Axis, blocks, lanes, points_in, read_grid
from penchant.training._loop import Rule, RunState, advance, start
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

if TYPE_CHECKING:
    import xarray

SAVE_SECONDS = 5.0

FEWEST_LANES = 8
"""Fewer lanes than this are not dealt to another thread."""

_STATE_AXES: Any = RunState(None, 0, 0, 0)


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
        save: Path of a Zarr store. Records are written there as the sweep proceeds,
            with a checkpoint; if the store holds this same sweep, unfinished, it goes
            on from its last checkpoint, whatever ended it. Records that are no longer
            there as they were written are computed again, with a warning.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range, the grid names what can't be varied,
            or the store holds something else, can't be written, or is in use by
            another process.
        OSError: If the store can't be written any more; what is in it is kept.
    """
    steps = check_count("steps", steps)
    record = check_count("record", record, least=2)
    if step_size is None and "step_size" not in grid:
        raise ValueError('Give step_size, or "step_size" in the grid.')
    first = grid["step_size"][0] if step_size is None else step_size
    rule, initial = make_rule(problem, optimizer, first, batching, init, key)
    axes = read_grid(grid, rule)
    _check_values(axes, rule, initial)
    at = record_steps(steps, record)
    layout: Layout = {name: ((), ()) for name in _names(problem)}
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
    if save is None:
        store: MemoryStore | ZarrStore = MemoryStore(axes, at, layout)
    else:
        size = tuple(s.stop - s.start for s in boxes[0])
        store = ZarrStore(Path(save), axes, at, layout, size, attrs)
    job = _Job(rule, initial, axes, at, boxes, layout, store)
    with (
        _held(save),
        progress_bar(progress, steps * len(boxes), 0, "sweeping") as report,
    ):
        try:
            job.run(steps, report)
        except OSError as error:
            raise OSError(
                f"save: {save} can't be written: {error.strerror or error}. The same "
                "call goes on from what is stored there."
            ) from error
    return store.dataset(attrs)


def _held(save: str | Path | None) -> contextlib.AbstractContextManager[None]:
    if save is None:
        return contextlib.nullcontext()
    path = Path(save)
    return held("save:", path, path.with_name(path.name + ".lock"))


class _Job:
    """A sweep under way: which box of lanes, how far, and what is not stored yet."""

    def __init__(
        self,
        rule: Rule,
        initial: Tree,
        axes: list[Axis],
        at: np.ndarray,
        boxes: list[Box],
        layout: Layout,
        store: MemoryStore | ZarrStore,
    ):
        self.rule, self.initial, self.axes, self.at = rule, initial, axes, at
        self.boxes, self.layout, self.store = boxes, layout, store
        self.identity = checkpoints.fingerprint(rule, initial) | {
            "grid": repr([(axis.name, _listed(axis.values)) for axis in axes]),
            "steps": repr(at.tolist()),
            "weights": repr("weights" in layout),
        }
        self.box = 0
        self.state: Any = None
        self.first = 0  # index of the first pending record
        self.pending: list[dict[str, np.ndarray]] = []
        # of the records stored so far, a box's by the name of the variable
        self.digests: list[dict[str, str]] = [{} for _ in boxes]
        self.saved = time.monotonic()

    def run(self, steps: int, report: Any) -> None:
        self._resume()
        while self.box < len(self.boxes):
            box = self.boxes[self.box]
            call = _Vectorised(self.rule, self.initial, points_in(self.axes, box))
            if self.state is None:
                self.state = call.start()
            else:
                self.state = self._restored(call.start())
            runner = Runner(self.rule, call.advance)
            while (step := int(self.state.step)) < steps:
                due = int(self.at[np.searchsorted(self.at, step, side="right")])
                self.state, mean = runner(self.state, due)
                report(self.box * steps + int(self.state.step), mean)
                if int(self.state.step) == due:
                    self.pending.append(call.record(self.state, self.layout, box))
                if time.monotonic() - self.saved > SAVE_SECONDS:
                    self._flush()
            self.box += 1
            self.state = None
            self._flush(box)
            self.first = 0

    def _restored(self, fresh: RunState) -> RunState:
        try:
            return checkpoints.tree_of("state", self.state, fresh)
        except ValueError as error:
            raise ValueError(f"{self.store_name} is {error}") from None

    def _flush(self, finished: Box | None = None) -> None:
        """Save what is pending, and the state, so that nothing of it is lost."""
        box = finished or self.boxes[self.box]
        stacked = self._stack()
        if isinstance(self.store, ZarrStore):
            arrays = {f"pending_{name}": values for name, values in stacked.items()}
            if self.state is not None:
                arrays |= checkpoints.leaves_of("state", self.state)
            meta = {
                "fingerprint": self.identity,
                "box": self.box,
                "first": self.first,
                "pending_box": self.boxes.index(box),
                "running": self.state is not None,
                "digests": self.digests,
            }
            self.store.save(meta, arrays)
        self.store.write(box, self.first, stacked)
        self._chain(self.boxes.index(box), stacked)
        self.first += len(self.pending)
        self.pending = []
        self.saved = time.monotonic()

    def _stack(self) -> dict[str, np.ndarray]:
        along = len(self.axes)
        if not self.pending:
            return {}
        return {
            name: np.stack([record[name] for record in self.pending], axis=along)
            for name in self.layout
        }

    def _chain(self, box: int, stored: dict[str, np.ndarray]) -> None:
        if isinstance(self.store, MemoryStore):
            return
        along, digests = len(self.axes), self.digests[box]
        for name, values in stored.items():
            digests[name] = chained(digests.get(name, ""), values, along)

    def _resume(self) -> None:
        if not isinstance(self.store, ZarrStore):
            return
        found = self.store.load()
        if found is None:
            self.store.create(self.identity)
            self._flush()
            return
        meta, arrays = found
        part = checkpoints.differing(meta.get("fingerprint", {}), self.identity)
        if part is not None:
            raise ValueError(
                f"save: {self.store.path} holds another sweep: its {part} differs. "
                "Give another path, or delete it."
            )
        self._check(meta)
        if not self._is_whole(meta):
            warnings.warn(
                f"save: {self.store.path} has lost records, or holds others than were "
                "written: the sweep starts anew.",
                stacklevel=4,
            )
            self.store.create(self.identity)
            self._flush()
            return
        pending = {
            name: arrays[f"pending_{name}"]
            for name in self.layout
            if f"pending_{name}" in arrays
        }
        self.digests = meta["digests"]
        self.store.write(self.boxes[meta["pending_box"]], meta["first"], pending)
        self._chain(meta["pending_box"], pending)
        self.box = meta["box"]
        if meta["running"]:
            count = next((v.shape[len(self.axes)] for v in pending.values()), 0)
            self.first = meta["first"] + count
            self.state = arrays

    def _check(self, meta: dict[str, Any]) -> None:
        """Refuse a checkpoint whose places are not in the sweep."""
        count, r = len(self.boxes), len(self.at)
        bounds = {"box": count, "pending_box": count - 1, "first": r, "running": 1}
        for name, most in bounds.items():
            seen = meta.get(name)
            if not (isinstance(seen, int) and 0 <= seen <= most):
                raise ValueError(
                    f"{self.store_name} is no readable checkpoint: {name} must lie "
                    f"between 0 and {most}; got {seen!r}."
                )

    @property
    def store_name(self) -> str:
        """The checkpoint, for messages."""
        return str(getattr(self.store, "checkpoint", ""))

    def _is_whole(self, meta: dict[str, Any]) -> bool:
        """Whether all is in the store that was there at a checkpoint."""
        assert isinstance(self.store, ZarrStore)
        digests = meta.get("digests")  # none in those of version 0.1.0
        if not isinstance(digests, list) or len(digests) != len(self.boxes):
            return False
        last = meta["pending_box"]
        counts = [len(self.at)] * last + [meta["first"]]
        return all(
            self.store.is_whole(box, count, digest)
            for box, count, digest in zip(self.boxes, counts, digests, strict=False)
        )


def _cores() -> int:
    """Those that this process may run on: two threads on one core wait in turns."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Vectorised:
    """The compiled calls for one box of lanes.

    On a CPU the lanes are dealt to one thread a core: a loop that is compiled as one
    function runs on a single core by itself.
    """

    def __init__(self, rule: Rule, initial: Tree, points: list[dict[str, Any]]):
        cores = _cores() if jax.default_backend() == "cpu" else 1
        groups = max(1, min(cores, len(points) // FEWEST_LANES))
        cuts = np.linspace(0, len(points), groups + 1).astype(int)
        parts = [points[a:b] for a, b in itertools.pairwise(cuts)]
        self.sizes = [len(part) for part in parts]
        self.parts = [lanes(rule, initial, part) for part in parts]
        rule_axes = self.parts[0].rule_axes
        self._start = eqx.filter_vmap(
            start, in_axes=(rule_axes, 0), out_axes=_STATE_AXES
        )
        self._advance = eqx.filter_jit(
            eqx.filter_vmap(
                advance,
                in_axes=(rule_axes, _STATE_AXES, None, None),
                out_axes=(_STATE_AXES, 0),
            )
        )

    def start(self) -> RunState:
        states = [self._start(part.rule, part.initial) for part in self.parts]
        return self._merge(states)

    def advance(
        self, rule: Rule, state: RunState, until: Any, inline: bool
    ) -> tuple[RunState, Any]:
        del rule  # each part has its own
        run = lambda part, state: jax.block_until_ready(
            self._advance(part.rule, state, until, inline)
        )
        states = self._split(state)
        if len(states) == 1:
            return run(self.parts[0], states[0])
        with ThreadPoolExecutor(len(states)) as pool:
            done = list(pool.map(run, self.parts, states))
        return self._merge([d[0] for d in done]), jnp.concatenate([d[1] for d in done])

    def _merge(self, states: list[RunState]) -> RunState:
        if len(states) == 1:
            return states[0]
        join = lambda *leaves: jnp.concatenate(leaves)
        return RunState(
            states[0].step,
            jax.tree.map(join, *(s.weights for s in states)),
            jax.tree.map(join, *(s.optimizer for s in states)),
            jax.tree.map(join, *(s.pace for s in states)),
        )

    def _split(self, state: RunState) -> list[RunState]:
        ends = np.cumsum(self.sizes)
        parts = []
        for a, b in zip([0, *ends[:-1]], ends, strict=True):
            cut = functools.partial(lambda a, b, leaf: leaf[a:b], int(a), int(b))
            rest = (state.weights, state.optimizer, state.pace)
            parts.append(RunState(state.step, *jax.tree.map(cut, rest)))
        return parts

    def record(
        self, state: RunState, layout: Layout, box: Box
    ) -> dict[str, np.ndarray]:
        shape = tuple(s.stop - s.start for s in box)
        out = _measure(self.parts[0].rule.problem, state.weights)
        if "weights" in layout:
            out["weights"] = _stored(state.weights)
        return {
            name: np.asarray(value).reshape(*shape, *np.shape(value)[1:])
            for name, value in out.items()
        }


def _weight_layout(w: Parameters) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Shape and axes of stored weights: a pytree is stored as one flat axis."""
    if isinstance(w, jax.Array):
        return w.shape, weight_dims(w.ndim)
    count = sum(leaf.size for leaf in jax.tree.leaves(w))
    return (count,), ("parameter",)


def _stored(w: Parameters) -> jax.Array:
    """Weights of all lanes in that layout; the problem's `unflat` is the inverse."""
    if isinstance(w, jax.Array):
        return w
    return jax.vmap(lambda one: ravel_pytree(one)[0])(w)


def _names(problem: AbstractProblem) -> tuple[str, str]:
    """What is recorded beside the weights: a margin where there are any."""
    if isinstance(problem, AbstractClassification):
        return "log_loss", "margin"
    return "log_loss", "loss"


@eqx.filter_jit
def _measure(problem: AbstractProblem, w: Tree) -> dict[str, Any]:
    def one(w: Tree) -> dict[str, Any]:
        seen = problem.recorded(w)
        if isinstance(problem, AbstractClassification):
            return {"log_loss": seen, "margin": jnp.min(problem.margins(w))}
        return {"log_loss": jnp.log(seen), "loss": seen}

    return dict(jax.lax.map(one, w, batch_size=64))


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
