"""For PyTorch; torch is imported with this folder."""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        "penchant.torch needs PyTorch: pip install 'penchant[torch]'."
    ) from error

from penchant.integrations.torch._apply import TorchApply as TorchApply, apply as apply
