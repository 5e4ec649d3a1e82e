"""The format of MNIST and its kin: a magic number, sizes, bytes; often gzipped."""

import gzip
import math
import re
import zlib
from pathlib import Path

import numpy as np

from penchant.datasets._arrays import read_arrays
from penchant.datasets._dataset import Dataset
from penchant.datasets._errors import DataError
from penchant.datasets._request import Request

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def is_idx(path: Path) -> bool:
    """Whether a file's name is that of an idx file."""
    return re.search(r"[-._]idx\d?([-._]ubyte)?(\.gz)?$", path.name.lower()) is not None


def labels_beside(images: Path) -> Path:
    """The labels that go with images, by MNIST's naming: `images-idx3`, `labels-idx1`.

    Raises:
        DataError: If there is no such file.
    """
    name = images.name.replace("images", "labels").replace("idx3", "idx1")
    plain = name.removesuffix(".gz")
    for candidate in (name, plain, plain + ".gz"):
        path = images.with_name(candidate)
        if path != images and path.is_file():
            return path
    expected = f"{name!r} beside it" if name != images.name else "*-labels-idx1-ubyte"
    raise DataError(
        f"{images}: the labels must be in {expected}, or be given as 'images,labels'."
    )


def read_idx(paths: tuple[Path, Path], request: Request) -> Dataset:
    """A pair of idx files: images and labels."""
    return read_arrays(_array(paths[0]), _array(paths[1]), request)


def _array(path: Path) -> np.ndarray:
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} can't be read as an idx file: {error}") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES or not data[3]:
        raise DataError(
            f"{path} is no idx file: it must start with two zero bytes, a type and a "
            f"number of dimensions; got {data[:4].hex(' ') or 'nothing'}."
        )
    dtype = np.dtype(_TYPES[data[2]])
    head = 4 + 4 * data[3]
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, head, 4)]
    expected = head + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise DataError(
            f"{path} is damaged: an idx file of shape {tuple(shape)} must have "
            f"{expected} bytes; got {len(data)}."
        )
    return np.frombuffer(data, dtype, offset=head).reshape(shape)
