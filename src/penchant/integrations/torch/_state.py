"""The state tier: a fixed sample of coordinates about a step, without the model."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from penchant.integrations._numbers import numbers_of, spectrum_of
from penchant.integrations._rules import UNKNOWN, Adapter, Seen, measured, number
from penchant.integrations.torch._adapters import Grouped, adapter_of, polar_unit
from penchant.optimizers import Character

SAMPLE = 2000
"""Most coordinates of a tensor that are looked at."""

POLAR = ("Muon", "unknown", "measured")
"""Rows whose matrices' steps are decomposed."""

COLUMNS = 1024
"""Most columns, or rows, of a matrix whose step is decomposed."""


@dataclasses.dataclass
class Watched:
    """A tensor of a group, and the coordinates of it that are looked at."""

    name: str
    tensor: Tensor
    index: Tensor

    def __post_init__(self) -> None:
        self.whole = self.index.numel() == self.tensor.numel()

    @property
    def gradient_there(self) -> bool:
        """Whether the step will move it, by a gradient that can be sampled."""
        grad = self.tensor.grad
        return grad is not None and not grad.is_sparse

    def picked(self, x: Tensor) -> Tensor:
        """The coordinates of a tensor of its shape: this, its gradient, its state."""
        x, at = x.reshape(-1), self.index
        if x.is_complex():
            x = x.real
        if self.whole:
            return x
        return x.index_select(0, at if x.device == at.device else at.to(x.device))


@dataclasses.dataclass
class Before:
    """The sample of tensors of one format before a step, end to end."""

    tensors: list[Watched]
    weights: np.ndarray
    gradient: np.ndarray
    past: dict[str, np.ndarray]


@dataclasses.dataclass
class GroupOf:
    """A parameter group: its name, its place in the optimizer, and its tensors."""

    name: str
    place: int
    tensors: list[Watched]
    settings: dict[str, float] = dataclasses.field(default_factory=dict)
    seen: list[Before] = dataclasses.field(default_factory=list)
    matrix: tuple[Watched, Tensor] | None = None


class Side:
    """An optimizer with what it trains; several in one run are several sides."""

    def __init__(
        self,
        optimizer: Grouped,
        names: dict[int, str],
        key: int,
        taken: set[str],
        rule: Character | None = None,
    ):
        self.optimizer: Any = optimizer
        self.adapter: Adapter = adapter_of(optimizer)
        if rule is not None and self.adapter is UNKNOWN:
            self.adapter = measured(rule)
        self.rates: list[tuple[int, float]] = []
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
        scale, of = self.scale(), self.optimizer.state
        rate = self.group_of(self.groups[0]).get("lr")
        if rate is not None:
            self.rates.append((self.step, number(rate)))
        for group in self.groups:
            group.matrix = self._matrix(group)
            entry = self.group_of(group)
            first = self.adapter.first if self._recalls(entry) else None
            alike: dict[tuple[torch.dtype, bool], list[Watched]] = {}
            for watched in group.tensors:
                if watched.gradient_there:
                    x = watched.tensor
                    kept = first is not None and _has(of.get(x), first)
                    alike.setdefault((x.dtype, kept), []).append(watched)
            sign = -1.0 if entry.get("maximize") else 1.0
            group.seen = []
            for (_, kept), tensors in alike.items():
                reads = [[t.tensor for t in tensors], [t.tensor.grad for t in tensors]]
                if kept:
                    reads.append([of[t.tensor][first] for t in tensors])
                w, g, *old = _fetch(tensors, reads)
                past = {first: old[0]} if kept and first is not None else {}
                group.seen.append(Before(tensors, w, g * (sign / scale), past))

    def _recalls(self, entry: Any) -> bool:
        """Whether a step is read with the memory that was there before it."""
        # decay in the gradient enters the memory; Lion's step is of the old one
        return self.adapter.name == "Lion" or not self.adapter.decoupled(entry)

    def _matrix(self, group: GroupOf) -> tuple[Watched, Tensor] | None:
        """The first matrix of a group whose steps nobody reads off a state, copied."""
        if self.adapter.name not in POLAR or not spectrum_due(self.step + 1):
            return None
        for watched in group.tensors:
            x = watched.tensor
            small = x.ndim == 2 and 1 < min(x.shape) <= COLUMNS
            if small and x.dtype.itemsize >= 4 and watched.gradient_there:
                return watched, x.detach().clone()
        return None

    def _spectrum(self, group: GroupOf) -> dict[str, Any]:
        """Singular values of that matrix's step, and its memory's directions."""
        entry = self.group_of(group)
        if group.matrix is None or number(entry.get("lr", 0.0)) <= 0:
            return {}
        (watched, before), group.matrix = group.matrix, None
        rate, w = number(entry["lr"]), watched.tensor.detach()
        decay = 0.0
        if self.adapter.decoupled(entry):
            decay = rate * number(entry.get("weight_decay", 0.0))
        host = lambda x: x.detach().double().cpu().numpy()
        step = ((1.0 - decay) * host(before) - host(w)) / rate
        memory = self.optimizer.state.get(watched.tensor, {}).get(self.adapter.first)
        return spectrum_of(
            step,
            None if memory is None else host(memory),
            polar_unit(entry, w.shape) if self.adapter.name == "Muon" else None,
        )

    def records(self) -> list[tuple[str, dict[str, Any]]]:
        """After a step: a group's name and numbers, for each that moved."""
        found = []
        for group in self.groups:
            pairs = self._seen(group)
            if pairs:
                told = numbers_of(self.adapter, pairs) | self._spectrum(group)
                found.append((group.name, told))
        return found

    def _seen(self, group: GroupOf) -> list[tuple[str, Seen]]:
        """What a row is shown: one entry of all tensors that have stepped alike."""
        row, entry = self.adapter, self.group_of(group)
        keys = [k for k in (row.first, row.second, *row.keys) if k is not None]
        found: list[tuple[str, Seen]] = []
        for before in group.seen:
            alike: dict[tuple[Any, ...], list[int]] = {}
            for i, watched in enumerate(before.tensors):
                state = self.optimizer.state.get(watched.tensor, {})
                kept = tuple(k for k in keys if _has(state, k, watched.tensor.shape))
                n = number(state["step"]) if "step" in state else self.step + 1.0
                scalars = tuple(
                    (k, number(state[k])) for k in row.scalars if k in state
                )
                factored = _has(state, "row_var") and _has(state, "col_var")
                alike.setdefault((kept, n, scalars, factored), []).append(i)
            for (kept, n, scalars, factored), places in alike.items():
                tensors = [before.tensors[i] for i in places]
                states = [self.optimizer.state.get(t.tensor, {}) for t in tensors]
                reads = [[t.tensor for t in tensors]]
                reads += [[state[key] for state in states] for key in kept]
                after, *moments = _fetch(tensors, reads)
                own = dict(zip(kept, moments, strict=True))
                if factored:
                    pairs = zip(states, tensors, strict=True)
                    own["variance"] = np.concatenate([_factored(*at) for at in pairs])
                at = _coordinates(before.tensors, places)
                seen = Seen(
                    group=entry,
                    before=before.weights[at],
                    after=after,
                    gradient=before.gradient[at],
                    past={key: x[at] for key, x in before.past.items()},
                    state=own,
                    scalars=dict(scalars),
                    n=n,
                )
                found.append((str(tensors[0].tensor.dtype), seen))
        group.seen = []
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


def spectrum_due(step: int) -> bool:
    """Whether a matrix's step is decomposed: rarely, after 20·2^k steps."""
    twenties, rest = divmod(step, 20)
    return step <= 10 or (rest == 0 and twenties & (twenties - 1) == 0)


def _fetch(tensors: Sequence[Watched], reads: Sequence[Sequence[Any]]) -> np.ndarray:
    """Rows of coordinates as doubles, one a read of all tensors, in one transfer."""
    with torch.no_grad():
        picked = [
            watched.picked(x)
            for row in reads
            for watched, x in zip(tensors, row, strict=True)
        ]
        if len({x.dtype for x in picked}) > 1:
            picked = [x.double() for x in picked]
        if len({x.device for x in picked}) > 1:
            picked = [x.cpu() for x in picked]
        joined = torch.cat(picked).cpu()
        if joined.dtype != torch.float64:
            joined = joined.float()
        return joined.numpy().astype(float).reshape(len(reads), -1)


def _coordinates(tensors: Sequence[Watched], places: Sequence[int]) -> Any:
    """Where the sample of some tensors lies in that of all."""
    if len(places) == len(tensors):
        return slice(None)
    ends = np.cumsum([0, *(t.index.numel() for t in tensors)])
    return np.concatenate([np.arange(ends[i], ends[i + 1]) for i in places])


def _has(state: Any, key: str, shape: torch.Size | None = None) -> bool:
    """Whether a tensor's state keeps a tensor of that name, and shape."""
    kept = None if state is None else state.get(key)
    return isinstance(kept, Tensor) and (shape is None or kept.shape == shape)


def _factored(state: Any, watched: Watched) -> np.ndarray:
    """Adafactor's second moment of the sample, from its rows and columns."""
    *lead, i, j = np.unravel_index(watched.index.cpu().numpy(), watched.tensor.shape)
    r = state["row_var"].detach().float().cpu().numpy()
    c = state["col_var"].detach().float().cpu().numpy()
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
