"""Adaptive gradient flow, its tail at infinite time, and the limit of a run."""

from penchant.flows.adaptive._adaptive_flow import (
    Flow as Flow,
    ShortFlowWarning as ShortFlowWarning,
    ZeroGradientError as ZeroGradientError,
    adaptive_flow as adaptive_flow,
)
from penchant.flows.adaptive._limit import (
    Limit as Limit,
    Stage as Stage,
    limit as limit,
)
from penchant.flows.adaptive._rescaled import (
    RescaledFlow as RescaledFlow,
    rescaled_flow as rescaled_flow,
)
from penchant.flows.adaptive._tail import Tail as Tail, tail_flow as tail_flow
