"""State space models, their regression problems, and what moves their poles."""

from penchant.problems.models._deeper import (
    MLP as MLP,
    Headed as Headed,
    SelectiveStateSpace as SelectiveStateSpace,
    Stack as Stack,
    convolved as convolved,
)
from penchant.problems.models._parametrised import (
    AbstractDiscretisation as AbstractDiscretisation,
    Bilinear as Bilinear,
    BoundedStateSpace as BoundedStateSpace,
    ComplexStateSpace as ComplexStateSpace,
    ContinuousStateSpace as ContinuousStateSpace,
    ZeroOrderHold as ZeroOrderHold,
)
from penchant.problems.models._sequence_model import (
    AbstractSequenceModel as AbstractSequenceModel,
    AbstractStateSpace as AbstractStateSpace,
    StateSpace as StateSpace,
    effective_rank as effective_rank,
)
from penchant.problems.models._sequence_regression import (
    LagForm as LagForm,
    SequenceRegression as SequenceRegression,
    gamma as gamma,
    memory_pulls as memory_pulls,
    regression as regression,
    velocity as velocity,
)
