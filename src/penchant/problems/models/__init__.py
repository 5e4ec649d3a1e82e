"""Models to train: `networks`, homogeneous ones; `ssm`, state space models."""

from penchant.problems.models import networks as networks, ssm as ssm
