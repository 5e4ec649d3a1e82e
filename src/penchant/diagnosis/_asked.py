"""What a diagnosis was asked: one question, checked, with the run it needs."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from penchant._progress import Stages, say
from penchant.diagnosis._about import settings_of
from penchant.diagnosis._hold_out import Held
from penchant.norms import AbstractNorm
from penchant.optimizers import AbstractOptimizer
from penchant.training import Outcome, Trajectory, train
from penchant.training.batching import AbstractBatching


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
    held: Held | None = None
    """Samples that training does not see."""
    catalogue: Any = None
    """Largest margins that another diagnosis of the same problem has found."""
    made: Callable[[], Trajectory] | None = None
    """Gives the run that somebody else makes; None: it is made here."""

    @property
    def tell(self) -> Callable[[str], None]:
        """Called with what is done next."""
        return self.stages

    def run(self, progress: bool = False) -> Trajectory:
        """The run alone."""
        return train(
            self.problem,
            self.optimizer,
            steps=self.steps,
            step_size=self.step_size,
            batching=self.batching,
            init=self.init,
            key=self.key,
            record=self.record,
            progress=progress,
            checkpoint=self.checkpoint,
        )

    def train(self) -> tuple[Trajectory, dict[str, Any]]:
        """The run, and all that makes it what it is, for a report."""
        if self.stages.listener is not None:
            self.tell(f"training, {self.steps:,} steps")
        self.stages.close()  # training shows its own progress
        run = self.made() if self.made is not None else self.run(self.stages.shown)
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
            self.about,
            self.held,
        )
