"""The format of MNIST and its kin: a magic number, sizes, bytes; often gzipped."""

import math
import re
from pathlib import Path

import numpy as np

from penchant.datasets._arrays import check_labels, read_arrays
from penchant.datasets._blocks import Streamed
from penchant.datasets._dataset import Dataset
from penchant.datasets._errors import UNREADABLE, DataError, unreadable
from penchant.datasets._packed import Source
from penchant.datasets._sizes import check_bytes

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def is_idx(path: Path) -> bool:
    """Whether a file's name is that of an idx file."""
    packed = r"(\.(gz|bz2|xz|zst))?"
    named = rf"[-._]idx\d?([-._]ubyte)?{packed}$"
    return re.search(named, path.name.lower()) is not None


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


def read_idx(sources: tuple[Source, Source]) -> Dataset:
    """A pair of idx files: images, read as they are needed, and labels."""
    request = sources[0].request
    stored = sources[0].stored + sources[1].stored
    X, labels = _array(sources[0]), _array(sources[1])
    check_labels(labels.shape, labels.dtype, X.shape, request.name, "y")
    needed = math.prod(labels.shape) * labels.dtype.itemsize
    check_bytes(request.name, needed, stored, request.everything)
    return read_arrays(X, labels.whole(), request, stored=stored)


def _array(source: Source) -> Streamed:
    """What an idx file says of itself in its first bytes."""
    path = source.path
    try:
        source = _as_packed(source)
        with source.open() as stream:
            data = stream.read(4)
            known = len(data) == 4 and data[:2] == b"\0\0" and data[2] in _TYPES
            if not known or not data[3]:
                raise DataError(
                    f"{path} is no idx file: it must start with two zero bytes, a type "
                    f"and a number of dimensions; got {data.hex(' ') or 'nothing'}."
                )
            dtype = np.dtype(_TYPES[data[2]])
            sizes = stream.read(4 * data[3])
    except UNREADABLE as error:
        raise unreadable(str(path), "an idx file", error) from error
    shape = tuple(
        int.from_bytes(sizes[i : i + 4], "big") for i in range(0, 4 * data[3], 4)
    )
    head = 4 + 4 * data[3]
    expected = head + math.prod(shape) * dtype.itemsize
    short = len(sizes) < 4 * data[3]
    if short or (not source.packing and source.stored != expected):
        raise DataError(
            f"{path} is damaged: an idx file of shape {shape} must have "
            f"{expected} bytes; got {source.stored}."
        )
    return Streamed(
        source.open,
        head,
        shape,
        dtype,
        name=str(path),
        what="an idx file",
        ends=True,
    )


def _as_packed(source: Source) -> Source:
    """The source, known to be packed where its first bytes and not its name say so."""
    with source.path.open("rb") as file:
        magic = file.read(2)
    packing = ".gz" if magic == b"\x1f\x8b" else source.packing
    if source.packing == ".gz" and packing and magic != b"\x1f\x8b":
        packing = ""
    return Source(source.path, source.request, source.suffix, packing, "")
