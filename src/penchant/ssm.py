"""State space models: what they are, where gradient flow takes them, and why.

Names are gathered here from `penchant.problems.models.ssm` and
`penchant.flows.state_space`.
"""

from penchant.flows.state_space import (
    AbstractSystem as AbstractSystem,
    StateSpaceFlow as StateSpaceFlow,
    UnresolvedGapWarning as UnresolvedGapWarning,
    baseline_limit as baseline_limit,
    baseline_limits as baseline_limits,
    cautions as cautions,
    flow as flow,
    lag_system as lag_system,
    two_lag_limits as two_lag_limits,
)
from penchant.problems.models.ssm import (
    MLP as MLP,
    AbstractDiscretisation as AbstractDiscretisation,
    AbstractSequenceModel as AbstractSequenceModel,
    AbstractStateSpace as AbstractStateSpace,
    Bilinear as Bilinear,
    BoundedStateSpace as BoundedStateSpace,
    ComplexStateSpace as ComplexStateSpace,
    ContinuousStateSpace as ContinuousStateSpace,
    Headed as Headed,
    LagForm as LagForm,
    SelectiveStateSpace as SelectiveStateSpace,
    SequenceRegression as SequenceRegression,
    Stack as Stack,
    StateSpace as StateSpace,
    ZeroOrderHold as ZeroOrderHold,
    convolved as convolved,
    effective_rank as effective_rank,
    gamma as gamma,
    memory_pulls as memory_pulls,
    regression as regression,
    velocity as velocity,
)
