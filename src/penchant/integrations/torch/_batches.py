"""The probe set: the same examples at every probe, in parts, with a hash."""

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from penchant.integrations.torch._isolated import same_draws

PARTS = 8
"""Independent parts: errors are the spread between them."""

SMALLEST, LARGEST = 128, 1024
"""Examples of the probe set where its size is left to the plan; fewer only where a
known run is too short for them."""

TRAINING = 6
"""Batches of the run's own size."""

Batch: TypeAlias = Any


@dataclasses.dataclass
class ProbeSet:
    """Parts for curvature, and batches of the size that the run trains on.

    `grow` makes the same set with more examples, None where that can't be had.
    """

    parts: list[Batch]
    training: list[Batch]
    examples: int
    grow: Callable[[int], "ProbeSet"] | None
    most: int

    @property
    def digest(self) -> str:
        """SHA-256 of all tensors, its first 16 digits."""
        made = hashlib.sha256()
        for part in self.parts:
            for tensor in tensors_of(part):
                x = tensor.detach().cpu().contiguous()
                made.update(f"{x.dtype}{tuple(x.shape)}".encode())
                made.update(x.reshape(-1).view(torch.uint8).numpy().tobytes())
        return made.hexdigest()[:16]


def probe_set(
    batches: object,
    given: Sequence[Batch] | None,
    size: int | None,
    device: torch.device,
    key: int,
) -> ProbeSet | None:
    """The probe set from a user's loader or batches; None where there is neither.

    Raises:
        TypeError: If they are nothing to read batches from.
        ValueError: If there are no examples in them.
    """
    if given is not None:
        return _of_batches("probe_batches", given, device, None)
    if batches is None:
        return None
    if isinstance(batches, DataLoader):
        return _of_loader(batches, size, device, key)
    if isinstance(batches, (str, bytes, Mapping, Tensor)) or not isinstance(
        batches, Iterable
    ):
        raise TypeError(
            "batches must be a DataLoader or an iterable of batches; got "
            f"{batches!r:.100} of type {type(batches).__name__}."
        )
    with same_draws():
        read = list(itertools.islice(iter(batches), PARTS))
    return _of_batches("batches", read, device, SMALLEST if size is None else size)


def _of_batches(
    name: str, given: Sequence[Batch], device: torch.device, size: int | None
) -> ProbeSet:
    """Batches as parts: whole, or the first examples of each, `size` in all."""
    whole = [moved(part, device) for part in given]
    if not whole:
        raise ValueError(f"{name} must hold at least one batch; got none.")
    rows = [count(part) for part in whole]
    # what is no example a row, as a mask of all, can't be cut
    alike = all(
        t.ndim and t.shape[0] == n
        for part, n in zip(whole, rows, strict=True)
        for t in tensors_of(part)
    )
    most = sum(rows)
    if size is None or not alike:
        return ProbeSet(whole, whole[:TRAINING], most, None, most)

    def make(size: int) -> ProbeSet:
        each = max(1, size // len(whole))
        parts = [_mapped(part, lambda t: t[:each]) for part in whole]
        examples = sum(min(each, n) for n in rows)
        return ProbeSet(parts, whole[:TRAINING], examples, make, most)

    return make(size)


def _of_loader(
    loader: DataLoader, size: int | None, device: torch.device, key: int
) -> ProbeSet:
    data: Any = loader.dataset
    if isinstance(data, IterableDataset) or not hasattr(data, "__getitem__"):
        raise TypeError(
            "batches must have a dataset that can be indexed, so that reading it "
            "leaves the run's order as it is; for an iterable one give "
            "probe_batches=[…]."
        )
    n = len(data)
    if not n:
        raise ValueError("batches must have examples; its dataset is empty.")
    order = np.random.default_rng(key).permutation(n)
    collate: Any = loader.collate_fn

    def batch(rows: np.ndarray) -> Batch:
        with same_draws(key):
            items = (
                data.__getitems__([int(i) for i in rows])
                if hasattr(data, "__getitems__")
                else [data[int(i)] for i in rows]
            )
            return moved(collate(items), device)

    own = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None)
    training: list[Batch] = []
    if own is not None:
        starts = range(0, max(1, n - own + 1), own)[:TRAINING]
        training = [batch(order[i : i + own]) for i in starts]

    def make(size: int) -> ProbeSet:
        size = min(size, n)
        parts = min(PARTS, size)
        rows = order[: size - size % parts].reshape(parts, -1)
        made = [batch(r) for r in rows]
        return ProbeSet(made, training or made[:TRAINING], rows.size, make, n)

    return make(SMALLEST if size is None else size)


def moved(batch: Batch, device: torch.device) -> Batch:
    """A batch of the same structure, its tensors copied to a device."""
    return _mapped(batch, lambda t: t.detach().to(device, copy=True))


def _mapped(batch: Batch, of: Callable[[Tensor], Tensor]) -> Batch:
    if isinstance(batch, Tensor):
        return of(batch)
    if isinstance(batch, Mapping):
        inside = {k: _mapped(v, of) for k, v in batch.items()}
        try:
            return type(batch)(inside)  # type: ignore[call-arg]
        except TypeError:
            return inside
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_mapped(v, of) for v in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(_mapped(v, of) for v in batch)
    return batch


def tensors_of(batch: Batch) -> list[Tensor]:
    """All tensors of a batch, in order."""
    if isinstance(batch, Tensor):
        return [batch]
    if isinstance(batch, Mapping):
        batch = [batch[k] for k in sorted(batch, key=str)]
    if isinstance(batch, (list, tuple)):
        return [t for item in batch for t in tensors_of(item)]
    return []


def count(batch: Batch) -> int:
    """Examples of a batch: the length of its first tensor."""
    found = tensors_of(batch)
    return int(found[0].shape[0]) if found and found[0].ndim else 1
