"""Files, plain or compressed, as streams of bytes."""

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penchant._types import Tree
from penchant.datasets._errors import UNREADABLE, DataError, listing, unreadable
from penchant.datasets._request import Request
from penchant.datasets._sizes import allowance, too_large

PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")


@dataclass(frozen=True)
class Source:
    """A file on disk, and what is in it once it is unpacked."""

    path: Path
    request: Request
    suffix: str
    packing: str
    member: str

    @staticmethod
    def of(path: Path, request: Request) -> "Source":
        """What a file's name says of it; a zip archive is asked what it holds."""
        packing = path.suffix.lower()
        if packing not in PACKED:
            return Source(path, request, packing, "", "")
        if packing != ".zip":
            return Source(path, request, Path(path.stem).suffix.lower(), packing, "")
        member = _only_member(path, request.name)
        return Source(path, request, Path(member).suffix.lower(), packing, member)

    @property
    def stored(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size

    @contextmanager
    def open(self, whole: bool = False) -> Iterator[Any]:
        """The bytes, from the start.

        Args:
            whole: All of them will be held, so that a sample of rows needs as much.

        Raises:
            DataError: If they can't be unpacked, or become more than they may.
        """
        name, request = self.request.name, self.request
        lifted = request.everything if whole else request.streamed
        most = allowance(self.stored, lifted) if self.packing else 2**62
        with self.path.open("rb") as file:
            try:
                raw = _unpacked(file, self.packing, self.member)
            except Exception as error:
                if not _is_unreadable(error):
                    raise
                raise unreadable(name, "a compressed file", error) from error
            with io.BufferedReader(Unpacking(raw, name, most), 2**16) as stream:
                yield stream

    def refuse_packed(self, what: str) -> None:
        """Refuse a compressed file of a format whose readers jump about in it.

        Raises:
            DataError: If the file is compressed.
        """
        if self.packing:
            raise DataError(
                f"{self.request.name}: {what} is not read from within a "
                f"{self.packing} file; unpack it first."
            )


class Unpacking(io.RawIOBase):
    """A stream that counts what comes out of it, and turns its errors into ours."""

    def __init__(self, raw: Tree, name: str, most: int):
        super().__init__()
        self.raw, self.name, self.most, self.count = raw, name, most, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        try:
            data = self.raw.read(min(len(view), 2**20))
        except Exception as error:
            if not _is_unreadable(error):
                raise
            raise unreadable(self.name, "a compressed file", error) from error
        self.count += len(data)
        if self.count > self.most:
            raise too_large(self.name, "more to unpack", self.most)
        view[: len(data)] = data
        return len(data)


def _is_unreadable(error: Exception) -> bool:
    # pyarrow's errors are asked for by name: it need not have been imported
    of_arrow = type(error).__module__.partition(".")[0] == "pyarrow"
    return of_arrow or isinstance(error, UNREADABLE)


def _unpacked(file: Tree, packing: str, member: str) -> Any:
    if packing == ".zst":
        import pyarrow as pa

        return pa.CompressedInputStream(file, "zstd")
    if packing == ".zip":
        return zipfile.ZipFile(file).open(member)
    ways: dict[str, Callable[[Any], Any]] = {
        ".gz": lambda file: gzip.GzipFile(fileobj=file),
        ".bz2": bz2.BZ2File,
        ".xz": lzma.LZMAFile,
    }
    return ways[packing](file) if packing else file


def _only_member(path: Path, name: str) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [
                info.filename
                for info in archive.infolist()
                if not info.is_dir()
                and not info.filename.startswith("__MACOSX/")
                and not Path(info.filename).name.startswith(".")
            ]
    except UNREADABLE as error:
        raise unreadable(name, "a zip archive", error) from error
    if len(members) != 1:
        raise DataError(
            f"{name}: a zip archive must hold one file; it holds {len(members)}"
            f"{': ' if members else ''}{listing(members, 5)}. Unpack the one that is "
            "meant."
        )
    return members[0]
