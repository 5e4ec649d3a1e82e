from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from penchant._checks import check_count, check_number
from penchant._types import Numbers, Real
from penchant.datasets._errors import DataError, listing


class Split(NamedTuple):
    """Numbers of rows to train on, and of those held out; each in rising order."""

    train: Int[np.ndarray, " a"]
    held: Int[np.ndarray, " b"]


def split(y: Numbers, share: Real, seed: int = 0) -> Split:
    """Rows at random for training and for testing, class by class.

    Of every class the same share is held out, rounded, but at least one sample, and at
    least one is left. The same labels, share and seed give the same rows.

    >>> split([0, 0, 0, 0, 1, 1], 0.5, seed=1).held
    array([0, 2, 4])

    Args:
        y: `(n,)` labels.
        share: Of the samples that is held out, between 0 and 1.
        seed: Of the draw.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If the share is not between 0 and 1, or a class has one sample
            only: it would vanish from one of the two parts.
    """
    if not isinstance(share, (int, float, np.floating)) or isinstance(share, bool):
        raise TypeError(f"holdout must be a number such as 0.2; got {share!r:.100}.")
    check_number("holdout", share, above=0.0, below=1.0)
    seed = check_count("seed", seed, least=0)
    try:
        labels = np.asarray(y)
        values, codes, sizes = np.unique(
            labels, return_inverse=True, return_counts=True
        )
    except (TypeError, ValueError):
        raise TypeError(f"y must be labels; got {y!r:.100}.") from None
    if labels.ndim != 1 or not labels.size:
        raise ValueError(
            f"y must have shape (n,), a label a sample; got {labels.shape}."
        )
    alone = [str(value) for value in values[sizes < 2]]
    if alone:
        one = len(alone) == 1
        raise DataError(
            "holdout needs two samples of every class, one to train on and one to hold "
            f"out; {'class' if one else 'classes'} {listing(alone, 5, str)} "
            f"{'has' if one else 'have'} one only and would vanish. Leave "
            f"{'it' if one else 'them'} out with classes=(...) (--classes), or train "
            "on all samples."
        )
    # one key a row: what labels are called, and their order, changes nothing
    keys = np.random.default_rng(seed).random(len(labels))
    held = np.zeros(len(labels), dtype=bool)
    for code, size in enumerate(sizes):
        count = int(np.clip(np.rint(share * size), 1, size - 1))
        rows = np.flatnonzero(codes == code)
        held[rows[np.argsort(keys[rows], kind="stable")[:count]]] = True
    return Split(np.flatnonzero(~held), np.flatnonzero(held))
