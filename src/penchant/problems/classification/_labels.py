"""Examples and labels at the door, one reading for every kind of classifier."""

from typing import NamedTuple

import numpy as np

from penchant._arrays import numbers, plain
from penchant._checks import check_count
from penchant._types import Numbers


class Labels(NamedTuple):
    """Labels as a problem holds them.

    `y` are -1 and +1 where `binary`, else 0..k-1; `classes` is 2 or k; `names` are what
    the labels were called, the negative class first, empty where they were numbers.
    """

    y: np.ndarray
    classes: int
    binary: bool
    names: tuple[str, ...]


def read_labels(y: Numbers, n: int, classes: int | None = None) -> Labels:
    """Signs, 0 and 1, truth values or two names are binary; else classes 0..k-1.

    Args:
        y: One label a sample.
        n: The number of samples.
        classes: 2 for two classes in the multi-class form; None to let the labels say.

    Raises:
        TypeError: If they are neither numbers nor names.
        ValueError: If there is not one a sample, or they are no labels.
    """
    if classes is not None and check_count("classes", classes, least=2) != 2:
        raise ValueError(
            "classes is for two classes in the multi-class form, classes=2; more are "
            f"read off the labels. Got {classes}."
        )
    given, names = _numbers(y, n)
    values = np.unique(given)
    strange = values[~np.isfinite(values) | (values != np.round(values))]
    if strange.size:
        raise ValueError(f"y must hold whole numbers; got {strange[0]}.")
    labels = given.astype(np.int32)
    signs = set(values) <= {-1.0, 1.0}
    two = signs or (set(values) == {0.0, 1.0})
    if two and classes is None:
        return Labels(labels if signs else 2 * labels - 1, 2, True, names)
    if signs:
        if len(values) < 2:
            raise ValueError(
                "y holds one sign only, so there are no two classes to tell apart; "
                "leave classes=2 out for labels that are absorbed in X."
            )
        return Labels((labels + 1) // 2, 2, False, names)
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
    if classes is not None and k > 2:
        raise ValueError(f"classes=2 was asked for, and y holds {k} classes.")
    return Labels(labels, k, False, names)


MOST_CLASSES = 1000


def number_labels(y: Numbers) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels of any kind as numbers that a classifier takes, and what they were called.

    Signs stay as they are, names stay names; two other numbers become -1 and +1, more
    of them 0..k-1 in their order. What is missing or broken is left for `read_labels`.

    Raises:
        ValueError: If there are more than 1000 numbers: a regression target.
    """
    raw = np.asarray(plain("y", y))
    if raw.dtype.kind not in "biuf" or raw.ndim != 1 or not raw.size:
        return raw, ()
    values = np.unique(raw)
    if not np.isfinite(values.astype(float)).all() or set(values.tolist()) <= {-1, 1}:
        return raw, ()
    if (values != np.round(values)).any():
        return raw, ()
    if len(values) > MOST_CLASSES:
        raise ValueError(
            f"y must hold at most {MOST_CLASSES} classes; got {len(values)} different "
            "numbers, a regression target."
        )
    if len(values) < 2:
        raise ValueError(
            f"y holds one class only ({values[0]}), so there is nothing to separate. "
            "Use +1 for labels that are absorbed in X."
        )
    codes = np.searchsorted(values, raw)
    write = str if raw.dtype.kind == "b" else lambda value: f"{float(value):g}"
    names = tuple(write(value) for value in values)
    return (2 * codes - 1 if len(values) == 2 else codes), names


def read_examples(X: Numbers, shape: str) -> np.ndarray:
    """Examples in float64, `(n, d)` for a shape of two axes, else `(n, ...)`.

    Raises:
        TypeError: If they are no real numbers.
        ValueError: If the shape is another, or an entry is NaN, infinite or masked.
    """
    examples = numbers("X", X, shape)
    flat = shape == "(n, d)"
    if (examples.ndim != 2 if flat else examples.ndim == 0) or 0 in examples.shape:
        more = " and one feature" if flat else ""
        raise ValueError(
            f"X must have shape {shape} with at least one sample{more}; "
            f"got shape {examples.shape}."
        )
    finite = np.isfinite(examples)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        place = f"in row {where[0]}, column {where[1]}" if flat else f"at {where}"
        raise ValueError(
            f"X must be finite; {np.size(finite) - finite.sum()} entries are NaN or "
            f"infinite, the first {place}: {examples[where]}."
        )
    return examples


def _numbers(y: Numbers, n: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as numbers, and their names where they were text."""
    names: tuple[str, ...] = ()
    try:
        raw = np.asarray(plain("y", y))
        if raw.dtype.kind in "OUS" and raw.size and _are_names(raw):
            found, codes = np.unique(raw.astype(str), return_inverse=True)
            if len(found) == 1:
                raise ValueError(
                    f"y holds one class only ({found[0]!r}), so there is nothing to "
                    "separate."
                )
            names, given = tuple(map(str, found)), codes.astype(np.float64)
        else:
            given = numbers("y", raw)
    except TypeError as error:
        raise TypeError(f"{error} Labels are -1 and +1, names, or 0..k-1.") from None
    if given.shape != (n,):
        raise ValueError(
            f"y must have shape ({n},), a label a row of X; got {given.shape}."
        )
    return given, names


def _are_names(raw: np.ndarray) -> bool:
    return all(isinstance(value, (str, bytes)) for value in raw.ravel())


def _listing(values: np.ndarray) -> str:
    shown = ", ".join(f"{v:g}" for v in values[:8])
    return shown + (", …" if len(values) > 8 else "")
