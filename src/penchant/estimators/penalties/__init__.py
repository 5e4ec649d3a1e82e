"""What may have regularised a run: penalties, each with its convention printed."""

from penchant.estimators.penalties._base import (
    AbstractPenalty as AbstractPenalty,
    Custom as Custom,
)
from penchant.estimators.penalties._entrywise import (
    L1 as L1,
    Hypentropy as Hypentropy,
    Power as Power,
    Ridge as Ridge,
    ScaledRidge as ScaledRidge,
)
from penchant.estimators.penalties._matrices import (
    Group as Group,
    Nuclear as Nuclear,
    SchattenPower as SchattenPower,
)
from penchant.estimators.penalties._of_the_loss import (
    Expected as Expected,
    GradientNorm as GradientNorm,
    NoiseGaussNewton as NoiseGaussNewton,
)
from penchant.estimators.penalties._penalised import (
    Penalised as Penalised,
    noise_scaled as noise_scaled,
)
from penchant.estimators.penalties._read import read as read
from penchant.estimators.penalties._wrapped import (
    Anchored as Anchored,
    Free as Free,
    OfLayer as OfLayer,
    layerwise as layerwise,
)
