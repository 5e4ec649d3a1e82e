"""Gauss-Newton's diagonal by gradients of labels that the model draws itself."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from penchant.integrations.torch._outputs import flat_outputs, mean_loss
from penchant.integrations.torch._products import flat

DRAWS = 2
"""Label draws a part; more parts are better than more draws."""

MOST = 2**20
"""Coordinates of which every part's sum is kept; of more parameters a sample."""

ROWS = 8192
"""Rows of logits whose labels are drawn at a time."""


def diagonals(
    outputs: Callable[[Any], tuple[Tensor, Tensor]],
    parts: Sequence[Any],
    parameters: Sequence[torch.nn.Parameter],
    generator: torch.Generator,
    draws: int = DRAWS,
) -> tuple[np.ndarray, np.ndarray, float]:
    r"""Unbiased draws of $\operatorname{diag}G$, a row a part; sums over all; a scale.

    With labels redrawn from the softmax and $\hat g$ the gradient of the mean loss of
    $N$ labels, $E[N\hat g_j^2]=G_{jj}$ (one backward for all coordinates). Of a
    regression residuals are standard Gaussians, and $G$ is that of half the sum of
    squares.

    Args:
        outputs: Logits and labels of a part.
        parts: Batches.
        parameters: Whose diagonal.
        generator: Of the labels, on the processor.
        draws: Draws a part, whose squares are averaged.

    Returns:
        `(k, p)` for at most 2^20 coordinates, else for a sample of them; `(k,)` sums
        over all coordinates; and the number of coordinates over those kept.
    """
    p = sum(t.numel() for t in parameters)
    at: Tensor | None = None
    if p > MOST:
        at = torch.randint(p, (MOST,), generator=generator)
    rows, sums = [], []
    for part in parts:
        logits, y = flat_outputs(*outputs(part))
        n = len(y)
        if not n:
            raise ValueError("a part of the probe set has no labels")
        total: Tensor | None = None
        for draw in range(draws):
            loss = mean_loss(logits, _labels(logits.detach(), y, generator))
            grads = torch.autograd.grad(
                loss, parameters, retain_graph=draw + 1 < draws, allow_unused=True
            )
            g = flat([
                torch.zeros_like(q) if grad is None else grad
                for grad, q in zip(grads, parameters, strict=True)
            ])
            square = (n / draws) * g * g
            total = square if total is None else total + square
        assert total is not None
        sums.append(float(total.sum()))
        kept = total if at is None else total[at.to(total.device)]
        rows.append(kept.cpu().numpy().astype(float))
    scale = 1.0 if at is None else p / MOST
    return np.stack(rows), np.array(sums), scale


def _labels(logits: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
    """Labels from the model itself: of its softmax, or Gaussian about its outputs."""
    if y.is_floating_point():
        noise = torch.randn(logits.shape, generator=generator)
        return logits + noise.to(logits)
    found = []
    for some in logits.split(ROWS):
        chances = torch.softmax(some.float(), dim=1).cpu()
        found.append(torch.multinomial(chances, 1, generator=generator)[:, 0])
    return torch.cat(found).to(y)
