"""Margins of a classifier on the probe set, and whether norms can be divided out."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from penchant.integrations._numbers import EXAMPLES, Sizes, margins_of
from penchant.integrations.torch._outputs import Logits, flat_outputs


def differences(rows: Tensor, y: Tensor) -> Tensor:
    r"""$s_y-\max_{k\ne y}s_k$."""
    own = rows.gather(1, y[:, None])[:, 0]
    others = rows.scatter(1, y[:, None], -math.inf)
    return own - others.max(dim=1).values


def margins(
    bare: torch.nn.Module,
    logits: Logits,
    parts: Sequence[Any],
    parameters: Sequence[torch.nn.Parameter],
) -> dict[str, Any]:
    """Quantiles of margins, norms of the weights, and Euler's degree.

    Raises:
        LookupError: If the labels are no classes.
    """
    found = []
    with torch.no_grad():
        for part in parts:
            rows, y = flat_outputs(*logits(bare, part))
            if y.is_floating_point():
                raise LookupError("labels are targets of a regression: no margins")
            found.append(differences(_wide(rows), y).cpu().numpy())
    m = np.concatenate(found).astype(float)
    slopes, of = _slopes(bare, logits, parts[0], parameters)
    matrices = [_wide(p.detach()).flatten(1) for p in parameters if p.ndim >= 2]
    squares = [float(torch.sum(_wide(p.detach()) ** 2)) for p in parameters]
    sizes = Sizes(
        l2=math.sqrt(sum(squares)),
        linf=max(float(p.detach().abs().max()) for p in parameters),
        spectral=[float(torch.linalg.matrix_norm(w, 2)) for w in matrices],
        frobenius=[float(torch.linalg.vector_norm(w)) for w in matrices],
    )
    return margins_of(m, slopes, of, sizes)


def _slopes(
    bare: torch.nn.Module,
    logits: Logits,
    part: Any,
    parameters: Sequence[torch.nn.Parameter],
) -> tuple[np.ndarray, np.ndarray]:
    rows, y = flat_outputs(*logits(bare, part))
    m = differences(rows, y)[:EXAMPLES]
    # J theta by two backward passes: J'u is linear in u, so its slope along theta is it
    u = torch.zeros_like(m, requires_grad=True)
    back = torch.autograd.grad(m, parameters, u, create_graph=True, allow_unused=True)
    along = torch.stack([
        torch.sum(b * p.detach())
        for b, p in zip(back, parameters, strict=True)
        if b is not None
    ]).sum()
    (slope,) = torch.autograd.grad(along, u)
    host = lambda x: x.detach().double().cpu().numpy()
    return host(slope), host(m)


def _wide(x: Tensor) -> Tensor:
    """Single precision at least."""
    return x if x.dtype == torch.float64 else x.float()
