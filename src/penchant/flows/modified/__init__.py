"""Backward error: what finite steps and memory add to the flow of a rule."""

from penchant.flows.modified._ages import memory_coefficient as memory_coefficient
from penchant.flows.modified._correction import (
    Correction as Correction,
    Share as Share,
    SinglePrecisionWarning as SinglePrecisionWarning,
    correction as correction,
)
