"""What is learned: data, a model and a loss, with gradients in the log domain."""

from penchant.problems import losses as losses, networks as networks
from penchant.problems._classification import (
    AbstractClassification as AbstractClassification,
)
from penchant.problems._homogeneity import (
    Homogeneity as Homogeneity,
    NotHomogeneousError as NotHomogeneousError,
)
from penchant.problems._linear_classification import (
    LinearClassification as LinearClassification,
)
from penchant.problems._network_classification import (
    NetworkClassification as NetworkClassification,
)
from penchant.problems._scaled_gradient import ScaledGradient as ScaledGradient
