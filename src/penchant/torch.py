"""For PyTorch: `watch` a training run; `apply` makes a function of JAX of a module."""

from penchant.integrations.torch import (
    DEFAULT as DEFAULT,
    ProbeWarning as ProbeWarning,
    TorchApply as TorchApply,
    Watch as Watch,
    apply as apply,
    watch as watch,
)
