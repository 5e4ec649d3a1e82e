"""Work on a user's model that leaves no trace: draws, buffers, modes, gradients."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextlib.contextmanager
def same_draws(key: int | None = None) -> Iterator[None]:
    """Put every generator back: Python's, NumPy's, PyTorch's on each device.

    Args:
        key: What PyTorch's are seeded with meanwhile; None to leave them.
    """
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    devices = list(range(torch.cuda.device_count())) if _cuda() else []
    cuda = [torch.cuda.get_rng_state(i) for i in devices]
    mps = torch.mps.get_rng_state() if _mps() else None
    try:
        if key is not None:
            # not torch.manual_seed: it would leave a seed for devices yet to be used
            torch.default_generator.manual_seed(key)
            if devices:
                torch.cuda.manual_seed_all(key)
            if mps is not None:
                torch.mps.manual_seed(key)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        for i, state in zip(devices, cuda, strict=True):
            torch.cuda.set_rng_state(state, i)
        if mps is not None:
            torch.mps.set_rng_state(mps)


def _cuda() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_initialized()


def _mps() -> bool:
    return torch.backends.mps.is_available()


@contextlib.contextmanager
def isolated(model: torch.nn.Module, mode: str, key: int) -> Iterator[torch.nn.Module]:
    """The model in a mode, with buffers that are copies, and generators put back.

    Buffers are exchanged, never written: a user's graph that holds one stays valid. In
    "train" mode every call draws the same masks, those of `key`. Attention is computed
    by the plain kernel, the only one with a second derivative.
    """
    bare: Any = unwrapped(model)
    modes = [(module, module.training) for module in bare.modules()]
    buffers = [
        (module, name, buffer)
        for module in bare.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    copies: dict[int, torch.Tensor] = {}
    with same_draws(key), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        try:
            for module, name, buffer in buffers:
                copy = copies.setdefault(id(buffer), buffer.detach().clone())
                module._buffers[name] = copy
            _set_modes([(module, mode == "train") for module, _ in modes])
            yield bare
        finally:
            for module, name, buffer in buffers:
                module._buffers[name] = buffer
            _set_modes(modes)


def _set_modes(modes: list[tuple[torch.nn.Module, bool]]) -> None:
    for module, training in modes:
        module.training = training


def unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    """The module itself, of a compiled one or one in a data-parallel wrapper."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(
            model, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
        ):
            inner = model.module
        if inner is None:
            return model
        model = inner
