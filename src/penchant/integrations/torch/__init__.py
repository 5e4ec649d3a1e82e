"""A probe of a training run in PyTorch; torch is imported with this folder."""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        "penchant.torch needs PyTorch: pip install 'penchant[torch]'."
    ) from error

from penchant.integrations._plan import DEFAULT as DEFAULT
from penchant.integrations._record import ProbeWarning as ProbeWarning
from penchant.integrations.torch._watch import Watch as Watch, watch as watch
