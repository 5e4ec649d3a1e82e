"""Momentum's memory against the gradients that the same batches have now."""

import collections
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from penchant import estimators
from penchant.integrations._numbers import past_of
from penchant.integrations._rules import number
from penchant.integrations.torch._products import Hessian
from penchant.integrations.torch._state import Side

LEFT = 0.01
"""Share of a memory that may be older than the batches that were kept."""

ROWS = ("SGD", "Adam", "AdamW", "RAdam")
"""Rules whose memory has one decay, and holds gradients."""


class Replay:
    """The last batches of a run, as they were handed over, by the step they made."""

    def __init__(self, side: Side):
        self.side = side
        self.kept: collections.deque[tuple[int, list[Any]]] = collections.deque()

    def keep(self, batch: object) -> None:
        """A batch of the step that comes next; micro-batches are several."""
        if self.kept and self.kept[-1][0] == self.side.step:
            self.kept[-1][1].append(batch)
            return
        self.kept.append((self.side.step, [batch]))
        while len(self.kept) > self.length:
            self.kept.popleft()

    @property
    def decay(self) -> float:
        """Of the memory."""
        side = self.side
        return side.adapter.decays(side.group_of(side.groups[0]))[0]

    @property
    def length(self) -> int:
        """Steps back at which a hundredth of the memory is left."""
        b = self.decay
        return 1 if b <= 0.0 else math.ceil(math.log(LEFT) / math.log(b))

    @property
    def whole(self) -> bool:
        """Whether the batches of all steps that the memory holds are here."""
        n = self.side.step
        steps = [step for step, _ in self.kept if step < n]
        wanted = list(range(max(0, n - self.length), n))
        known = self.side.adapter.name in ROWS and self.decay > 0.0
        return known and bool(wanted) and steps[-len(wanted) :] == wanted

    def read(
        self,
        gradient: Callable[[Any], Tensor],
        H: Hessian,
        first: Tensor,
        step: Tensor,
    ) -> dict[str, Any]:
        r"""$\|m-m_f\|/\|m_f\|$, $m_f$ of the same batches at the weights of now.

        And how well the first-order term, the path since what is remembered times
        $HF$, foretells $m-m_f$: its cosine and relative size.

        Args:
            gradient: Of a batch, at the weights of now.
            H: Products on the probe set.
            first: $m$ as it is; bias-corrected where the rule corrects it.
            step: $F$, the run's own.
        """
        side, b = self.side, self.decay
        entry, n, row = side.group_of(side.groups[0]), side.step, side.adapter
        steps = [kept for kept in self.kept if kept[0] < n]
        gain = 1.0 - b if row.mean else 1.0 - number(entry.get("dampening", 0.0))
        frozen, total = torch.zeros_like(first), 0.0
        for at, batches in steps:
            g = torch.stack([gradient(batch) for batch in batches]).mean(dim=0)
            # the first buffer of a sum is the gradient itself
            weight = 1.0 if at == 0 and not row.mean else gain
            frozen += weight * b ** (n - 1 - at) * g
            total += weight * b ** (n - 1 - at)
        whole = gain * (1.0 - b**n) / (1.0 - b)
        if steps[0][0] == 0:  # all of it is here
            whole = total
        # what is older than the batches is taken to be as these are
        frozen, total = frozen * (whole / total), whole
        if row.mean:
            frozen, total = frozen / whole, 1.0
        if not row.decoupled(entry):  # decay went through the memory too
            decay = number(entry.get("weight_decay", 0.0))
            weights = torch.cat([p.detach().reshape(-1) for p in side.parameters])
            frozen += total * decay * weights
        size = float(torch.linalg.vector_norm(frozen))
        moved = first - frozen
        if size == 0.0:
            return {}
        lr = number(entry["lr"])
        past = past_of(side.rates, n, b)
        # the newest gradient is a step old, where the formula's is of here
        path = lr + estimators.path_since(b, [lr] * n if past is None else past)
        told = total * path * H(step)
        both = float(torch.linalg.vector_norm(moved) * torch.linalg.vector_norm(told))
        ratio = float(torch.linalg.vector_norm(moved)) / size
        found: dict[str, Any] = {"memory_moved": ratio}
        if both > 0:
            found["memory_foretold"] = [
                float(moved @ told) / both,
                float(torch.linalg.vector_norm(told))
                / float(torch.linalg.vector_norm(moved)),
            ]
        return found
