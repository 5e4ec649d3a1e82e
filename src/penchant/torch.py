"""For PyTorch: `pn.torch.apply(module)` makes a function of JAX of a module."""

from penchant.integrations.torch import TorchApply as TorchApply, apply as apply
