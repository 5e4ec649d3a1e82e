"""Which solution an algorithm tends to: the frame, and a folder a body of theory."""

from penchant import _moved
from penchant.theory import (
    descent as descent,
    modified as modified,
    papers as papers,
    per_sample as per_sample,
    regimes as regimes,
    risk as risk,
    sharpness as sharpness,
    state_space as state_space,
)
from penchant.theory._predict import predict as predict, predict_from as predict_from
from penchant.theory._prediction import (
    Assumption as Assumption,
    Prediction as Prediction,
    Regime as Regime,
    Verdict as Verdict,
)
from penchant.theory._setting import (
    Setting as Setting,
    canonical as canonical,
    longest_row as longest_row,
)
from penchant.theory.per_sample import (
    AdamLimit as AdamLimit,
    AdamLimits as AdamLimits,
    adam_limits as adam_limits,
)
from penchant.theory.risk import (
    MixtureRisk as MixtureRisk,
    mixture_risk as mixture_risk,
)

__getattr__ = _moved.moved(
    __name__,
    _moved.places({
        "penchant.theory.papers": (
            "baek2026persample fan2025spectral gunasekar2018geometry "
            "soudry2018implicit wang2021adaptive zhang2024adam"
        ),
        "penchant.theory.per_sample": (
            "Equilibrium equilibrium rates follow AbstractMeanStep AdamCycle "
            "AdamProxy adam_proxy adam_step growth_limit fixed_point_map "
            "parametric_margin SignumGap signum_gap"
        ),
        "penchant.theory.descent": (
            "Constants Guarantee Inequality guarantee guarantee_along lemmas "
            "log_proxy paper_constants sharp_constants PathPoint path_deficit "
            "regularized"
        ),
        "penchant.theory.regimes": (
            "adam_growth RunGeometry run_geometry step_condition"
        ),
        "penchant.theory.papers.fan2025spectral": (
            "Rate mean_step proved_rate scale_free_step sign_phase_start spectral_share"
        ),
        "penchant.estimators": (
            "GapLaw gap_law share_of_eps norm_ratio rate_constant surrogate_margins"
        ),
    }),
)
