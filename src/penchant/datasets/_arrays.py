"""Arrays: features and labels under keys of one file, or in two files."""

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from penchant._images import of_shape
from penchant.datasets._blocks import (
    AbstractRows,
    InMemory,
    Npy,
    check_text,
    refuse_shape,
)
from penchant.datasets._dataset import Dataset
from penchant.datasets._errors import (
    UNREADABLE,
    DataError,
    joined,
    listing,
    unreadable,
)
from penchant.datasets._packed import Source
from penchant.datasets._request import Request
from penchant.datasets._rows import AbstractChunk, collect
from penchant.datasets._sizes import check_bytes, check_width
from penchant.datasets._text import Cells

_PAIRS = (
    ("X", "y"),
    ("images", "labels"),
    ("data", "labels"),
    ("data", "target"),
    ("features", "labels"),
    ("features", "target"),
    ("X", "Y"),
    ("x", "y"),
)
"""Keys under which features and labels are looked for, in this order."""

Shapes = Mapping[str, tuple[int, ...]]


def choose_keys(shapes: Shapes, request: Request) -> tuple[str, str, list[str]]:
    """Which arrays of a file hold features and labels, and a note where that is news.

    Raises:
        DataError: If they are not there; the message says which would fit.
    """
    keys = list(shapes)
    if request.key is None and request.target is None:
        pair = next((p for p in _PAIRS if set(p) <= set(keys)), ("X", "y"))
    elif request.key is None:
        assert request.target is not None
        pair = _beside(request.target, "yY", ("X", "x"), keys, "X"), request.target
    else:
        labels = _beside(request.key, "xX", ("y", "Y"), keys, "y")
        pair = request.key, request.target or labels
    if pair[1] in request.skip:
        raise DataError(f"{request.name}: skip holds the target, {pair[1]!r}.")
    told = [
        f"the {what} must be under the key {key!r}; keys: {listing(keys, 20)}. "
        f"{option}=... (--{option}) names another."
        for key, what, option in (
            (pair[0], "features", "features"),
            (pair[1], "labels", "target"),
        )
        if key not in shapes
    ]
    if told:
        told[-1] += _fitting(shapes)
        raise joined(request.name, told)
    notes = []
    if request.key is None and request.target is None and pair != ("X", "y"):
        notes.append(
            f"Features are the array {pair[0]!r} and labels {pair[1]!r}; features=... "
            "and target=... name others."
        )
    return pair[0], pair[1], notes


def _beside(
    key: str, own: str, other: tuple[str, ...], keys: Sequence[str], default: str
) -> str:
    """The key that goes with another: `x_train` with `y_train`."""
    if default in keys:
        return default
    named = [letter + key[1:] for letter in other] if key[:1] in own else []
    usual = [x if x != key else y for x, y in _PAIRS if key in (x, y)]
    return next((k for k in [*named, *usual] if k in keys), default)


def _fitting(shapes: Shapes) -> str:
    """Two arrays that could be features and labels, in words."""
    features = [k for k, shape in shapes.items() if len(shape) > 1 and shape[1] > 1]
    for key in sorted(features, key=lambda k: -int(np.prod(shapes[k], dtype=float))):
        n = shapes[key][0]
        labels = [k for k, s in shapes.items() if s in ((n,), (n, 1), (1, n))]
        if labels:
            return (
                f" By their shapes, features={key!r} and target={labels[0]!r} "
                f"(--features '{key}' --target '{labels[0]}') would fit."
            )
    return ""


def read_npz(source: Source) -> Dataset:
    """Features and labels of an npz file, the features as they are needed."""
    source.refuse_packed("an npz archive")
    name, request = source.request.name, source.request
    arrays = npz_members(source.path, name)
    key, target, notes = choose_keys({k: a.shape for k, a in arrays.items()}, request)
    X = rows_of(arrays[key], request, source.stored)
    refuse_shape(name, X)
    return read_arrays(
        X,
        labels_of(arrays[target], X.shape, request, source.stored, repr(target)),
        request,
        notes=notes,
        where=repr(target),
        stored=source.stored,
    )


def npz_members(path: Path, name: str) -> dict[str, Npy]:
    """The arrays of an npz file, of which no more than the headers is read.

    Raises:
        DataError: If it is no archive of arrays.
    """
    what = "an npz archive"
    try:
        with path.open("rb") as file:
            if file.read(6) == np.lib.format.MAGIC_PREFIX:
                raise ValueError("it is a single array, as in an npy file.")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile as error:
        if "not a zip file" in str(error):
            raise unreadable(name, what, ValueError("allow_pickle")) from error
        raise unreadable(name, what, error) from error
    except UNREADABLE as error:
        raise unreadable(name, what, error) from error

    def opener(member: str) -> Any:
        @contextmanager
        def open_member() -> Iterator[Any]:
            with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
                yield stream

        return open_member

    return {
        info.filename.removesuffix(".npy"): Npy(
            opener(info.filename), name, what, info.file_size
        )
        for info in members
        if not info.is_dir()
    }


def rows_of(array: Npy, request: Request, stored: int) -> AbstractRows:
    """Samples of an array, read as they are needed where they lie in order."""
    if array.in_order and array.shape:
        return array.rows()
    check_bytes(request.name, array.bytes, stored, request.everything)
    return InMemory(array.whole())


def labels_of(
    y: Npy, samples: tuple[int, ...], request: Request, stored: int, where: str
) -> np.ndarray:
    """Labels of as many samples as there are, whole."""
    check_labels(y.shape, y.dtype, samples, request.name, where)
    check_bytes(request.name, y.bytes, stored, request.everything)
    return y.whole()


def check_labels(
    shape: tuple[int, ...],
    dtype: np.dtype,
    samples: tuple[int, ...],
    name: str,
    where: str,
) -> None:
    """Refuse labels that are not one a sample, before they are read.

    Raises:
        DataError: With the shapes.
    """
    n = samples[0] if samples else 0
    if shape not in ((n,), (n, 1)):
        raise DataError(
            f"{name}: {where} must have shape ({n},), a label a row of X, whose shape "
            f"is {samples}; got {shape}."
        )
    if dtype.kind not in "biufUSO":
        raise DataError(
            f"{name}: labels must be numbers or text; {where} has dtype {dtype}."
        )


def read_arrays(
    X: AbstractRows | np.ndarray,
    y: np.ndarray,
    request: Request,
    features: Sequence[str] | None = None,
    notes: Sequence[str] = (),
    where: str = "y",
    stored: int | None = None,
    cells: Cells | None = None,
) -> Dataset:
    """The data set of a feature and a label array; images are flattened."""
    name = request.name
    notes = list(notes)
    rows = InMemory(X) if isinstance(X, np.ndarray) else X
    refuse_shape(name, rows)
    n = rows.shape[0]
    if n == 0:  # whatever the width
        raise DataError(f"{name} has no rows of data.")
    d = 1
    for length in rows.shape[1:]:
        d *= length
    check_width(name, d)
    pixels = of_shape(rows.shape[1:])
    if len(rows.shape) > 2:
        told = f"Samples of shape {rows.shape[1:]} were flattened to {d} features."
        if pixels is not None and request.image is None:
            told += (
                " Pictures show them as images of that shape; image=... (--image) "
                "names another."
            )
        notes.append(told)
    check_labels(y.shape, y.dtype, rows.shape, name, where)
    check_text(name, y)
    names = tuple(features) if features is not None else _numbered(d)
    if request.one_hot and cells is None:
        raise DataError(
            f"{name}: one_hot names columns of text, and an array of numbers has none."
        )
    kept = request.kept(names)
    return collect(
        _chunks(rows, y.reshape(n), d, kept),
        request,
        tuple(names[j] for j in kept),
        where=where,
        total=n,
        notes=notes,
        cells=cells,
        stored=stored,
        image=pixels if len(kept) == d else None,
    )


def read_turned(
    X: AbstractRows, y: np.ndarray, source: Source, where: str, notes: Sequence[str]
) -> Dataset:
    """Data whose samples may lie along the last axis, as MATLAB's images do.

    Raises:
        DataError: If there is not one label a sample.
    """
    notes = [*notes]
    labels = y.reshape(-1) if y.ndim == 2 and 1 in y.shape else y
    n = len(labels) if labels.ndim else 0
    if isinstance(X, InMemory) and len(X.shape) > 1 and X.shape[0] != n == X.shape[-1]:
        X = InMemory(np.moveaxis(X.array, -1, 0))
        notes.append("Samples lie along the last axis of the array, as labels do.")
    check_labels(labels.shape, labels.dtype, X.shape, source.request.name, where)
    return read_arrays(
        X, labels, source.request, notes=notes, where=where, stored=source.stored
    )


def _numbered(d: int) -> tuple[str, ...]:
    return tuple(f"x{j}" for j in range(d))


def _chunks(
    X: AbstractRows, y: np.ndarray, d: int, kept: np.ndarray
) -> Iterator["_ArrayChunk"]:
    first = 0
    for block in X.blocks(max(1, 2**20 // d)):
        yield _ArrayChunk(block, y[first : first + len(block)], kept)
        first += len(block)


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
        d = math.prod(self.X.shape[1:])
        some = np.asarray(self.X[rows]).reshape(len(rows), d)
        if len(self.kept) < some.shape[1]:
            some = some[:, self.kept]
        with np.errstate(over="ignore"):  # of long doubles: reported as infinite
            return some.astype(np.float64)
