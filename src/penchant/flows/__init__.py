"""Limits in continuous time.

`adaptive`: adaptive gradient flow and its tail. `modified`: what finite steps and
memory add to a flow. `slow`: along minimisers, on the clock of squared step sizes.
`state_space`: models of sequences.
"""

from penchant.flows import (
    adaptive as adaptive,
    modified as modified,
    slow as slow,
    state_space as state_space,
)
from penchant.flows.adaptive import (
    Flow as Flow,
    Limit as Limit,
    RescaledFlow as RescaledFlow,
    ShortFlowWarning as ShortFlowWarning,
    Stage as Stage,
    Tail as Tail,
    ZeroGradientError as ZeroGradientError,
    adaptive_flow as adaptive_flow,
    limit as limit,
    rescaled_flow as rescaled_flow,
    tail_flow as tail_flow,
)
from penchant.flows.modified import (
    CentralFlow as CentralFlow,
    Correction as Correction,
    DivergedFlowWarning as DivergedFlowWarning,
    NoSlowModeError as NoSlowModeError,
    Share as Share,
    SinglePrecisionWarning as SinglePrecisionWarning,
    WithoutMemoryBias as WithoutMemoryBias,
    central_flow as central_flow,
    correction as correction,
    gradient_flow as gradient_flow,
    log_difference as log_difference,
    memory_ages as memory_ages,
    memory_coefficient as memory_coefficient,
    modified_flow as modified_flow,
    principal_flow as principal_flow,
    slow_root as slow_root,
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
