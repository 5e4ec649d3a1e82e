import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from penchant.datasets._dataset import Dataset
from penchant.datasets._errors import DataError, listing
from penchant.datasets._request import Request
from penchant.datasets._rows import AbstractChunk, collect

_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    MemoryError,  # a damaged header can ask for any number of bytes
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy and the standard library raise on files that are not what they say."""


def read_npz(path: Path, request: Request) -> Dataset:
    """Arrays `X` and `y` (or the target's name) of an npz file."""
    target = request.target or "y"
    if target in request.skip:
        raise DataError(f"{request.name}: skip holds the target, {target!r}.")
    try:
        with path.open("rb") as file:  # which NumPy leaves open where it fails
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("it is a single array, as in an npy file.")
            keys = list(archive)
            samples = request.key or _samples_beside(target, keys)
            arrays = {key: archive[key] for key in (samples, target) if key in keys}
    except _UNREADABLE as error:
        raise _unreadable(request.name, "an npz archive", error) from error
    for key, what, option in (
        (samples, "features", "features"),
        (target, "labels", "target"),
    ):
        if key not in arrays:
            raise DataError(
                f"{request.name}: the {what} must be under the key {key!r}; "
                f"keys: {listing(keys, 20)}. {option}=... names another."
            )
    return read_arrays(arrays[samples], arrays[target], request, where=repr(target))


def _samples_beside(target: str, keys: Sequence[str]) -> str:
    """The key of the samples that a target's key belongs to: `x_train` of `y_train`."""
    if "X" not in keys and target[:1] in ("y", "Y"):
        beside = [f"{letter}{target[1:]}" for letter in ("X", "x")]
        return next((key for key in beside if key in keys), "X")
    return "X"


def read_npy(paths: tuple[Path, Path], request: Request) -> Dataset:
    """A pair of npy files: features, read as they are needed, and labels."""
    arrays = []
    for path in paths:
        try:
            with path.open("rb") as file:
                np.lib.format.read_magic(file)  # or an archive would be opened, too
            arrays.append(np.load(path, mmap_mode="r", allow_pickle=False))
        except _UNREADABLE as error:
            raise _unreadable(str(path), "an npy array", error) from error
    return read_arrays(arrays[0], arrays[1], request)


def read_arrays(
    X: np.ndarray,
    y: np.ndarray,
    request: Request,
    features: Sequence[str] | None = None,
    notes: Sequence[str] = (),
    where: str = "y",
) -> Dataset:
    """The data set of a feature and a label array; images are flattened."""
    name = request.name
    notes = list(notes)
    if X.ndim < 2:
        raise DataError(
            f"{name}: X must have shape (n, d), or (n, h, w) for images; got {X.shape}."
        )
    if X.dtype.kind not in "biuf":
        example = f" (e.g. {X.flat[0]!s})" if X.size else ""
        raise DataError(
            f"{name}: X must hold real numbers; got dtype {X.dtype}{example}."
        )
    d = int(np.prod(X.shape[1:]))
    if X.ndim > 2:
        notes.append(f"Samples of shape {X.shape[1:]} were flattened to {d} features.")
    n = len(X)
    if y.shape == (n, 1):
        y = y[:, 0]
    if y.shape != (n,):
        raise DataError(
            f"{name}: {where} must have shape ({n},), a label a row of X, whose shape "
            f"is {X.shape}; got {y.shape}."
        )
    if y.dtype.kind not in "biufUSO":
        raise DataError(
            f"{name}: labels must be numbers or text; {where} has dtype {y.dtype}."
        )
    names = tuple(features) if features is not None else _numbered(d)
    kept = request.kept(names)
    return collect(
        _chunks(X, y, d, kept),
        request,
        tuple(names[j] for j in kept),
        where=where,
        total=n,
        notes=notes,
    )


def _numbered(d: int) -> tuple[str, ...]:
    return tuple(f"x{j}" for j in range(d))


def _chunks(
    X: np.ndarray, y: np.ndarray, d: int, kept: np.ndarray
) -> Iterator["_ArrayChunk"]:
    size = max(1, 2**20 // d)
    for start in range(0, len(X), size):
        stop = start + size
        yield _ArrayChunk(X[start:stop], y[start:stop], kept)


class _ArrayChunk(AbstractChunk):
    def __init__(self, X: np.ndarray, y: np.ndarray, kept: np.ndarray):
        self.X, self.y, self.kept = X, y, kept

    def labels(self) -> tuple[list[Any], np.ndarray]:
        if self.y.dtype.kind == "O":  # mixed types have no order
            numbers: dict[Any, int] = {}
            codes = [numbers.setdefault(v, len(numbers)) for v in self.y.tolist()]
            return list(numbers), np.array(codes, dtype=np.int64)
        values, codes = np.unique(self.y, return_inverse=True)
        return values.tolist(), codes

    def features(self, rows: np.ndarray) -> np.ndarray:
        some = np.asarray(self.X[rows]).reshape(len(rows), -1)
        if len(self.kept) < some.shape[1]:
            some = some[:, self.kept]
        with np.errstate(over="ignore"):  # of long doubles: reported as infinite
            return some.astype(np.float64)


def _unreadable(name: str, what: str, error: BaseException) -> DataError:
    if "allow_pickle" in str(error) and "Object arrays" not in str(error):
        return DataError(
            f"{name} can't be read as {what}: it is damaged, of another format, or a "
            "pickle, which is never loaded, as it can run code."
        )
    if "allow_pickle" in str(error):
        return DataError(
            f"{name} holds pickled objects, which are never loaded, as they can run "
            "code. Save arrays of numbers, or of text with a fixed width."
        )
    return DataError(f"{name} can't be read as {what}: {error}")
