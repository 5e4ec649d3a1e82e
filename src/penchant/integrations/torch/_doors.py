"""What is checked before a run is watched, and what can be measured of it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from penchant.integrations.torch._adapters import Grouped
from penchant.integrations.torch._batches import ProbeSet, probe_set
from penchant.integrations.torch._curvature import Curvature, Loss
from penchant.integrations.torch._isolated import isolated, unwrapped
from penchant.integrations.torch._outputs import (
    Logits,
    flat_outputs,
    mean_loss,
    usual_logits,
)
from penchant.integrations.torch._state import Side

Losses: TypeAlias = Loss | Mapping[torch.optim.Optimizer, Loss]

SAME = 1e-3
"""By how much a loss may differ from the cross-entropy of the outputs, relatively."""


def curvatures(
    model: torch.nn.Module,
    sides: Sequence[Side],
    asked: Sequence[str],
    *,
    loss: Losses | None,
    batches: Iterable[Any] | None,
    logits: Logits | None,
    given: Sequence[Any] | None,
    size: int | None,
    mode: str,
    key: int,
) -> tuple[list[Curvature | None], dict[str, str]]:
    """What is measured of each optimizer, and why read-outs that are asked for are not.

    Raises:
        TypeError: If the loss or the batches are nothing of the kind.
        ValueError: If an optimizer has no loss, or the loss is no number.
    """
    if loss is not None:
        _check_loss(loss, sides)
    device = sides[0].parameters[0].device
    probe = probe_set(batches, given, size, device, key)
    why = ""
    if loss is None:
        why = "no loss was given"
    elif probe is None:
        why = "no batches were given"
    half = {
        p.dtype
        for side in sides
        for p in side.parameters
        if p.dtype in (torch.float16, torch.bfloat16)
    }
    if not why and half:
        kinds = ", ".join(sorted(str(d).removeprefix("torch.") for d in half))
        why = f"the weights are stored in {kinds}: second derivatives have no digits"
    if why or not asked:
        return [], dict.fromkeys(asked, why)
    assert probe is not None
    assert loss is not None
    found: list[Curvature | None] = []
    missing: dict[str, str] = {}
    if _sparse(model):
        why = "gradients of an embedding are sparse: their coordinates are not lined up"
        missing = {n: why for n in ("sharpness", "memory") if n in asked}
    for i, side in enumerate(sides):
        own = loss[side.optimizer] if isinstance(loss, Mapping) else loss
        reason = _unread(model, own, logits, probe, mode, key)
        if reason:
            missing |= {n: reason for n in ("sharpness", "margins") if n in asked}
        outputs = usual_logits if logits is None else logits
        found.append(
            Curvature(
                side, model, own, None if reason else outputs, probe, mode, key + i
            )
        )
    return found, missing


def _sparse(model: torch.nn.Module) -> bool:
    """Whether a trained embedding has sparse gradients."""
    kinds = (torch.nn.Embedding, torch.nn.EmbeddingBag)
    return any(
        isinstance(m, kinds) and m.sparse and m.weight.requires_grad
        for m in unwrapped(model).modules()
    )


def _unread(
    model: torch.nn.Module,
    loss: Loss,
    logits: Logits | None,
    probe: ProbeSet,
    mode: str,
    key: int,
) -> str:
    """Why the model's outputs can't be read; nothing if they can."""
    outputs = usual_logits if logits is None else logits
    with isolated(model, mode, key) as bare:
        with torch.no_grad():
            value = loss(bare, probe.parts[0])
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise ValueError(
                "loss must return one number, the mean over examples; got "
                f"{value!r:.80}."
            )
        return _disagreement(bare, outputs, probe, float(value), logits is None)


def optimizers_of(optimizer: Grouped | Sequence[Grouped]) -> list[Any]:
    """One or several as a list, each of a kind that can be watched."""
    several: Any = optimizer
    given = list(several) if isinstance(several, (list, tuple)) else [several]
    if not given:
        raise ValueError("optimizer must be at least one; got none.")
    for one in given:
        # those of other makes have groups and a state, and no hooks: `Watch.step`
        if not isinstance(one, Grouped):
            raise TypeError(
                "optimizer must be an optimizer of torch.optim, or several; got "
                f"{one!r:.100} of type {type(one).__name__}."
            )
        if isinstance(one, torch.optim.LBFGS):
            raise ValueError(
                "optimizer must take its gradients before its step; LBFGS asks a "
                "closure for them within, several times."
            )
    return given


def _check_loss(loss: Losses, sides: Sequence[Side]) -> None:
    if isinstance(loss, Mapping):
        for side in sides:
            if side.optimizer not in loss:
                raise ValueError("loss must have an entry for every optimizer.")
    elif not callable(loss):
        raise TypeError(
            f"loss must be a function of model and batch; got {loss!r:.100} of type "
            f"{type(loss).__name__}."
        )


def _disagreement(
    bare: torch.nn.Module, outputs: Logits, probe: ProbeSet, loss: float, guessed: bool
) -> str:
    """Why labels can't be drawn from these outputs; nothing if they can."""
    try:
        with torch.no_grad():
            rows, y = flat_outputs(*outputs(bare, probe.parts[0]))
            own = float(mean_loss(rows, y))
    except Exception as error:
        if not guessed:
            raise
        return f"logits were not given, and could not be guessed ({error})"
    if abs(own - loss) > SAME * max(abs(loss), 1e-12):
        kind = "half the mean square" if y.is_floating_point() else "cross-entropy"
        said = f"the loss ({loss:.6g}) is not the {kind} of the logits ({own:.6g})"
        if guessed:
            return said + "; give logits="
        return said
    return ""
