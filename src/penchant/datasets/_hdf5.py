"""HDF5 files: arrays under paths, read in slices."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from penchant._types import Tree
from penchant.datasets._arrays import (
    check_labels,
    choose_keys,
    read_arrays,
    read_turned,
)
from penchant.datasets._blocks import AbstractRows, InMemory
from penchant.datasets._dataset import Dataset
from penchant.datasets._errors import UNREADABLE, DataError, unreadable
from penchant.datasets._packed import Source
from penchant.datasets._sizes import check_bytes

_WHAT = "an HDF5 file"
_MOST_ARRAYS = 1000


class _Slices(AbstractRows):
    """A data set of an HDF5 file, a slice at a time."""

    def __init__(self, data: Tree, name: str):
        self.data, self.name = data, name
        self.shape, self.dtype = tuple(map(int, data.shape)), data.dtype

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        for start in range(0, self.shape[0], size):
            try:
                block = self.data[start : start + size]
            except UNREADABLE as error:
                raise unreadable(self.name, _WHAT, error) from error
            yield block


def read_hdf5(source: Source, matlab: bool = False) -> Dataset:
    """Features and labels of an HDF5 file, the features as they are needed.

    Args:
        source: The file.
        matlab: It is one of MATLAB 7.3, whose arrays lie with their axes reversed.

    Raises:
        DataError: If it is damaged, or they are not there, or h5py isn't.
    """
    try:
        import h5py
    except ImportError:
        raise DataError(
            f"{source.request.name}: HDF5 files need h5py: pip install "
            "'penchant[hdf5]'."
        ) from None
    source.refuse_packed(_WHAT)
    name, request = source.request.name, source.request
    try:
        with h5py.File(source.path, "r") as file:
            arrays = _arrays(file, h5py.Dataset)
            shapes = {
                key: tuple(map(int, data.shape))[:: -1 if matlab else 1]
                for key, data in arrays.items()
            }
            key, target, notes = choose_keys(shapes, request)
            for array in (arrays[key], arrays[target]):
                _check_chunks(name, array, source)
            labels = _labels(name, arrays[target], source)
            if not matlab:
                X = _Slices(arrays[key], name)
                where = repr(target)
                labels = labels.reshape(-1) if _is_column(labels) else labels
                check_labels(labels.shape, labels.dtype, X.shape, name, where)
                return read_arrays(
                    X, labels, request, notes=notes, where=where, stored=source.stored
                )
            needed = arrays[key].size * arrays[key].dtype.itemsize
            check_bytes(name, needed, source.stored, request.everything)
            whole = InMemory(arrays[key][()].T)
            return read_turned(whole, labels, source, repr(target), notes)
    except UNREADABLE as error:
        raise unreadable(name, _WHAT, error) from error


def _is_column(labels: np.ndarray) -> bool:
    return labels.ndim == 2 and 1 in labels.shape


def _arrays(file: Tree, kind: type) -> dict[str, Any]:
    """All arrays by their paths; links to other files are not followed."""
    found: dict[str, Any] = {}

    def note(path: str, item: Any) -> bool | None:
        if isinstance(item, kind) and item.shape is not None:
            found[path] = item
        return True if len(found) > _MOST_ARRAYS else None

    file.visititems(note)
    return found


def _check_chunks(name: str, data: Tree, source: Source) -> None:
    """A packed chunk is unpacked whole, however little of it is asked for."""
    if data.external:
        raise DataError(f"{name}: its arrays lie in other files; give those.")
    chunk = math.prod(data.chunks) if data.chunks else 0
    needed = chunk * data.dtype.itemsize
    check_bytes(name, needed, source.stored, source.request.everything)


def _labels(name: str, data: Tree, source: Source) -> np.ndarray:
    import h5py

    if data.dtype.kind not in "biufSO" or (
        data.dtype.kind == "O" and h5py.check_string_dtype(data.dtype) is None
    ):
        raise DataError(
            f"{name}: labels must be numbers or text; {data.name!r} has dtype "
            f"{data.dtype}."
        )
    needed = data.size * max(8, data.dtype.itemsize)
    check_bytes(name, needed, source.stored, source.request.everything)
    if data.dtype.kind == "O":
        return np.array(data.asstr(errors="replace")[()], dtype=object).astype(str)
    return np.asarray(data[()])
