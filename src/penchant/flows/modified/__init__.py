"""Backward error: what finite steps and memory add to the flow of a rule."""

from penchant.flows.modified._ages import memory_coefficient as memory_coefficient
from penchant.flows.modified._central_flow import (
    CentralFlow as CentralFlow,
    central_flow as central_flow,
)
from penchant.flows.modified._correction import (
    SinglePrecisionWarning as SinglePrecisionWarning,
    correction as correction,
)
from penchant.flows.modified._gradient_flow import gradient_flow as gradient_flow
from penchant.flows.modified._log_difference import log_difference as log_difference
from penchant.flows.modified._modified_flow import (
    DivergedFlowWarning as DivergedFlowWarning,
    modified_flow as modified_flow,
)
from penchant.flows.modified._moments import memory_ages as memory_ages
from penchant.flows.modified._principal_flow import (
    NoSlowModeError as NoSlowModeError,
    principal_flow as principal_flow,
    slow_root as slow_root,
)
from penchant.flows.modified._result import (
    ENOUGH as ENOUGH,
    LEVELS as LEVELS,
    VALID as VALID,
    Correction as Correction,
    Share as Share,
)
from penchant.flows.modified._without_memory import (
    WithoutMemoryBias as WithoutMemoryBias,
)
