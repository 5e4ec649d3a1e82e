"""What holds of loaded data that changes how a result on them is to be read."""

import numpy as np

from penchant.datasets._errors import counted, listing


def findings(X: np.ndarray, y: np.ndarray, features: tuple[str, ...]) -> list[str]:
    """A sentence for each peculiarity of data whose labels are `y`."""
    return [
        *constant_features(X, features),
        *_row_numbers(X, features),
        *_repeated_rows(X, y),
    ]


def constant_features(X: np.ndarray, features: tuple[str, ...]) -> list[str]:
    """Which features are the same in every row, and what a linear model makes of it."""
    if len(X) < 2:
        return []
    constant = (X[0] == X).all(axis=0)
    zero = constant & (X[0] == 0)
    notes = []
    if zero.any():
        notes.append(
            f"{counted(int(zero.sum()), 'feature')} ({_names(zero, features)}) "
            f"{_is(zero)} 0 in every row: no margin or gradient depends on the weight "
            "there, which stays where it starts."
        )
    other = constant & ~zero
    if other.any():
        notes.append(
            f"{counted(int(other.sum()), 'feature')} ({_names(other, features)}) "
            f"{_is(other)} constant: as the same value in every row it acts as a bias "
            "term, whose weight counts in every norm."
        )
    return notes


def _row_numbers(X: np.ndarray, features: tuple[str, ...]) -> list[str]:
    if len(X) < 10:  # a few values in order are no surprise
        return []
    rising = (X[1:] > X[:-1]).all(axis=0) & (np.floor(X) == X).all(axis=0)
    if not rising.any():
        return []
    verb = "grows" if rising.sum() == 1 else "grow"
    return [
        f"{counted(int(rising.sum()), 'feature')} ({_names(rising, features)}) {verb} "
        "by whole numbers from row to row, as a row number does; if it is one, leave "
        "it out with skip."
    ]


def _repeated_rows(X: np.ndarray, y: np.ndarray) -> list[str]:
    group = _groups(X)
    low = y.min()
    spread = int(y.max() - low) + 1
    pairs = np.unique(group * spread + (y - low))
    notes = []
    repeats = len(X) - len(pairs)
    if repeats:
        verb = "is a duplicate" if repeats == 1 else "are duplicates"
        notes.append(
            f"{repeats} of {len(X)} rows {verb} of another (same features, same label)."
        )
    labels_a_group = np.bincount(pairs // spread)
    torn = int((labels_a_group[group] > 1).sum())
    if torn:
        notes.append(
            f"{torn} rows have the same features as a row of another class, so no "
            "classifier separates these data."
        )
    return notes


def _groups(X: np.ndarray) -> np.ndarray:
    """A number for each row, the same for rows that are equal."""
    keys = _hashes(X)
    order = np.argsort(keys, kind="stable")
    follows = keys[order[1:]] == keys[order[:-1]]
    at = np.flatnonzero(follows)
    for start in range(0, len(at), _BLOCK):
        some = at[start : start + _BLOCK]
        if not np.array_equal(X[order[some]], X[order[some + 1]]):
            return np.unique(X, axis=0, return_inverse=True)[1].ravel()
    group = np.empty(len(X), dtype=np.int64)
    group[order] = np.concatenate([[0], np.cumsum(~follows)])
    return group


def _hashes(X: np.ndarray) -> np.ndarray:
    """64 bits a row: sorting these is far faster than sorting whole rows."""
    rng = np.random.default_rng(0)
    odd = rng.integers(2**63, size=X.shape[1], dtype=np.uint64) * np.uint64(2) + (
        np.uint64(1)
    )
    keys = np.empty(len(X), dtype=np.uint64)
    for start in range(0, len(X), _BLOCK):
        rows = X[start : start + _BLOCK] + 0.0  # -0 becomes 0, which it equals
        bits = np.ascontiguousarray(rows).view(np.uint64)
        # whole numbers leave the low half of a float's bits empty; a product modulo
        # 2**64 never brings high bits down, so they must be folded in first
        bits = bits ^ (bits >> np.uint64(32))
        keys[start : start + _BLOCK] = bits @ odd
    return keys


_BLOCK = 4096


def _names(mask: np.ndarray, features: tuple[str, ...]) -> str:
    return listing((features[j] for j in np.flatnonzero(mask)), write=str)


def _is(mask: np.ndarray) -> str:
    return "is" if mask.sum() == 1 else "are"
