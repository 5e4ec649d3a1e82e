"""Limits in continuous time: adaptive gradient flow, and its tail at infinite time."""

from penchant.flows._adaptive_flow import (
    Flow as Flow,
    ShortFlowWarning as ShortFlowWarning,
    ZeroGradientError as ZeroGradientError,
    adaptive_flow as adaptive_flow,
)
from penchant.flows._limit import Limit as Limit, Stage as Stage, limit as limit
from penchant.flows._tail import Tail as Tail, tail_flow as tail_flow
