"""Arrays of samples, block by block: in memory, sparse, or in a stream of bytes."""

import abc
import io
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import numpy as np

from penchant._types import Tree
from penchant.datasets._errors import UNREADABLE, DataError, unreadable

Opener = Callable[[], AbstractContextManager[io.BufferedIOBase]]


class AbstractRows(abc.ABC):
    """An array whose first axis counts samples, read from its start."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @abc.abstractmethod
    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """The array in parts of at most `size` samples."""


class InMemory(AbstractRows):
    """An array of NumPy, or a map of a file."""

    def __init__(self, array: np.ndarray):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        for start in range(0, len(self.array), size):
            yield self.array[start : start + size]


class Sparse(AbstractRows):
    """A sparse matrix, written out a block of rows at a time."""

    def __init__(self, matrix: Tree):
        self.matrix, self.shape = matrix.tocsr(), matrix.shape
        self.dtype = matrix.dtype

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        for start in range(0, self.shape[0], size):
            yield self.matrix[start : start + size].toarray()

    @property
    def note(self) -> str:
        """How much of it there is."""
        n, d = self.shape
        share = 100 * self.matrix.count_nonzero() / max(1, n * d)
        return f"Features are sparse: {share:.3g} % of the entries are not 0."


class Streamed(AbstractRows):
    """Numbers that follow one another in a stream, the last axis fastest.

    Args:
        opener: Opens the stream.
        skip: Bytes before the first number.
        shape: Of the array.
        dtype: Of its numbers.
        name: For messages.
        what: For messages: what the file must be.
        ends: Whether nothing may follow.
    """

    def __init__(
        self,
        opener: Opener,
        skip: int,
        shape: tuple[int, ...],
        dtype: np.dtype,
        *,
        name: str,
        what: str,
        ends: bool = False,
    ):
        self.opener, self.skip, self.shape, self.dtype = opener, skip, shape, dtype
        self.name, self.what, self.ends = name, what, ends

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        n, *rest = self.shape
        width = math.prod(rest) * self.dtype.itemsize
        try:
            with self.opener() as stream:
                stream.read(self.skip)
                for start in range(0, n, size):
                    count = min(size, n - start)
                    yield self._block(stream, count, count * width)
                if self.ends and stream.read(1):
                    raise ValueError(
                        f"it must have {self.skip + n * width} bytes for its shape "
                        f"{self.shape}; got more."
                    )
        except UNREADABLE as error:
            raise unreadable(self.name, self.what, error) from error

    def whole(self) -> np.ndarray:
        """All of it."""
        blocks = list(self.blocks(max(1, self.shape[0])))
        return blocks[0] if blocks else np.empty(self.shape, self.dtype)

    def _block(self, stream: io.BufferedIOBase, count: int, wanted: int) -> np.ndarray:
        data = bytearray()
        while len(data) < wanted:  # in pieces: a file that ends early needs no more
            piece = stream.read(min(2**24, wanted - len(data)))
            if not piece:
                total = self.skip + math.prod(self.shape) * self.dtype.itemsize
                raise ValueError(
                    f"it is cut off: its shape {self.shape} needs {total} bytes."
                )
            data += piece
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])


def npy_header(stream: Tree) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran's order, and type that an npy header gives.

    Raises:
        ValueError: If there is none, or no array can be as it says.
    """
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"its format, {version}, is not known")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that Python 2 wrote
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
    if any(n < 0 for n in shape) or dtype.itemsize == 0:
        raise ValueError(f"its header gives the shape {shape} of {dtype}")
    return shape, fortran, dtype


class Npy:
    """An npy array in a stream: its header is read, its numbers when they are needed.

    Args:
        opener: Opens the stream.
        name: For messages.
        what: For messages: what the file must be.
        size: Bytes of the stream, if known.

    Raises:
        DataError: If it is none, or its header asks for more than there is.
    """

    def __init__(self, opener: Opener, name: str, what: str, size: int | None = None):
        self.opener, self.name, self.what = opener, name, what
        try:
            with opener() as stream:
                counted = _Counted(stream)
                self.shape, self.fortran, self.dtype = npy_header(counted)
                self.start = counted.count
            self.bytes = math.prod(self.shape) * self.dtype.itemsize
            if size is not None and self.bytes > size - self.start:
                raise ValueError(
                    f"its shape {self.shape} needs {self.bytes} bytes; it holds "
                    f"{size - self.start}"
                )
        except UNREADABLE as error:
            raise unreadable(name, what, error) from error

    @property
    def in_order(self) -> bool:
        """Whether samples follow one another."""
        return not self.fortran or len(self.shape) < 2

    def rows(self) -> Streamed:
        """The array, to be read block by block; for arrays that are `in_order`."""
        return self._stream(self.shape)

    def whole(self) -> np.ndarray:
        """The array."""
        if self.in_order:
            return self._stream(self.shape or (1,)).whole().reshape(self.shape)
        turned = self._stream(self.shape[::-1]).whole()
        return turned.T

    def _stream(self, shape: tuple[int, ...]) -> Streamed:
        return Streamed(
            self.opener,
            self.start,
            shape,
            self.dtype,
            name=self.name,
            what=self.what,
        )


class _Counted:
    """How much of a stream was read."""

    def __init__(self, stream: io.BufferedIOBase):
        self.stream, self.count = stream, 0

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.count += len(data)
        return data


def check_text(name: str, values: np.ndarray) -> None:
    """Refuse text of numbers that stand for no character, which Python can't hold.

    Raises:
        DataError: If there is one.
    """
    if values.dtype.kind != "U" or not values.size or not values.dtype.itemsize:
        return
    kind = np.dtype(np.uint32).newbyteorder(values.dtype.byteorder)
    if np.ascontiguousarray(values).view(kind).max() > sys.maxunicode:
        raise DataError(f"{name} is damaged: text in it is none.")


def refuse_shape(name: str, X: AbstractRows) -> None:
    """Refuse arrays that are no samples of numbers.

    Raises:
        DataError: With what was seen.
    """
    if len(X.shape) < 2:
        raise DataError(
            f"{name}: X must have shape (n, d), or (n, h, w) for images; got {X.shape}."
        )
    if X.dtype.kind not in "biuf":
        example = ""
        if 0 not in X.shape:
            block = next(X.blocks(1))
            check_text(name, block)
            first = block.ravel()[0]
            example = f" (e.g. {first!s})"
        raise DataError(
            f"{name}: X must hold real numbers; got dtype {X.dtype}{example}."
        )
