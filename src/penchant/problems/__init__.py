"""What is learned: data, a model and a loss, with gradients in the log domain."""

from penchant.problems import losses as losses
from penchant.problems._base import AbstractProblem as AbstractProblem
from penchant.problems._read import (
    Given as Given,
    of_dataset as of_dataset,
    read as read,
    sort_out as sort_out,
)
from penchant.problems._scaled_gradient import ScaledGradient as ScaledGradient
from penchant.problems._weights import (
    Head as Head,
    load_head as load_head,
    read_head as read_head,
)
from penchant.problems.classification import (
    AbstractClassification as AbstractClassification,
    Homogeneity as Homogeneity,
    LinearClassification as LinearClassification,
    NetworkClassification as NetworkClassification,
    NotHomogeneousError as NotHomogeneousError,
)
from penchant.problems.models import (
    RowSpace as RowSpace,
    networks as networks,
    row_space as row_space,
    ssm as ssm,
)
from penchant.problems.objective import (
    AbstractObjective as AbstractObjective,
    Objective as Objective,
)
from penchant.problems.regression import Regression as Regression
