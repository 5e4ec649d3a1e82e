"""Limits of methods whose steps see few samples: mean steps, and where they rest."""

from penchant.theory.per_sample._adam_limit import (
    AdamLimit as AdamLimit,
    AdamLimits as AdamLimits,
)
from penchant.theory.per_sample._adam_limits import adam_limits as adam_limits
from penchant.theory.per_sample._equilibrium import (
    Equilibrium as Equilibrium,
    equilibrium as equilibrium,
    rates as rates,
)
from penchant.theory.per_sample._follow import follow as follow
from penchant.theory.per_sample._mean_step import (
    AbstractMeanStep as AbstractMeanStep,
    AdamCycle as AdamCycle,
    AdamProxy as AdamProxy,
    AdamSampled as AdamSampled,
    adam_proxy as adam_proxy,
    adam_step as adam_step,
    growth_limit as growth_limit,
)
from penchant.theory.per_sample._parametric_margin import (
    fixed_point_map as fixed_point_map,
    parametric_margin as parametric_margin,
)
from penchant.theory.per_sample._signum_gap import (
    SignumGap as SignumGap,
    signum_gap as signum_gap,
)
