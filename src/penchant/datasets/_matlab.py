"""MATLAB's files: of version 5 by SciPy, of 7.3 by h5py."""

import numpy as np

from penchant._types import Tree
from penchant.datasets._arrays import choose_keys, read_turned
from penchant.datasets._blocks import InMemory, Sparse
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
    import scipy.io.matlab

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
    except (*UNREADABLE, scipy.io.matlab.MatReadError) as error:
        raise unreadable(name, _WHAT, error) from error
    return read_turned(rows, labels, source, repr(target), notes)


def _labels(y: Tree) -> np.ndarray:
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
