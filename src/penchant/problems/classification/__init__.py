"""Classification, linear and by networks: what has margins."""

from penchant.problems.classification._base import (
    AbstractClassification as AbstractClassification,
)
from penchant.problems.classification._homogeneity import (
    Homogeneity as Homogeneity,
    NotHomogeneousError as NotHomogeneousError,
)
from penchant.problems.classification._linear import (
    LinearClassification as LinearClassification,
)
from penchant.problems.classification._network import (
    NetworkClassification as NetworkClassification,
)
