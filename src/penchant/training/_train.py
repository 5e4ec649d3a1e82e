import contextlib
import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from penchant import optimizers
from penchant._checks import check_count, check_instance
from penchant._files import held
from penchant._interrupt import noticed_interrupts
from penchant._keys import as_key
from penchant._progress import progress_bar
from penchant._types import Key, Parameters, StepSize
from penchant.optimizers import AbstractOptimizer
from penchant.problems import AbstractProblem, of_dataset
from penchant.training import _checkpoint as checkpoints
from penchant.training._divergence import cause, is_finite
from penchant.training._loop import (
    Rule,
    RunState,
    States,
    advance_jit,
    start,
    through_jit,
)
from penchant.training._trajectory import Outcome, Trajectory, record_steps
from penchant.training.batching import AbstractBatching, FullBatch
from penchant.training.schedules import LossBased, as_schedule

CHUNK_SECONDS = 0.25
"""About how long a call into compiled code lasts: progress and Ctrl-C live between."""

SAVE_SECONDS = 30.0

RECORDS, ENTRIES = 16, 1 << 21
"""Records that a call makes at most, and numbers in them: 16 MiB."""


def train(
    problem: AbstractProblem | object,
    optimizer: AbstractOptimizer | str | object,
    *,
    steps: int,
    step_size: StepSize,
    batching: AbstractBatching = FullBatch(),
    init: Parameters | None = None,
    key: Key = 0,
    record: int = 200,
    progress: bool | None = None,
    checkpoint: str | Path | None = None,
    after: Trajectory | None = None,
) -> Trajectory:
    r"""Run `optimizer` on `problem` and record it at log-spaced steps.

    One compiled loop, called for a quarter of a second at a time. Memory does not
    depend on `steps`. Losses and gradients are in the log domain, so that rules that
    ignore the gradient's scale go on unchanged at a loss of $e^{-10^6}$.

    Ctrl-C ends the run and returns what was reached, with
    `outcome == Outcome.INTERRUPTED`. Weights that become infinite end it too
    (`Outcome.DIVERGED`).

    Args:
        problem: What is learned; a `Dataset` is a linear classifier.
        optimizer: The update rule, or its name; an optax transformation is taken
            as `FromOptax`.
        steps: Number of updates, $T\ge1$.
        step_size: A number, `schedules.power(...)`, or any function of the step
            $t=0,1,\dots$, such as an optax schedule; or `schedules.loss_based()`.
        batching: Which samples an update sees.
        init: Initial parameters; None for the problem's own: zeros if it is linear,
            the `params` it was given if it is a network.
        key: An integer seed, or a JAX key, for the order of samples.
        record: Number of records, from step 1 to `steps`, with `steps // 2`.
        progress: Show a bar with the time gone and left; None for one on a terminal
            or in a notebook, and none in files, pipes and tests.
        checkpoint: A folder. The run is saved there every half minute and at its
            end; if it holds this same run, it goes on where that stopped, bit for bit.
            If it can't be saved (a full disk, say) there is a warning, and the run
            goes on.
        after: A run of the same rule on weights of this shape: this one is its next
            stage, from its last weights and with its optimizer's memory, on another
            problem or with other step sizes. A stage without noise is a cool-down.
            Steps count from 0 again.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range, `init` has the wrong shape, `after` is
            of another kind of rule, or the checkpoint is of another run (the message
            says what differs), can't be written, or is in use by another process.
    """
    steps = check_count("steps", steps)
    record = check_count("record", record, least=2)
    begun = time.monotonic()
    rule, initial = make_rule(problem, optimizer, step_size, batching, init, key)
    memory = None
    if after is not None:
        initial, memory = _stage(rule, after, init)
    at = record_steps(steps, record)
    file = None if checkpoint is None else Path(checkpoint) / "checkpoint.npz"
    with contextlib.nullcontext() if file is None else held("checkpoint:", file.parent):
        run = _Run(rule, initial, at, file, memory)
        with (
            progress_bar(progress, steps, int(run.state.step), "training") as report,
            noticed_interrupts() as interrupted,
        ):
            outcome = run.go(report, interrupted)
        run.finish()
    recorded = run.recorder.upto(steps)
    return Trajectory(
        steps=jnp.asarray(recorded.steps),
        weights=jax.tree.map(lambda *w: jnp.asarray(np.stack(w)), *recorded.weights),
        recorded=jnp.asarray(recorded.log_loss),
        initial=initial,
        rule=rule,
        state=run.state,
        outcome=outcome,
        advice=run.advice(outcome),
        seconds=time.monotonic() - begun,
    )


def _stage(
    rule: Rule, after: Trajectory, init: Parameters | None
) -> tuple[Parameters, Any]:
    """Where a stage begins: the last weights of the run before, and its memory."""
    check_instance("after", after, Trajectory, "a run, as train returns it")
    if init is not None:
        raise ValueError("init and after are both a start: give one of them.")
    initial = rule.problem.read(after.state.weights, "after")
    memory = start(rule, initial).optimizer
    if jax.tree.structure(memory) != jax.tree.structure(after.state.optimizer):
        raise ValueError(
            "after must be a run of the same kind of rule, whose memory goes on: "
            f"{rule.optimizer!r}; got one of {after.rule.optimizer!r}."
        )
    return initial, after.state.optimizer


def make_rule(
    problem: AbstractProblem | object,
    optimizer: object,
    step_size: StepSize,
    batching: AbstractBatching,
    init: Parameters | None,
    key: Key,
) -> tuple[Rule, Parameters]:
    """Check what a run is made of; the rule, and the initial weights.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If `init` has the wrong shape or is not finite.
    """
    problem = of_dataset(problem)
    check_instance(
        "problem",
        problem,
        AbstractProblem,
        "a LinearClassification, NetworkClassification, Regression or Objective",
    )
    assert isinstance(problem, AbstractProblem)
    rule = optimizers.read(optimizer)
    if rule.needs_loss and not problem.has_batch_loss:
        raise TypeError(
            f"optimizer: {rule!r} reads the loss, and {type(problem).__name__} has no "
            "batch_loss to give it."
        )
    check_instance("batching", batching, AbstractBatching, "one of penchant.batching")
    batching.check(problem.samples)
    initial = problem.start if init is None else problem.read(init, "init")
    schedule = as_schedule(step_size)
    if isinstance(schedule, LossBased):
        schedule.check(rule)
    return Rule(problem, rule, schedule, batching, as_key(key)), initial


class _Calls:
    """Calls the compiled loop for about `CHUNK_SECONDS` at a time.

    What a call takes besides its steps, such as the loss that it records, is no more
    than the quickest call took; where that is long, calls make so many steps that these
    take longer.
    """

    quickest = math.inf

    def __init__(self, rule: Rule, advance: Callable[..., Any] = advance_jit):
        self.rule = rule
        self.advance = advance
        self.inline = True
        self.chunk = 1

    @contextlib.contextmanager
    def _timed(self, cut: bool) -> Iterator[None]:
        """Fit the next call's steps to the time of this one, if `cut` short by them."""
        begun = time.monotonic()
        yield
        taken = time.monotonic() - begun
        self.quickest = min(self.quickest, taken)
        wanted = max(CHUNK_SECONDS, 2.0 * self.quickest)
        taken -= self.quickest
        if taken < wanted and cut:
            self.chunk *= 2
        elif taken > 4 * wanted and self.chunk > 1:
            self.chunk //= 2

    def steps(self, state: RunState | States, stop: int) -> tuple[Any, Any]:
        """All steps up to number `stop`."""
        return self._called(self.advance, state, jnp.asarray(stop))

    def _called(
        self, compiled: Callable[..., Any], state: RunState | States, until: Any
    ) -> tuple[Any, Any]:
        if self.inline:
            try:
                return compiled(self.rule, state, until, True)
            except jax.errors.JaxRuntimeError as error:
                if "UNIMPLEMENTED" not in str(error):
                    raise
                self.inline = False  # this compiler can't inline this loop
        return compiled(self.rule, state, until, False)


class Runner(_Calls):
    """Goes towards a step, in calls that record at their end."""

    def __call__(
        self, state: RunState | States, until: int
    ) -> tuple[RunState | States, float]:
        """Go towards step `until`, and return after one call."""
        step = int(np.max(np.asarray(state.step)))
        stop = min(until, step + self.chunk)
        with self._timed(stop == step + self.chunk):
            state, log_loss = self.steps(state, stop)
            log_loss = np.asarray(log_loss)  # waits for the result
        return state, float(np.mean(log_loss))


Record = tuple[int, Parameters, float]
"""A step's number, its weights and the loss recorded there."""


class RecordingRunner(_Calls):
    """Goes towards steps, in calls of a loop that records at several by itself.

    Args:
        rule: What is run.
        size: Numbers in the weights: a call's records are in memory at once.
    """

    def __init__(self, rule: Rule, size: int):
        super().__init__(rule)
        self.most = max(1, min(RECORDS, ENTRIES // max(1, size)))

    def __call__(
        self, state: RunState, dues: Sequence[int]
    ) -> tuple[RunState, list[Record]]:
        """Go towards these steps, and return after one call, with what it recorded."""
        stop = int(state.step) + self.chunk
        reached = [due for due in dues[: self.most] if due <= stop]
        ahead = reached or [stop]
        filled = jnp.asarray(ahead + [ahead[-1]] * (self.most - len(ahead)))
        with self._timed(len(reached) < min(self.most, len(dues))):
            state, (weights, log_loss) = self._called(through_jit, state, filled)
            log_loss = np.asarray(log_loss)  # waits for the result
        weights = jax.tree.map(np.asarray, weights)
        at = lambda i: jax.tree.map(lambda w: np.array(w[i]), weights)
        return state, [(s, at(i), float(log_loss[i])) for i, s in enumerate(ahead)]


class _Recorder:
    """Records on the host, where they do not compete for the device's memory."""

    def __init__(self):
        self.steps: list[int] = []
        self.weights: list[Any] = []
        self.log_loss: list[float] = []

    def add(self, step: int, weights: Parameters, log_loss: float) -> None:
        self.steps.append(step)
        self.weights.append(jax.tree.map(np.asarray, weights))
        self.log_loss.append(log_loss)

    def upto(self, steps: int) -> "_Recorder":
        """The records no later than `steps`, or the first one."""
        kept = max(1, int(np.searchsorted(self.steps, steps, side="right")))
        part = _Recorder()
        part.steps, part.weights = self.steps[:kept], self.weights[:kept]
        part.log_loss = self.log_loss[:kept]
        return part


class _Run:
    """A run under way: its state, what is recorded of it, and when it was saved."""

    def __init__(
        self,
        rule: Rule,
        initial: Parameters,
        at: np.ndarray,
        file: Path | None,
        memory: Any = None,
    ):
        self.rule, self.at, self.file = rule, at, file
        self.state, self.recorder = start(rule, initial), _Recorder()
        if memory is not None:
            self.state = dataclasses.replace(self.state, optimizer=memory)
        self.before = self.state
        size = sum(np.size(leaf) for leaf in jax.tree.leaves(initial))
        self.call = RecordingRunner(rule, size)
        self.identity = {} if file is None else checkpoints.fingerprint(rule, initial)
        self.saved = time.monotonic()
        self.told = False
        found = None if file is None else checkpoints.load(file)
        if file is not None and found is not None:
            self._resume(file, found)

    def go(
        self, report: Callable[..., None], interrupted: Callable[[], bool]
    ) -> Outcome:
        """Make all steps, a call of compiled code at a time; how it ended."""
        try:
            while int(self.state.step) < self.at[-1]:
                if interrupted():
                    return Outcome.INTERRUPTED
                self.advance(report)
                if not is_finite(self.state.weights):
                    return Outcome.DIVERGED
        except KeyboardInterrupt:
            return Outcome.INTERRUPTED
        return Outcome.COMPLETE

    def advance(self, report: Callable[..., None]) -> None:
        """One call, and what is due after it: a report, records, a checkpoint."""
        ahead = np.searchsorted(self.at, int(self.state.step), side="right")
        dues = self.at[ahead:].tolist()
        before = self.state
        self.state, records = self.call(before, dues)
        if not is_finite(self.state.weights):
            # as far as the first record that is not: the run ends there
            gone = [step for step, w, _ in records if not is_finite(w)]
            self.state, again = self.call(before, gone[:1])
            records = [r for r in records if r[0] < gone[0]] + again
        self.before = before
        # recorded first: a report that is interrupted must not lose it
        for record in records:
            if record[0] in dues:
                self.recorder.add(*record)
        report(records[-1][0], records[-1][2])
        if self.file is not None and time.monotonic() - self.saved > SAVE_SECONDS:
            if is_finite(self.state.weights):
                self._save(self.file)
            self.saved = time.monotonic()

    def finish(self) -> None:
        """Save the run, and record where it stopped."""
        if self.file is not None and self.recorder.steps:
            self._save(self.file)
        if not self.recorder.steps or self.recorder.steps[-1] < int(self.state.step):
            # not saved, so that a resumed run has the same records
            recorded = self.rule.problem.recorded(self.state.weights)
            self.recorder.add(int(self.state.step), self.state.weights, float(recorded))

    def advice(self, outcome: Outcome) -> str:
        """What to do about how the run ended."""
        why = None
        if outcome is Outcome.DIVERGED:
            why = cause(
                self.rule.problem, self.call.steps, self.before, int(self.state.step)
            )
        return why or outcome.value

    def _save(self, file: Path) -> None:
        """Save the run; a disk that is full ends no training."""
        try:
            _save(file, self.identity, self.state, self.recorder)
        except OSError as error:
            if self.told:
                return
            self.told = True
            warnings.warn(
                f"checkpoint: {file} can't be written: {error.strerror or error}. The "
                "run goes on; what is kept of it is its last checkpoint, if any.",
                stacklevel=4,
            )

    def _resume(
        self, file: Path, found: tuple[dict[str, Any], dict[str, np.ndarray]]
    ) -> None:
        self.state = _restore(file, found, self.identity, self.state, self.recorder)
        self.before, last = self.state, int(self.at[-1])
        if int(self.state.step) > last and last not in self.recorder.steps:
            raise ValueError(
                f"{file} has gone on to step {int(self.state.step)} and has no record "
                f"of step {last}. Ask for more steps, or give another folder."
            )


def _save(
    file: Path, identity: dict[str, str], state: RunState, recorder: _Recorder
) -> None:
    arrays = checkpoints.leaves_of("state", state)
    weights = jax.tree.map(lambda *w: np.stack(w), *recorder.weights)
    arrays |= checkpoints.leaves_of("weights", weights)
    arrays |= {"steps": recorder.steps, "log_loss": recorder.log_loss}
    checkpoints.save(file, {"fingerprint": identity}, arrays)


def _restore(
    file: Path,
    found: tuple[dict[str, Any], dict[str, np.ndarray]],
    identity: dict[str, str],
    fresh: RunState,
    recorder: _Recorder,
) -> RunState:
    meta, arrays = found
    part = checkpoints.differing(meta.get("fingerprint", {}), identity)
    if part is not None:
        raise ValueError(
            f"{file} holds another run: its {part} differs. "
            "Give another checkpoint folder, or delete this one."
        )
    steps, log_loss = (arrays.get(name, np.zeros(0)) for name in ("steps", "log_loss"))
    if not (
        len(steps) and steps.shape == log_loss.shape and (np.diff(steps) > 0).all()
    ):
        raise ValueError(
            f"{file} is no readable checkpoint: its records are at steps {steps}, with "
            f"losses of shape {log_loss.shape}."
        )
    try:
        state = checkpoints.tree_of("state", arrays, fresh)
        weights = checkpoints.tree_of("weights", arrays, fresh.weights, len(steps))
    except ValueError as error:
        raise ValueError(f"{file} is {error}") from None
    for i, step in enumerate(steps):
        recorder.steps.append(int(step))
        recorder.weights.append(jax.tree.map(lambda w: np.asarray(w[i]), weights))  # noqa: B023
        recorder.log_loss.append(float(log_loss[i]))
    return state
