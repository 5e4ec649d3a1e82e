"""A probe of training in PyTorch, and its modules as functions; imports torch."""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        "penchant.torch needs PyTorch: pip install 'penchant[torch]'."
    ) from error

from penchant.integrations._plan import DEFAULT as DEFAULT
from penchant.integrations._record import ProbeWarning as ProbeWarning
from penchant.integrations.torch._apply import TorchApply as TorchApply, apply as apply
from penchant.integrations.torch._watch import Watch as Watch, watch as watch
