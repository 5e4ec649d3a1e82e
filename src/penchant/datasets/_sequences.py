"""Sequences with real labels, from files of arrays and tables of numbers."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from penchant._arrays import numbers
from penchant._visible import visible
from penchant.datasets._errors import DataError
from penchant.datasets._load import load


class Sequences(NamedTuple):
    """`X` `(n, κ)` in time order, `y` `(n,)` or None, and what they are called."""

    X: np.ndarray
    y: np.ndarray | None
    name: str


def load_sequences(source: str | Path, *, target: str | None = None) -> Sequences:
    r"""Sequences a row, the newest number last, and labels that may be any number.

    From `.npz` (keys `X` and, if there is one, `y`), `.npy`, a pair `"X.npy,y.npy"`, or
    a table of numbers in `.csv` or `.tsv`, with names in its first line or without.
    Of anything else that [`load`][penchant.datasets.load] reads, such as images, the
    features in their order are the sequence, and classes are no labels.

    >>> import numpy as np, tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> np.savez(folder / "a.npz", X=np.ones((3, 4)), y=[0.5, 1.0, 1.5])
    >>> load_sequences(folder / "a.npz").y.tolist()
    [0.5, 1.0, 1.5]

    Args:
        source: The file.
        target: The column of labels of a table, or the key in `.npz`; by default `y`
            where there is one of that name.

    Raises:
        DataError: If it can't be read as sequences.
    """
    text = str(source)
    name = visible(text)
    parts = [Path(part).expanduser() for part in text.split(",")]
    kind = parts[0].suffix.lower()
    kinds = {part.suffix.lower() for part in parts}
    if len(parts) > 1 and (len(parts) > 2 or kinds != {".npy"}):
        raise DataError(f"{name}: a pair must be of .npy files, as in X.npy,y.npy.")
    if kind == ".npy" and target is not None:
        raise DataError(
            f"{name}: .npy files have no names, so that there is no {target!r}; give "
            "the labels as a second file, X.npy,y.npy."
        )
    try:
        if kind == ".npy":
            X = _numbers("X", _array(parts[0]))
            y = _numbers("y", _array(parts[1])) if len(parts) == 2 else None
        elif kind == ".npz":
            X, y = _npz(parts[0], target)
        elif kind in (".csv", ".tsv"):
            X, y = _table(parts[0], target)
        else:
            dataset = load(source)
            X, y = np.asarray(dataset.X), None
    except (OSError, EOFError) as error:
        raise DataError(f"{name} can't be read: {error}.") from None
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{name}: {error}") from None
    if X.ndim != 2 or 0 in X.shape:
        raise DataError(f"{name}: sequences must be rows, (n, κ); got {X.shape}.")
    if y is not None and y.shape != (len(X),):
        raise DataError(
            f"{name}: labels must be one a sequence, ({len(X)},); got {y.shape}."
        )
    return Sequences(X, y, name)


def _numbers(name: str, values: np.ndarray) -> np.ndarray:
    array = numbers(name, values)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; got NaN or infinite entries.")
    return array


def _array(path: Path) -> Any:
    """What `np.load` reads, without its advice to unpickle what it can't."""
    try:
        return np.load(path, allow_pickle=False)
    except ValueError:
        raise ValueError(
            "it holds no array of numbers that NumPy wrote: it is damaged, of another "
            "kind, or of Python objects."
        ) from None


def _npz(path: Path, target: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    with _array(path) as archive:
        if "X" not in archive:
            raise ValueError(
                f"the key X must hold the sequences; got {', '.join(archive)}."
            )
        key = "y" if target is None else target
        if target is not None and key not in archive:
            raise ValueError(f"there is no key {key!r}; have {', '.join(archive)}.")
        y = _numbers(key, archive[key]) if key in archive else None
        return _numbers("X", archive["X"]), y


def _table(path: Path, target: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    mark = "\t" if path.suffix.lower() == ".tsv" else ","
    lines = [
        line.split(mark)
        for line in path.read_text(encoding="utf-8-sig").splitlines()
        if line.strip()
    ]
    if not lines:
        raise ValueError("the file is empty.")
    names = [cell.strip().strip('"') for cell in lines[0]]
    headed = not all(map(_is_number, names))
    rows = lines[1:] if headed else lines
    width = len(lines[0])
    for i, row in enumerate(rows, start=1 + headed):
        if len(row) != width:
            raise ValueError(f"line {i} has {len(row)} cells, the first {width}.")
        odd = [cell for cell in row if not _is_number(cell)]
        if odd:
            raise ValueError(f"line {i} has {visible(odd[0])!r}, which is no number.")
    table = np.array([[float(cell) for cell in row] for row in rows]).reshape(-1, width)
    if target is None and not (headed and "y" in names):
        return _numbers("X", table), None
    key = "y" if target is None else target
    if not headed or key not in names:
        have = ", ".join(names) if headed else "no names in its first line"
        raise ValueError(f"there is no column {key!r}; the table has {have}.")
    at = names.index(key)
    return _numbers("X", np.delete(table, at, axis=1)), _numbers(key, table[:, at])


def _is_number(text: str) -> bool:
    try:
        float(text.strip().strip('"'))
    except ValueError:
        return False
    return True
