"""Fan, Schmidt, Thrampoulidis (2025): which margin each descent method reaches."""

from penchant.studies._study import Study
from penchant.studies.spectral_descent._margins import margin_ratios as margin_ratios

STUDY = Study(
    "spectral-descent",
    "fan2025spectral",
    "Fan, Schmidt, Thrampoulidis (2025)",
    "six descent methods, the margin each reaches in three norms",
    {"margins": margin_ratios},
)
