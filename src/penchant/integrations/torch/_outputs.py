"""What a model gives out: logits and labels, from batches of the usual kinds."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

Logits: TypeAlias = Callable[[torch.nn.Module, Any], tuple[Tensor, Tensor]]

CAUSAL = ("CausalLM", "LMHeadModel")
"""In the names of classes of transformers whose labels are their own inputs."""


def usual_logits(model: torch.nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
    """Logits and labels of `(x, y)` batches, or of a dictionary with "labels".

    Outputs with `.logits` are those of Hugging Face; of a causal language model they
    foretell the next token, so labels are moved by one.

    Raises:
        TypeError: If the batch or the output is of another kind.
    """
    if isinstance(batch, Mapping):
        labels = batch.get("labels")
        if labels is None:
            raise TypeError('batches that are dictionaries must have "labels"')
        out = model(**batch)
    elif isinstance(batch, (list, tuple)) and len(batch) == 2:
        inputs, labels = batch
        out = model(inputs)
    else:
        raise TypeError("batches must be (x, y) or a dictionary")
    logits = getattr(out, "logits", out)
    if not isinstance(logits, Tensor) or not isinstance(labels, Tensor):
        raise TypeError(
            "the model must give a tensor of logits, and labels be a tensor"
        )
    if any(word in type(model).__name__ for word in CAUSAL):
        logits, labels = logits[:, :-1], labels[:, 1:]
    return logits, labels


def flat_outputs(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of logits `(N, C)` and their labels `(N,)`; ignored ones (< 0) are left out.

    Real labels are targets of a regression: outputs and targets `(N, C)`.

    Raises:
        TypeError: If the shapes do not belong together.
    """
    if labels.is_floating_point():
        rows = logits.reshape(len(labels), -1)
        if rows.numel() != labels.numel():
            raise TypeError(
                f"outputs of shape {tuple(logits.shape)} are no predictions of targets "
                f"of shape {tuple(labels.shape)}"
            )
        return rows, labels.reshape(len(labels), -1)
    if logits.shape[:-1] != labels.shape:
        moved = logits.movedim(1, -1) if logits.ndim > 2 else logits
        if moved.shape[:-1] != labels.shape:
            raise TypeError(
                f"logits of shape {tuple(logits.shape)} do not belong to labels "
                f"of shape {tuple(labels.shape)}"
            )
        logits = moved
    rows, y = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
    kept = y >= 0
    return rows[kept], y[kept]


def mean_loss(rows: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy, or half the mean square: what labels are drawn from."""
    if y.is_floating_point():
        return 0.5 * ((rows - y) ** 2).sum(dim=1).mean()
    return cross_entropy(rows, y)
