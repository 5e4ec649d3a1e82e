"""What a diagnosis was asked: one question, checked, with the run it needs."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from penchant._progress import Stages, say
from penchant.datasets import split
from penchant.diagnosis._about import settings_of
from penchant.norms import AbstractNorm
from penchant.optimizers import AbstractOptimizer
from penchant.problems import LinearClassification
from penchant.training import Outcome, Trajectory, train
from penchant.training.batching import AbstractBatching


@dataclasses.dataclass(frozen=True)
class Held:
    """Samples held out: their rows in the data given, and a problem of them alone."""

    rows: np.ndarray
    problem: LinearClassification
    seed: int

    @property
    def said(self) -> str:
        """For a report's settings."""
        return f"{len(self.rows)} samples, drawn class by class, seed {self.seed}"


def hold_out(problem: object, share: object, key: object) -> tuple[Any, "Held | None"]:
    """The problem to train on, and the samples held out; all and None without a share.

    Raises:
        TypeError: If the problem is not linear, or the share no number.
        ValueError: If it is not between 0 and 1, or a class would vanish.
    """
    if share is None:
        return problem, None
    if not isinstance(problem, LinearClassification):
        raise TypeError(
            "holdout is for linear classifiers, whose optima are known in every norm; "
            f"got it with {type(problem).__name__}."
        )
    seed = seed_of(key)
    y = np.asarray(problem.y)
    if problem.names:
        y = np.array(problem.names)[(y + 1) // 2 if problem.binary else y]
    parts = split(y, share, seed)  # type: ignore[arg-type]
    return problem.take(parts.train), Held(parts.held, problem.take(parts.held), seed)


def seed_of(key: object) -> int:
    """A whole number for draws outside JAX, from a seed or a key of JAX."""
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        return abs(int(key))
    data = jax.random.key_data(key) if _is_key(key) else key  # type: ignore[arg-type]
    return int(np.asarray(data).ravel()[-1])


def _is_key(key: object) -> bool:
    kind = getattr(key, "dtype", None)
    return kind is not None and jnp.issubdtype(kind, jax.dtypes.prng_key)


@dataclasses.dataclass(frozen=True)
class Asked:
    """A problem and an algorithm, how long and how to run it, and whom to tell."""

    problem: Any
    optimizer: AbstractOptimizer
    batching: AbstractBatching
    steps: int
    step_size: Any
    norms: Iterable[AbstractNorm | str] | None
    init: Any
    key: Any
    record: int
    checkpoint: str | Path | None
    about: dict[str, Any] | None
    stages: Stages
    held: "Held | None" = None
    """Samples that training does not see."""
    catalogue: Any = None
    """Largest margins that another diagnosis of the same problem has found."""

    @property
    def tell(self) -> Callable[[str], None]:
        """Called with what is done next."""
        return self.stages

    def train(self) -> tuple[Trajectory, dict[str, Any]]:
        """The run, and all that makes it what it is, for a report."""
        if self.stages.listener is not None:
            self.tell(f"training, {self.steps:,} steps")
        self.stages.close()  # training shows its own progress
        run = train(
            self.problem,
            self.optimizer,
            steps=self.steps,
            step_size=self.step_size,
            batching=self.batching,
            init=self.init,
            key=self.key,
            record=self.record,
            progress=self.stages.shown,
            checkpoint=self.checkpoint,
        )
        if run.outcome is Outcome.INTERRUPTED and self.stages.shown:
            say(
                f"interrupted at step {int(run.steps[-1]):,}: the report of what was "
                "reached follows. Ctrl-C again leaves out what is not measured by then."
            )
        return run, settings_of(
            self.problem,
            self.optimizer,
            self.batching,
            self.step_size,
            self.steps,
            self.key,
            self.about
            if self.held is None
            else {**(self.about or {}), "held out": self.held.said},
        )
