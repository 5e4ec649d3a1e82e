"""Sparse matrices on disk: SciPy's npz, Matrix Market, svmlight."""

import warnings

import numpy as np

from penchant._types import Tree
from penchant.datasets._arrays import npz_members, read_arrays
from penchant.datasets._blocks import AbstractRows, InMemory, Sparse
from penchant.datasets._dataset import Dataset
from penchant.datasets._errors import UNREADABLE, DataError, listing, unreadable
from penchant.datasets._packed import Source
from penchant.datasets._sizes import check_bytes, check_width

_PARTS = {"indices", "indptr", "row", "col", "offsets", "data", "shape", "format"}


def read_sparse_npz(source: Source) -> Sparse:
    """What `scipy.sparse.save_npz` wrote.

    Raises:
        DataError: If it is damaged, or no sparse matrix.
    """
    import scipy.sparse

    name, what = str(source.path), "a sparse matrix"
    parts = npz_members(source.path, name)
    if not {"data", "shape", "format"} <= set(parts):
        raise DataError(
            f"{name} holds no sparse matrix of SciPy; its keys are {listing(parts)}. "
            "Give an npz file of features and labels alone: features=... and "
            "target=... name its arrays."
        )
    needed = sum(part.bytes for key, part in parts.items() if key in _PARTS)
    check_bytes(name, needed, source.stored, source.request.everything)
    try:
        matrix = scipy.sparse.load_npz(source.path)
        rows = _checked(matrix, name)
    except UNREADABLE as error:
        raise unreadable(name, what, error) from error
    return rows


def _checked(matrix: Tree, name: str) -> Sparse:
    """A matrix whose indices were looked at: wrong ones would be read elsewhere."""
    if any(n < 0 for n in matrix.shape):
        raise ValueError(f"its shape is {matrix.shape}")
    check_width(name, int(matrix.shape[1]))
    for form in (matrix, None):
        csr = matrix.tocsr() if form is None else form
        if hasattr(csr, "check_format"):
            csr.check_format(full_check=True)
    return Sparse(matrix)


def read_matrix_market(source: Source) -> AbstractRows:
    """A matrix in the Matrix Market format, dense or sparse.

    Raises:
        DataError: If it is damaged, or its header asks for more than there is.
    """
    import scipy.io

    name, what, request = str(source.path), "a Matrix Market file", source.request
    try:
        with source.open(whole=True) as stream:
            n, d, entries, form, field, _ = scipy.io.mminfo(stream)
        check_width(name, d)
        held = source.stored
        dense = form == "array"
        numbers = n * d if dense else entries
        # a number takes two characters at least, an entry four
        if not source.packing and numbers * (2 if dense else 4) > held + 4:
            raise ValueError(f"its header promises {numbers} numbers in {held} bytes")
        needed = numbers * (8 if dense else 16)
        check_bytes(name, needed, source.stored, request.everything)
        if field == "complex":
            raise ValueError("its numbers are complex")
        with source.open(whole=True) as stream:
            matrix = scipy.io.mmread(stream)
        return InMemory(np.asarray(matrix)) if dense else _checked(matrix, name)
    except UNREADABLE as error:
        raise unreadable(name, what, error) from error


def read_svmlight(source: Source) -> Dataset:
    """A file of `label index:value …` lines, as of LIBSVM.

    Raises:
        DataError: If it is damaged, or more than may be held.
    """
    from sklearn.datasets import load_svmlight_file

    request = source.request
    try:
        with source.open(whole=True) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of overflow, which is an error below
            matrix, y = load_svmlight_file(stream, zero_based="auto")
        if np.asarray(matrix.indices).min(initial=0) < 0:
            raise ValueError("an index is negative or too large")
        rows = _checked(matrix, request.name)
    except UNREADABLE as error:
        raise unreadable(request.name, "an svmlight file", error) from error
    return read_arrays(
        rows,
        np.asarray(y),
        request,
        notes=[rows.note],
        where="the first column",
        stored=source.stored,
    )
