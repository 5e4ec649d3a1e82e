"""Which row of the table an optimizer of `torch.optim` has."""

import inspect
import math
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from penchant.integrations._rules import (
    ADAGRAD,
    ADAM,
    ADAMW,
    LION,
    MUON,
    NADAM,
    RADAM,
    RMSPROP,
    SGD,
    UNKNOWN,
    Adapter,
    Moments,
    Seen,
    number,
)


@runtime_checkable
class Grouped(Protocol):
    """An optimizer of `torch.optim`, or of another make with groups and a state."""

    param_groups: Any
    state: Any


def adapter_of(optimizer: Grouped) -> Adapter:
    """The row of an optimizer, `UNKNOWN` for one without."""
    kind: Any = type(optimizer)
    groups: Any = optimizer.param_groups
    if kind.__name__ == "Lion" and all("betas" in group for group in groups):
        return LION
    for known, row in ROWS.items():
        # a subclass counts as its parent if it steps as the parent does
        if issubclass(kind, known) and (
            inspect.unwrap(kind.step) is inspect.unwrap(known.step)
        ):
            return row
    return UNKNOWN


def _adafactor(seen: Seen) -> Moments:
    """Its step has a clipped size of its own: only the divisor is read."""
    v = seen.state.get("variance")
    eps = seen.group["eps"][0]
    return Moments(
        None,
        None if v is None else np.sqrt(v),
        number(torch.finfo(torch.float32).eps if eps is None else eps),
        None,
    )


def polar_unit(group: Any, shape: torch.Size) -> float:
    """The singular values of Muon's step, were its polar factor exact."""
    rows, columns = shape
    if group.get("adjust_lr_fn") == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, rows / columns))


ADAFACTOR = Adapter(
    "Adafactor",
    None,
    "variance",
    _adafactor,
    lambda group: (0.0, None),
    lambda group: True,
    curved=False,
)

ROWS: dict[type[torch.optim.Optimizer], Adapter] = {
    torch.optim.AdamW: ADAMW,
    torch.optim.Adam: ADAM,
    torch.optim.NAdam: NADAM,
    torch.optim.RAdam: RADAM,
    torch.optim.SGD: SGD,
    torch.optim.RMSprop: RMSPROP,
    torch.optim.Adagrad: ADAGRAD,
    torch.optim.Adafactor: ADAFACTOR,
    **({torch.optim.Muon: MUON} if hasattr(torch.optim, "Muon") else {}),
}
"""Subclasses stand before their parents."""
