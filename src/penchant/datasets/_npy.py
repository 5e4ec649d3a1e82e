"""A pair of files, one of features and one of labels."""

import numpy as np

from penchant.datasets._arrays import check_labels, read_arrays, rows_of
from penchant.datasets._blocks import (
    AbstractRows,
    InMemory,
    Npy,
    Sparse,
    refuse_shape,
)
from penchant.datasets._dataset import Dataset
from penchant.datasets._errors import DataError
from penchant.datasets._packed import Source
from penchant.datasets._request import Request
from penchant.datasets._sparse import read_matrix_market, read_sparse_npz


def read_npy(sources: tuple[Source, Source]) -> Dataset:
    """A pair of files, of features and of labels: npy, sparse npz or Matrix Market."""
    request = sources[0].request
    stored = sources[0].stored + sources[1].stored
    notes = []
    X = _array(sources[0], request)
    if isinstance(X, Sparse):
        notes.append(X.note)
    labels = _array(sources[1], request)
    if isinstance(labels, Sparse):
        raise DataError(f"{sources[1].path}: labels must not be sparse.")
    refuse_shape(request.name, X)
    check_labels(labels.shape, labels.dtype, X.shape, request.name, "y")
    (y,) = [*labels.blocks(max(1, labels.shape[0]))] or [np.empty(labels.shape)]
    return read_arrays(X, y, request, notes=notes, stored=stored)


def _array(source: Source, request: Request) -> AbstractRows:
    """The one array of a file."""
    name = str(source.path)
    if source.suffix == ".npy":
        size = None if source.packing else source.stored
        array = Npy(source.open, name, "an npy array", size)
        if source.packing or not array.shape:
            return rows_of(array, request, source.stored)
        if 0 in array.shape:
            return InMemory(np.empty(_checked_empty(array.shape, name), array.dtype))
        order = "F" if array.fortran else "C"
        return InMemory(
            np.memmap(
                source.path,
                dtype=array.dtype,
                mode="r",
                offset=array.start,
                shape=array.shape,
                order=order,
            )
        )
    if source.suffix == ".npz":
        source.refuse_packed("an npz archive")
        return read_sparse_npz(source)
    return read_matrix_market(source)


def _checked_empty(shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    if np.prod(shape, dtype=float) or max(shape) > 2**31:
        raise DataError(f"{name} can't be read as an npy array: its shape is {shape}.")
    return shape
