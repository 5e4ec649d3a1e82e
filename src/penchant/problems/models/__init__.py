"""Models to train: `networks`, homogeneous ones; `ssm`, state space models."""

from penchant.problems.models import networks as networks, ssm as ssm
from penchant.problems.models._row_space import (
    RowSpace as RowSpace,
    row_space as row_space,
)
