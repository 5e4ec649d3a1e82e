"""Limits in continuous time.

`adaptive`: adaptive gradient flow and its tail. `modified`: what finite steps and
memory add to a flow. `slow`: along minimisers, on the clock of squared step sizes.
"""

from penchant.flows import adaptive as adaptive, modified as modified, slow as slow
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
from penchant.flows.modified import (
    Correction as Correction,
    Share as Share,
    SinglePrecisionWarning as SinglePrecisionWarning,
    correction as correction,
    memory_coefficient as memory_coefficient,
)
from penchant.flows.slow import (
    MonitorError as MonitorError,
    NotInterpolatingError as NotInterpolatingError,
    Projection as Projection,
    SlowFlow as SlowFlow,
    SlowSDE as SlowSDE,
    Stationary as Stationary,
    project as project,
    projection as projection,
    slow_flow as slow_flow,
    slow_sde as slow_sde,
    stationary as stationary,
)
