"""Where results lie: on a disk, or behind a URL that fsspec knows."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from penchant._files import held, replacing


class Disk:
    """A file or folder of this machine."""

    def __init__(self, path: Path):
        self.path = path
        self.name = path.name
        self.zarr: Any = path

    def __str__(self) -> str:
        return str(self.path)

    def beside(self, ending: str) -> "Disk":
        """What has this one's name with something appended."""
        return Disk(self.path.with_name(self.path.name + ending))

    def exists(self) -> bool:
        return self.path.exists()

    def is_folder(self) -> bool:
        return self.path.is_dir()

    def entries(self) -> list[str]:
        """Names of what lies in this folder."""
        return [entry.name for entry in self.path.iterdir()]

    def replacing(self) -> contextlib.AbstractContextManager[IO[bytes]]:
        """A file that takes this one's place once it is written whole."""
        return replacing(self.path)

    def opened(self) -> contextlib.AbstractContextManager[IO[bytes]]:
        """This file, to be read."""
        return self.path.open("rb")

    def held(self, argument: str) -> contextlib.AbstractContextManager[None]:
        """Hold it: another process that asks for it meanwhile is told."""
        lock = self.path.with_name(self.path.name + ".lock")
        return held(argument, self.path, lock)


class Remote:
    """An object, or a prefix of objects, in a store that fsspec reaches.

    Objects appear whole or not at all, so that none is half written. Nothing is held:
    object stores have no locks.
    """

    def __init__(self, url: str, files: Any, path: str):
        self.zarr: Any = url
        self.files, self.path = files, path
        self.name = path.rsplit("/", 1)[-1]

    def __str__(self) -> str:
        return self.zarr

    def beside(self, ending: str) -> "Remote":
        """What has this one's name with something appended."""
        return Remote(self.zarr + ending, self.files, self.path + ending)

    def exists(self) -> bool:
        self.files.invalidate_cache()
        return self.files.exists(self.path)

    def is_folder(self) -> bool:
        return self.files.isdir(self.path)

    def entries(self) -> list[str]:
        """Names of what lies below this prefix."""
        found = self.files.ls(self.path, detail=False)
        return [path.rstrip("/").rsplit("/", 1)[-1] for path in found]

    @contextlib.contextmanager
    def replacing(self) -> Iterator[IO[bytes]]:
        """An object that takes this one's place once it is written whole."""
        written = io.BytesIO()
        yield written
        self.files.pipe_file(self.path, written.getvalue())

    def opened(self) -> contextlib.AbstractContextManager[IO[bytes]]:
        """This object, to be read."""
        return io.BytesIO(self.files.cat_file(self.path))

    def held(self, argument: str) -> contextlib.AbstractContextManager[None]:
        """Nothing: see the class."""
        del argument
        return contextlib.nullcontext()


Place = Disk | Remote


def place(argument: str, given: str | Path) -> Place:
    """A path of this machine, or a URL such as `s3://bucket/runs.zarr`.

    Args:
        argument: Whose value it is, for messages.
        given: The path or URL.

    Raises:
        ValueError: If fsspec isn't installed, does not know the URL's protocol, or
            needs a package for it that isn't installed.
    """
    if isinstance(given, Path) or "://" not in given:
        return Disk(Path(given))
    if given.startswith("file://"):
        return Disk(Path(given.removeprefix("file://")))
    try:
        import fsspec
    except ImportError:
        raise ValueError(
            f"{argument} {given}: URLs need fsspec: pip install 'penchant[remote]'."
        ) from None
    try:
        files, path = fsspec.core.url_to_fs(given)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{argument} {given} can't be reached: {error}") from None
    return Remote(given, files, path)
