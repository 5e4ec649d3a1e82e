"""Limits in continuous time.

`adaptive`: adaptive gradient flow and its tail; `state_space`: models of sequences.
"""

from penchant.flows import adaptive as adaptive, state_space as state_space
from penchant.flows.adaptive import (
    Flow as Flow,
    Limit as Limit,
    ShortFlowWarning as ShortFlowWarning,
    Stage as Stage,
    Tail as Tail,
    ZeroGradientError as ZeroGradientError,
    adaptive_flow as adaptive_flow,
    limit as limit,
    tail_flow as tail_flow,
)
