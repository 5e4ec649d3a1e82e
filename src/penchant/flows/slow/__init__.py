"""Near minimisers, on the clock of squared step sizes: slow flow, SDE, projection."""

from penchant.flows.slow._loop import loop_integral as loop_integral
from penchant.flows.slow._metric import Metric as Metric
from penchant.flows.slow._projection import (
    NotInterpolatingError as NotInterpolatingError,
    Projection as Projection,
    project as project,
    projection as projection,
)
from penchant.flows.slow._slow_flow import (
    MonitorError as MonitorError,
    SlowFlow as SlowFlow,
    slow_flow as slow_flow,
)
from penchant.flows.slow._slow_sde import (
    AbstractCovariance as AbstractCovariance,
    Isotropic as Isotropic,
    LabelNoise as LabelNoise,
    LocalSGD as LocalSGD,
    Of as Of,
    SlowSDE as SlowSDE,
    slow_sde as slow_sde,
)
from penchant.flows.slow._stationary import (
    Stationary as Stationary,
    stationary as stationary,
)
