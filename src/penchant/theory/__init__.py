"""Predictions: which solution an algorithm tends to. A module a paper."""

from penchant.theory import (
    baek2026persample as baek2026persample,
    fan2025spectral as fan2025spectral,
    gunasekar2018geometry as gunasekar2018geometry,
    soudry2018implicit as soudry2018implicit,
    wang2021adaptive as wang2021adaptive,
    zhang2024adam as zhang2024adam,
)
from penchant.theory._adam_limit import (
    AdamLimit as AdamLimit,
    AdamLimits as AdamLimits,
)
from penchant.theory._adam_limits import adam_limits as adam_limits
from penchant.theory._adam_regimes import adam_growth as adam_growth
from penchant.theory._descent_bounds import (
    Constants as Constants,
    Guarantee as Guarantee,
    Inequality as Inequality,
    guarantee as guarantee,
    guarantee_along as guarantee_along,
    lemmas as lemmas,
    log_proxy as log_proxy,
    paper_constants as paper_constants,
    sharp_constants as sharp_constants,
)
from penchant.theory._equilibrium import (
    Equilibrium as Equilibrium,
    equilibrium as equilibrium,
    rates as rates,
)
from penchant.theory._follow import follow as follow
from penchant.theory._gap_law import GapLaw as GapLaw, gap_law as gap_law
from penchant.theory._homogeneous import (
    norm_ratio as norm_ratio,
    rate_constant as rate_constant,
    surrogate_margins as surrogate_margins,
)
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
from penchant.theory._regularized import (
    PathPoint as PathPoint,
    path_deficit as path_deficit,
    regularized as regularized,
)
from penchant.theory._run_geometry import (
    RunGeometry as RunGeometry,
    run_geometry as run_geometry,
    share_of_eps as share_of_eps,
    step_condition as step_condition,
)
from penchant.theory._setting import canonical as canonical, longest_row as longest_row
from penchant.theory._signum_gap import (
    SignumGap as SignumGap,
    signum_gap as signum_gap,
)
from penchant.theory.fan2025spectral import (
    Rate as Rate,
    mean_step as mean_step,
    proved_rate as proved_rate,
    scale_free_step as scale_free_step,
    sign_phase_start as sign_phase_start,
    spectral_share as spectral_share,
)
