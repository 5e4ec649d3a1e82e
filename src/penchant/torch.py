"""For PyTorch: `pn.torch.watch(model, optimizer, …)` records what a run's step does."""

from penchant.integrations.torch import (
    DEFAULT as DEFAULT,
    ProbeWarning as ProbeWarning,
    Watch as Watch,
    watch as watch,
)
