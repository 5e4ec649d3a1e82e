"""Predictions: which solution an algorithm tends to. A module a paper."""

from penchant.theory import (
    baek2026persample as baek2026persample,
    fan2025spectral as fan2025spectral,
    gunasekar2018geometry as gunasekar2018geometry,
    soudry2018implicit as soudry2018implicit,
    wang2021adaptive as wang2021adaptive,
    zhang2024adam as zhang2024adam,
)
from penchant.theory._adam_limits import (
    AdamLimit as AdamLimit,
    AdamLimits as AdamLimits,
    adam_limits as adam_limits,
)
from penchant.theory._adam_regimes import adam_growth as adam_growth
from penchant.theory._equilibrium import (
    Equilibrium as Equilibrium,
    equilibrium as equilibrium,
    rates as rates,
)
from penchant.theory._follow import follow as follow
from penchant.theory._mean_step import (
    AbstractMeanStep as AbstractMeanStep,
    AdamCycle as AdamCycle,
    AdamProxy as AdamProxy,
    adam_proxy as adam_proxy,
    adam_step as adam_step,
    growth_limit as growth_limit,
)
from penchant.theory._parametric_margin import (
    fixed_point_map as fixed_point_map,
    parametric_margin as parametric_margin,
)
from penchant.theory._predict import predict as predict
from penchant.theory._prediction import (
    Assumption as Assumption,
    Prediction as Prediction,
    Regime as Regime,
    Verdict as Verdict,
)
from penchant.theory._setting import canonical as canonical, longest_row as longest_row
from penchant.theory.baek2026persample import (
    SignumGap as SignumGap,
    signum_gap as signum_gap,
)
