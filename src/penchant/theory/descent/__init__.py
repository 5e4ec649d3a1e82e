"""Normalised steepest descent: proved bounds, and the end under decoupled decay."""

from penchant.theory.descent._guarantee import (
    Guarantee as Guarantee,
    guarantee as guarantee,
    guarantee_along as guarantee_along,
)
from penchant.theory.descent._lemmas import (
    Constants as Constants,
    Inequality as Inequality,
    dimension_free_constants as dimension_free_constants,
    lemmas as lemmas,
    log_proxy as log_proxy,
    paper_constants as paper_constants,
    sharp_constants as sharp_constants,
)
from penchant.theory.descent._regularized import (
    PathPoint as PathPoint,
    path_deficit as path_deficit,
    regularized as regularized,
)
