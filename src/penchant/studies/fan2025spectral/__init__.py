"""Fan, Schmidt, Thrampoulidis (2025): which margin each descent method reaches."""

from penchant.studies.fan2025spectral._margins import (
    STUDY as STUDY,
    margin_ratios as margin_ratios,
)
