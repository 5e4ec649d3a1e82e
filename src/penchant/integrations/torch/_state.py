"""The state tier: a fixed sample of coordinates about a step, without the model."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from penchant.integrations._numbers import numbers_of
from penchant.integrations._rules import Adapter, Seen, number
from penchant.integrations.torch._adapters import Grouped, adapter_of

SAMPLE = 2000
"""Most coordinates of a tensor that are looked at."""


@dataclasses.dataclass
class Watched:
    """A tensor of a group: its sampled coordinates, and those before a step."""

    name: str
    tensor: Tensor
    index: Tensor
    before: np.ndarray | None = None
    gradient: np.ndarray | None = None
    past: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def gradient_there(self) -> bool:
        """Whether the step will move it, by a gradient that can be sampled."""
        grad = self.tensor.grad
        return grad is not None and not grad.is_sparse


@dataclasses.dataclass
class GroupOf:
    """A parameter group: its name, its place in the optimizer, and its tensors."""

    name: str
    place: int
    tensors: list[Watched]
    settings: dict[str, float] = dataclasses.field(default_factory=dict)


class Side:
    """An optimizer with what it trains; several in one run are several sides."""

    def __init__(
        self,
        optimizer: Grouped,
        names: dict[int, str],
        key: int,
        taken: set[str],
    ):
        self.optimizer: Any = optimizer
        self.adapter: Adapter = adapter_of(optimizer)
        draws = np.random.default_rng(key)
        self.groups: list[GroupOf] = []
        for place, group in enumerate(optimizer.param_groups):
            tensors = [
                Watched(names.get(id(p), f"{i}"), p, _sampled(p, draws))
                for i, p in enumerate(group["params"])
                if p.requires_grad
            ]
            if tensors:
                name = _common([t.name for t in tensors], place, taken)
                self.groups.append(GroupOf(name, place, tensors))
        self.step = self.counted() or 0

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """All that it trains, each once."""
        found: dict[int, Any] = {}
        for group in self.groups:
            for watched in group.tensors:
                found[id(watched.tensor)] = watched.tensor
        return list(found.values())

    def counted(self) -> int | None:
        """Steps by the optimizer's own count; None where it has none."""
        counts = [
            state["step"] for state in self.optimizer.state.values() if "step" in state
        ]
        return int(max(map(number, counts))) if counts else None

    def group_of(self, group: GroupOf) -> dict[str, Any]:
        """The optimizer's entry of a group, as it is now."""
        return self.optimizer.param_groups[group.place]

    def scale(self) -> float:
        """What gradients are multiplied by at this moment, by a fused step's scaler."""
        scale = getattr(self.optimizer, "grad_scale", None)
        return 1.0 if scale is None else float(scale)

    def skipped(self) -> bool:
        """Whether the step under way will not be taken, for infinite gradients."""
        found = getattr(self.optimizer, "found_inf", None)
        return found is not None and bool(found)

    def look(self) -> None:
        """Before a step: weights, gradients and first moments of the sample."""
        scale, first = self.scale(), self.adapter.first
        for group in self.groups:
            moving = [t for t in group.tensors if t.gradient_there]
            sign = -1.0 if self.group_of(group).get("maximize") else 1.0
            wanted = [t.tensor for t in moving]
            wanted += [t.tensor.grad for t in moving]
            olds = [self.optimizer.state.get(t.tensor, {}).get(first) for t in moving]
            there = [i for i, old in enumerate(olds) if isinstance(old, Tensor)]
            index = [t.index for t in moving]
            values = _fetch(
                [*wanted, *(olds[i] for i in there)],
                [*index, *index, *(index[i] for i in there)],
            )
            for watched in group.tensors:
                watched.before, watched.gradient, watched.past = None, None, {}
            for i, watched in enumerate(moving):
                watched.before = values[i]
                watched.gradient = sign * values[len(moving) + i] / scale
            for k, i in enumerate(there):
                assert first is not None
                moving[i].past = {first: values[2 * len(moving) + k]}

    def records(self) -> list[tuple[str, dict[str, Any]]]:
        """After a step: a group's name and numbers, for each that moved."""
        found = []
        for group in self.groups:
            pairs = self._seen(group)
            if pairs:
                found.append((group.name, numbers_of(self.adapter, pairs)))
        return found

    def _seen(self, group: GroupOf) -> list[tuple[str, Seen]]:
        row, entry = self.adapter, self.group_of(group)
        keys = [k for k in (row.first, row.second, *row.keys) if k is not None]
        moved = [t for t in group.tensors if t.before is not None]
        tensors, index, places = [], [], []
        for i, watched in enumerate(moved):
            tensors.append(watched.tensor)
            index.append(watched.index)
            places.append((i, "after"))
            state = self.optimizer.state.get(watched.tensor, {})
            for key in keys:
                kept = state.get(key)
                if isinstance(kept, Tensor) and kept.shape == watched.tensor.shape:
                    tensors.append(kept)
                    index.append(watched.index)
                    places.append((i, key))
        values = _fetch(tensors, index)
        found: list[tuple[str, Seen]] = []
        for i, watched in enumerate(moved):
            own = {
                key: x for (at, key), x in zip(places, values, strict=True) if at == i
            }
            state = self.optimizer.state.get(watched.tensor, {})
            factored = _factored(state, watched)
            if factored is not None:
                own["variance"] = factored
            assert watched.before is not None
            assert watched.gradient is not None
            seen = Seen(
                group=entry,
                before=watched.before,
                after=own.pop("after"),
                gradient=watched.gradient,
                past=watched.past,
                state=own,
                scalars={k: number(state[k]) for k in row.scalars if k in state},
                n=number(state["step"]) if "step" in state else self.step + 1.0,
            )
            found.append((str(watched.tensor.dtype), seen))
            watched.before = None
        return found

    def formats(self) -> list[dict[str, Any]]:
        """What `run.json` says of each group: its rule, numbers and formats."""
        told = []
        for group in self.groups:
            entry = self.group_of(group)
            tensors = [t.tensor for t in group.tensors]
            keys = (self.adapter.first, self.adapter.second)
            kept = [
                state[key]
                for state in (self.optimizer.state.get(t, {}) for t in tensors)
                for key in keys
                if key in state and isinstance(state[key], Tensor)
            ]
            grads = [t.grad for t in tensors if t.grad is not None]
            b1, b2 = self.adapter.decays(entry)
            told.append({
                "name": group.name,
                "optimizer": type(self.optimizer).__name__,
                "known": self.adapter.name,
                "parameters": sum(t.numel() for t in tensors),
                "tensors": len(tensors),
                "step_size": number(entry["lr"]) if "lr" in entry else None,
                "decay": number(entry.get("weight_decay", 0.0)),
                "decoupled": self.adapter.decoupled(entry),
                "first": b1,
                "second": b2,
                "eps": _eps(entry),
                "weights": _dtypes(tensors),
                "gradients": _dtypes(grads),
                "state": _dtypes(kept),
            })
        return told

    def changes(self) -> list[dict[str, Any]]:
        """Decays and formats that are others than when they were looked at last."""
        told = []
        for group in self.groups:
            entry = self.group_of(group)
            b1, b2 = self.adapter.decays(entry)
            now = {
                "decay": number(entry.get("weight_decay", 0.0)),
                "first": b1,
                "second": math.nan if b2 is None else b2,
            }
            for name, value in now.items():
                old = group.settings.get(name, value)
                if old != value and not (math.isnan(old) and math.isnan(value)):
                    told.append({
                        "group": group.name, "what": name, "before": old, "now": value,
                    })  # fmt: skip
            group.settings = now
        return told


def _fetch(tensors: Sequence[Any], index: Sequence[Tensor]) -> list[np.ndarray]:
    """Coordinates of many tensors as doubles, in one transfer a device and format."""
    batches: dict[tuple, list[int]] = {}
    picked = []
    for i, (tensor, at) in enumerate(zip(tensors, index, strict=True)):
        x = tensor.detach().reshape(-1)
        if x.dtype.is_complex:
            x = x.real
        x = x.index_select(0, at.to(x.device))
        x = x if x.dtype == torch.float64 else x.float()
        picked.append(x)
        batches.setdefault((x.device, x.dtype), []).append(i)
    out: list[Any] = [None] * len(picked)
    for places in batches.values():
        joined = torch.cat([picked[i] for i in places]).cpu().numpy().astype(float)
        ends = np.cumsum([picked[i].numel() for i in places])[:-1]
        for i, part in zip(places, np.split(joined, ends), strict=True):
            out[i] = part
    return out


def _factored(state: Any, watched: Watched) -> np.ndarray | None:
    """Adafactor's second moment of the sample, from its rows and columns."""
    rows, columns = state.get("row_var"), state.get("col_var")
    if not isinstance(rows, Tensor) or not isinstance(columns, Tensor):
        return None
    *lead, i, j = np.unravel_index(watched.index.cpu().numpy(), watched.tensor.shape)
    r = rows.detach().float().cpu().numpy()
    c = columns.detach().float().cpu().numpy()
    mean = r.mean(axis=-2, keepdims=True)
    zero = np.zeros_like(i)
    lead = tuple(lead)
    return r[(*lead, i, zero)] * c[(*lead, zero, j)] / mean[(*lead, zero, zero)]


def _sampled(p: Tensor, draws: np.random.Generator) -> Tensor:
    n = p.numel()
    at = np.arange(n) if n <= SAMPLE else np.unique(draws.integers(0, n, SAMPLE))
    return torch.as_tensor(at, dtype=torch.long, device=p.device)


def _common(names: list[str], place: int, taken: set[str]) -> str:
    """The modules that all names begin with; the group's number where there is none."""
    parts = [name.split(".") for name in names]
    shared = []
    for at in zip(*parts, strict=False):
        if len(set(at)) > 1:
            break
        shared.append(at[0])
    name = ".".join(shared) or ("all" if place == 0 else f"group {place}")
    own, n = name, 2
    while own in taken:
        own, n = f"{name} ({n})", n + 1
    taken.add(own)
    return own


def _eps(entry: Any) -> float | None:
    eps = entry.get("eps")
    if isinstance(eps, (tuple, list)):
        eps = eps[0]
    return None if eps is None else number(eps)


def _dtypes(tensors: Sequence[Tensor]) -> str | None:
    names = sorted({str(t.dtype).removeprefix("torch.") for t in tensors})
    return ", ".join(names) or None
