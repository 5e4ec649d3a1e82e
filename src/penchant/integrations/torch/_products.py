"""Hessian products by double backward, and the largest eigenvalue by Lanczos.

The graph of each part's gradient is built once a probe; a product is one backward
through it.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

CLOSE = 0.05
"""Residual over the value at which Lanczos may end before its last product."""


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """One vector of them all."""
    return torch.cat([t.reshape(-1) for t in tensors])


class Hessian:
    r"""$H_iv$ of parts of the probe set, $H$ their mean, on some of the parameters.

    Args:
        loss: Loss of a part; its value and graph are asked for once.
        parts: Batches.
        parameters: Whose second derivatives; parameters that the loss does not use
            have derivatives 0.
    """

    def __init__(
        self,
        loss: Callable[[Any], Tensor],
        parts: Sequence[Any],
        parameters: Sequence[torch.nn.Parameter],
    ):
        self.parameters = list(parameters)
        self.losses: list[float] = []
        self.gradients: list[Tensor] = []
        self._graphs: list[Tensor | None] = []
        for part in parts:
            value = loss(part)
            self.losses.append(float(value.detach()))
            grads = torch.autograd.grad(
                value, self.parameters, create_graph=True, allow_unused=True
            )
            filled = [
                torch.zeros_like(p) if g is None else g
                for g, p in zip(grads, self.parameters, strict=True)
            ]
            joined = flat(filled)
            self._graphs.append(joined if joined.requires_grad else None)
            self.gradients.append(joined.detach())

    @property
    def count(self) -> int:
        """Number of parts."""
        return len(self.gradients)

    @property
    def gradient(self) -> Tensor:
        """Of all parts."""
        return torch.stack(self.gradients).mean(dim=0)

    def part(self, i: int, v: Tensor) -> Tensor:
        """$H_iv$."""
        graph = self._graphs[i]
        if graph is None:  # a gradient that does not depend on the weights
            return torch.zeros_like(v)
        grads = torch.autograd.grad(
            graph, self.parameters, v, retain_graph=True, allow_unused=True
        )
        return flat([
            torch.zeros_like(p) if g is None else g
            for g, p in zip(grads, self.parameters, strict=True)
        ]).detach()

    def __call__(self, v: Tensor, parts: Sequence[int] | None = None) -> Tensor:
        """The mean of $H_iv$ over some parts, all if None."""
        chosen = range(self.count) if parts is None else parts
        total = torch.zeros_like(v)
        for i in chosen:
            total += self.part(i, v)
        return total / len(chosen)


@dataclasses.dataclass(frozen=True)
class Top:
    """The largest Ritz value, its residual, its vector, and products that were made."""

    value: float
    residual: float
    vector: Tensor
    products: int = 0


def largest(
    product: Callable[[Tensor], Tensor],
    start: Tensor,
    products: int,
    most: int | None = None,
) -> Top:
    r"""$\lambda_1$ of a symmetric operator by Lanczos with full reorthogonalisation.

    The value lies within its residual of an eigenvalue, and is never above the largest.
    It is `penchant.measures.lanczos` on vectors that stay on the user's device. After
    `products` it goes on, to `most`, while the residual is above 5 % of the value.
    """
    size = float(torch.linalg.vector_norm(start))
    most = min(products if most is None else most, start.numel())
    Q = [start / size]
    alphas: list[float] = []
    betas: list[float] = []
    for n in range(1, most + 1):
        u = product(Q[-1])
        alphas.append(float(torch.dot(Q[-1], u)))
        for _ in range(2):  # twice is enough for orthogonality to rounding
            for q in Q:
                u = u - torch.dot(q, u) * q
        beta = float(torch.linalg.vector_norm(u))
        betas.append(beta)
        scale = max(max(map(abs, alphas)), max(betas))
        if beta <= 1e-6 * scale or not math.isfinite(beta):
            break
        if products <= n < most:
            value, residual, _ = _ritz(alphas, betas)
            if residual <= CLOSE * abs(value):
                break
        Q.append(u / beta)
    value, residual, first = _ritz(alphas, betas)
    vector = torch.zeros_like(start)
    for coefficient, q in zip(first, Q, strict=False):
        vector += float(coefficient) * q
    vector = vector / torch.linalg.vector_norm(vector)
    return Top(value, residual, vector, len(alphas))


def _ritz(
    alphas: Sequence[float], betas: Sequence[float]
) -> tuple[float, float, np.ndarray]:
    """The largest eigenvalue of the tridiagonal matrix, its residual and vector."""
    off = betas[: len(alphas) - 1]
    T = np.diag(alphas) + np.diag(off, 1) + np.diag(off, -1)
    if not np.isfinite(T).all():
        raise FloatingPointError("products with the Hessian are not finite")
    values, U = np.linalg.eigh(T)
    residual = abs(betas[len(alphas) - 1] * float(U[-1, -1]))
    return float(values[-1]), residual, U[:, -1]
