"""Gradient flow of state space models: an exact limit, and flows past any plateau."""

from penchant.flows.state_space._baseline import (
    UnresolvedGapWarning as UnresolvedGapWarning,
    baseline_limit as baseline_limit,
    baseline_limits as baseline_limits,
)
from penchant.flows.state_space._flow import (
    LAGS as LAGS,
    StateSpaceFlow as StateSpaceFlow,
    cautions as cautions,
    flow as flow,
)
from penchant.flows.state_space._grid import two_lag_limits as two_lag_limits
from penchant.flows.state_space._systems import (
    AbstractSystem as AbstractSystem,
    lag_system as lag_system,
)
