"""Labels at the door: signs, or classes 0..k-1."""

from typing import Any

import numpy as np


def check_labels(y: Any, n: int) -> tuple[np.ndarray, int]:
    """Labels as integers, and the number of classes (0 where they are signs).

    Raises:
        TypeError: If they are not numbers.
        ValueError: If there is not one a sample, or they are no labels.
    """
    try:
        given = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(
            "y must be an array of numbers: -1 and +1, or classes 0..k-1."
        ) from None
    if given.shape != (n,):
        raise ValueError(
            f"y must have shape ({n},), a label a row of X; got {given.shape}."
        )
    values = np.unique(given)
    strange = values[~np.isfinite(values) | (values != np.round(values))]
    if strange.size:
        raise ValueError(f"y must hold whole numbers; got {strange[0]}.")
    labels = given.astype(np.int32)
    if set(values) <= {-1.0, 1.0}:
        return labels, 0
    if values[0] < 0:
        raise ValueError(
            "y must be all -1 and +1, or classes 0..k-1; "
            f"got values {_listing(values)}."
        )
    k = int(values[-1]) + 1
    if k == 1:
        raise ValueError(
            "y holds one class only (0), so there is nothing to separate. "
            "Use +1 for labels that are absorbed in X."
        )
    missing = np.setdiff1d(np.arange(k), labels)
    if missing.size:
        raise ValueError(
            f"y must hold every class 0..{k - 1}; missing: {_listing(missing)}. "
            "Renumber the labels."
        )
    return labels, k


def _listing(values: np.ndarray) -> str:
    shown = ", ".join(f"{v:g}" for v in values[:8])
    return shown + (", …" if len(values) > 8 else "")
