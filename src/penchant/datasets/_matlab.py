"""MATLAB's files: of version 5 by SciPy, of 7.3 by h5py."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from penchant.datasets._arrays import check_labels, choose_keys, read_arrays
from penchant.datasets._blocks import AbstractRows, InMemory, Sparse
from penchant.datasets._dataset import Dataset
from penchant.datasets._errors import UNREADABLE, DataError, unreadable
from penchant.datasets._packed import Source
from penchant.datasets._sizes import check_bytes

_SIZES = {"uint8": 1, "int8": 1, "logical": 1, "char": 4, "uint16": 2, "int16": 2}
_WHAT = "a MATLAB file"


def read_matlab(source: Source) -> Dataset:
    """Features and labels of a MATLAB file.

    Raises:
        DataError: If it is damaged, or they are not there.
    """
    import scipy.io

    source.refuse_packed(_WHAT)
    name, request = source.request.name, source.request
    with source.open() as stream:
        newer = stream.read(128)[:10] == b"MATLAB 7.3"
    if newer:
        from penchant.datasets._hdf5 import read_hdf5

        return read_hdf5(source, matlab=True)
    try:
        known = {k: (s, kind) for k, s, kind in scipy.io.whosmat(str(source.path))}
        shapes = {k: tuple(map(int, s)) for k, (s, _) in known.items()}
        key, target, notes = choose_keys(shapes, request)
        needed = sum(
            int(np.prod(shapes[k], dtype=float)) * _SIZES.get(known[k][1], 8)
            for k in {key, target}
            if known[k][1] != "sparse"
        )
        check_bytes(name, needed, source.stored, request.everything)
        found = scipy.io.loadmat(str(source.path), variable_names=[key, target])
        X, y = found[key], found[target]
        rows = Sparse(X) if hasattr(X, "nnz") else InMemory(np.asarray(X))
        if isinstance(rows, Sparse):
            notes.append(rows.note)
        labels = _labels(y)
    except UNREADABLE as error:
        raise unreadable(name, _WHAT, error) from error
    return read_turned(rows, labels, source, repr(target), notes)


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


def _labels(y: Any) -> np.ndarray:
    """Labels as MATLAB has them: numbers, lines of letters, or cells of text."""
    if hasattr(y, "nnz"):
        return np.asarray(y.toarray())
    array = np.asarray(y)
    if array.dtype.kind != "O":
        return array
    words = [np.asarray(cell).reshape(-1) for cell in array.reshape(-1)]
    if any(len(word) != 1 or word.dtype.kind not in "Ubiuf" for word in words):
        raise DataError("labels must be numbers or text; a cell holds something else.")
    return np.array([str(word[0]) for word in words])
