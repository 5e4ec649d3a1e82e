"""Margins of a classifier on the probe set, and whether norms can be divided out."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from penchant.integrations.torch._outputs import Logits, flat_outputs

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)

EXAMPLES = 64
"""Most margins whose degree is looked at."""


def margins_of(rows: Tensor, y: Tensor) -> Tensor:
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
    r"""Quantiles of margins, norms of the weights, and Euler's degree.

    The degree is $\langle\theta,\nabla m\rangle/m$ an example: the same number for all
    where the model is homogeneous, and only there margins can be normalised.

    Raises:
        LookupError: If the labels are no classes.
    """
    found = []
    with torch.no_grad():
        for part in parts:
            rows, y = flat_outputs(*logits(bare, part))
            if y.is_floating_point():
                raise LookupError("labels are targets of a regression: no margins")
            found.append(margins_of(rows.float(), y).cpu().numpy())
    m = np.concatenate(found).astype(float)
    degrees = _degrees(bare, logits, parts[0], parameters)
    matrices = [p.detach() for p in parameters if p.ndim >= 2]
    spectral = [
        float(torch.linalg.matrix_norm(w.float().flatten(1), 2)) for w in matrices
    ]
    frobenius = [float(torch.linalg.vector_norm(w.float())) for w in matrices]
    out: dict[str, Any] = {
        "margin_least": float(m.min()),
        "margins": [float(q) for q in np.quantile(m, LEVELS)],
        "misclassified": float(np.mean(m < 0)),
        "norm_l2": math.sqrt(
            sum(float(torch.sum(p.detach().float() ** 2)) for p in parameters)
        ),
        "norm_linf": max(float(p.detach().abs().max()) for p in parameters),
    }
    if spectral:
        out["norm_spectral"] = max(spectral)
        out["stable_rank"] = float(
            np.mean([
                (f / s) ** 2 for f, s in zip(frobenius, spectral, strict=True) if s > 0
            ])
        )
    if degrees.size:
        out["degree"] = [float(q) for q in np.quantile(degrees, (0.1, 0.5, 0.9))]
    return out


def _degrees(
    bare: torch.nn.Module,
    logits: Logits,
    part: Any,
    parameters: Sequence[torch.nn.Parameter],
) -> np.ndarray:
    rows, y = flat_outputs(*logits(bare, part))
    m = margins_of(rows, y)[:EXAMPLES]
    # J theta by two backward passes: J'u is linear in u, so its slope along theta is it
    u = torch.zeros_like(m, requires_grad=True)
    back = torch.autograd.grad(m, parameters, u, create_graph=True, allow_unused=True)
    along = torch.stack([
        torch.sum(b * p.detach())
        for b, p in zip(back, parameters, strict=True)
        if b is not None
    ]).sum()
    (slope,) = torch.autograd.grad(along, u)
    m = m.detach()
    some = m.abs() > 1e-6 * m.abs().max()
    return (slope[some] / m[some]).double().cpu().numpy()
