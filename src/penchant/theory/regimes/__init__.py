"""What a run is at a finite step: how weights grow, and when ε takes over."""

from penchant.theory.regimes._course import RegimeName as RegimeName
from penchant.theory.regimes._growth import adam_growth as adam_growth
from penchant.theory.regimes._run_geometry import (
    RunGeometry as RunGeometry,
    run_geometry as run_geometry,
    step_condition as step_condition,
)
