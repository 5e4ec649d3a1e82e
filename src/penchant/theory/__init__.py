"""Predictions: which solution an algorithm tends to. A module a paper."""

from penchant.theory import (
    fan2025spectral as fan2025spectral,
    gunasekar2018geometry as gunasekar2018geometry,
    soudry2018implicit as soudry2018implicit,
    wang2021adaptive as wang2021adaptive,
    zhang2024adam as zhang2024adam,
)
from penchant.theory._adam_regimes import adam_growth as adam_growth
from penchant.theory._predict import predict as predict
from penchant.theory._prediction import (
    Assumption as Assumption,
    Prediction as Prediction,
    Regime as Regime,
    Verdict as Verdict,
)
from penchant.theory._setting import canonical as canonical, longest_row as longest_row
