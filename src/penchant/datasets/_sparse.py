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

    SciPy's reader ends the process on some damaged files, so the few lines of the
    format are read here, and the numbers by NumPy.

    Raises:
        DataError: If it is damaged, or its header asks for more than there is.
    """
    import scipy.sparse

    name, what = str(source.path), "a Matrix Market file"
    try:
        with source.open(whole=True) as stream:
            head, sizes = _market_header(stream)
            n, d = sizes[:2]
            check_width(name, d)
            dense = head["form"] == "array"
            wanted = n * d if dense else sizes[2]
            needed = wanted * (8 if dense else 32)
            check_bytes(name, needed, source.stored, source.request.everything)
            columns = 1 if dense else 2 + (head["field"] != "pattern")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of no numbers, an error below
                body = np.loadtxt(
                    stream, ndmin=2, comments="%", encoding="utf-8", max_rows=wanted + 1
                )
        body = body.reshape(-1, columns) if body.size == 0 else body
        if body.shape != (wanted, columns):
            raise ValueError(
                f"its header promises {wanted} lines of {columns} numbers; got "
                f"{body.shape[0]} of {body.shape[1]}"
            )
        if dense:  # column by column
            return InMemory(np.ascontiguousarray(body.reshape(d, n).T))
        i, j = body[:, 0] - 1, body[:, 1] - 1
        if (
            (i < 0) | (i >= n) | (j < 0) | (j >= d) | (i % 1 != 0) | (j % 1 != 0)
        ).any():
            raise ValueError(f"an index is outside of its shape {(n, d)}")
        values = body[:, 2] if columns == 3 else np.ones(wanted)
        i, j = i.astype(np.int64), j.astype(np.int64)
        if head["symmetry"] == "symmetric":
            other = i != j
            i, j = np.concatenate([i, j[other]]), np.concatenate([j, i[other]])
            values = np.concatenate([values, values[other]])
        return _checked(scipy.sparse.coo_matrix((values, (i, j)), (n, d)), name)
    except UNREADABLE as error:
        raise unreadable(name, what, error) from error


def _market_header(stream: Tree) -> tuple[dict[str, str], list[int]]:
    """What the first line says, and the sizes in the first that is no comment."""
    words = stream.readline(2**16).decode("utf-8", "replace").lower().split()
    if len(words) != 5 or words[:2] != ["%%matrixmarket", "matrix"]:
        raise ValueError("it must start with '%%MatrixMarket matrix'")
    head: dict[str, str] = {}
    allowed: dict[str, tuple[str, ...]] = {
        "form": ("coordinate", "array"),
        "field": ("real", "double", "integer", "unsigned-integer", "pattern"),
        "symmetry": ("general", "symmetric"),
    }
    for (part, known), word in zip(allowed.items(), words[2:], strict=True):
        head[part] = word
        if head[part] not in known:
            raise ValueError(f"its {part} is {head[part]!r}; read are {known}")
    line = b"%"
    while line.startswith(b"%") or (line and not line.strip()):
        line = stream.readline(2**16)
    sizes = [int(word) for word in line.split()]
    sparse = head["form"] == "coordinate"
    square = head["symmetry"] == "general" or (sparse and sizes[:1] == sizes[1:2])
    if len(sizes) != 2 + sparse or min(sizes) < 0 or not square:
        raise ValueError(f"its sizes are {sizes}")
    return head, sizes


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
