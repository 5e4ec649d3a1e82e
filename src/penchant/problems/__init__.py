"""What is learned: data, a model and a loss, with gradients in the log domain."""

from penchant.problems import losses as losses
from penchant.problems._linear_classification import (
    LinearClassification as LinearClassification,
)
from penchant.problems._scaled_gradient import ScaledGradient as ScaledGradient
