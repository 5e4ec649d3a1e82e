"""Running an algorithm: batches, step sizes, the compiled loop and what it records."""

from penchant._progress import Stages as Stages, tally as tally
from penchant.training import (
    batching as batching,
    executors as executors,
    schedules as schedules,
)
from penchant.training._inline import (
    call_inlined as call_inlined,
    can_inline as can_inline,
)
from penchant.training._replay import Replayed as Replayed, replay as replay
from penchant.training._sweep import sweep as sweep
from penchant.training._train import train as train
from penchant.training._trajectory import (
    Outcome as Outcome,
    Trajectory as Trajectory,
    record_steps as record_steps,
)
from penchant.training._window import Window as Window, window as window
