"""Models to train: `networks`, homogeneous ones."""

from penchant.problems.models import networks as networks
