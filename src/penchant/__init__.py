"""Which solution does my optimizer pick, and why?"""

from penchant import (
    _engine as _engine,
    margins as margins,
    norms as norms,
    optimizers as optimizers,
    problems as problems,
    training as training,
)
from penchant.margins import (
    Certificate as Certificate,
    MaxMargin as MaxMargin,
    NotSeparableError as NotSeparableError,
    certify as certify,
    max_margin as max_margin,
)
from penchant.problems import (
    LinearClassification as LinearClassification,
    losses as losses,
)
from penchant.training import (
    Trajectory as Trajectory,
    batching as batching,
    schedules as schedules,
    sweep as sweep,
    train as train,
)
