"""Near minimisers: which sharpness a rule lowers, and when it will have."""

from penchant.theory.sharpness._clock import slow_time as slow_time
from penchant.theory.sharpness._foretell import (
    SharpnessPrediction as SharpnessPrediction,
    foretell_sharpness as foretell_sharpness,
    lowered as lowered,
)
from penchant.theory.sharpness._models import (
    extinction_time as extinction_time,
    schatten_power as schatten_power,
    sparsity_power as sparsity_power,
    statistical_dimension as statistical_dimension,
)
