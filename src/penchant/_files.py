"""Writing that leaves the old file or the new one, and one process in a folder."""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

LOCK = ".penchant.lock"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` once it is written and on the disk.

    Raises:
        OSError: If it can't be written; `path` is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with fresh.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    _settle(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace a file by this text.

    Raises:
        OSError: If it can't be written; `path` is then as it was.
    """
    with replacing(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


@contextlib.contextmanager
def replacing_in(folder: Path) -> Iterator[Path]:
    """A folder whose files take their places in `folder` once all are on the disk.

    A folder among them takes the place of one of its name, whatever that held.

    Raises:
        OSError: If one of them can't be written; `folder` is then as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{os.getpid()}.partial"
    aside = folder / f".{os.getpid()}.old"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir()
        yield fresh
        for file in fresh.rglob("*"):
            if file.is_file():
                _sync(file)
        for entry in sorted(fresh.iterdir()):
            _replace(entry, folder / entry.name, aside)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    _settle(folder)


def _replace(entry: Path, path: Path, aside: Path) -> None:
    if entry.is_file() and not path.is_dir():
        entry.replace(path)
        return
    # a folder that holds something can't be replaced in one go
    shutil.rmtree(aside, ignore_errors=True)
    if path.exists():
        path.rename(aside)
    try:
        entry.rename(path)
    except OSError:
        if aside.exists():
            aside.rename(path)
        raise
    if aside.is_dir():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink(missing_ok=True)


def _sync(file: Path) -> None:
    """Have a file's bytes on the disk: what fails to get there fails here."""
    handle = os.open(file, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _settle(folder: Path) -> None:
    """Bring a folder's list of names to the disk, where that can be asked for."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def held(argument: str, folder: Path, lock: Path | None = None) -> Iterator[None]:
    """Hold a folder: another process that asks for it meanwhile is told.

    The operating system lets go of the lock when a process ends, however it ends.
    Where the file system has no locks, nothing is held.

    Args:
        argument: Where the folder was named, for messages.
        folder: What is held; made if it isn't there.
        lock: The file of the lock; None for one in the folder.

    Raises:
        ValueError: If another process holds it, or the folder can't be made or written.
    """
    lock = folder / LOCK if lock is None else lock
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = _locked(argument, folder, lock)
    except OSError as error:
        raise ValueError(
            f"{argument} {folder} can't be written: {error.strerror or error}."
        ) from error
    try:
        yield
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                lock.unlink(missing_ok=True)
            os.close(handle)


def _locked(argument: str, folder: Path, lock: Path) -> int | None:
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(handle)
        except BlockingIOError:
            by = os.read(handle, 20).decode("ascii", "replace").strip()
            os.close(handle)
            who = f"process {by}" if by.isdigit() else "another process"
            raise ValueError(
                f"{argument} {folder} is in use: {who} is writing there. Wait until it "
                "ends, or give another folder."
            ) from None
        except OSError:  # a file system without locks
            os.close(handle)
            with contextlib.suppress(OSError):
                lock.unlink(missing_ok=True)
            return None
        # whoever held it before may have deleted the file that was just locked
        with contextlib.suppress(FileNotFoundError):
            if _same(handle, lock):
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, 0)
                    os.write(handle, str(os.getpid()).encode())
                return handle
        os.close(handle)


def _same(handle: int, path: Path) -> bool:
    here, there = os.fstat(handle), path.stat()
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _lock(handle: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
        return
    import fcntl

    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
