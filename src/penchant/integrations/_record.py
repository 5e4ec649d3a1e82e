"""What a probe writes while a run goes on: lines that survive its end, however it ends.

Of no framework: whoever watches a run hands it numbers.
"""

import contextlib
import json
import math
import os
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from penchant._files import held, replacing, write_text
from penchant._plain import plain
from penchant.diagnosis import Recording, read_recording

SYNC = 10.0
"""Seconds between two times that lines are brought to the disk; each is flushed."""

ROOM = 2 * 2**30
"""Bytes of snapshots in all."""


class ProbeWarning(UserWarning):
    """Something of a probe was switched off; the run went on."""


class Recorder:
    """Writes `run.json`, `records.jsonl`, `events.jsonl` and snapshots to a folder.

    A folder that has a run already is gone on with: its `run.json` is what `before`
    has, and an event says so. Without a folder records stay in memory.

    Args:
        folder: Where the files lie; None for nowhere.
        about: What `run.json` says.

    Raises:
        ValueError: If another process writes there, or the folder can't be written.
    """

    def __init__(self, folder: Path | None, about: Mapping[str, Any]):
        self.folder = folder
        self.before: dict[str, Any] = {}
        self.run: dict[str, Any] = dict(about)
        self.records: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.listeners: list[Callable[[int, Mapping[str, float]], None]] = []
        self.failed: set[str] = set()
        self._begun, self._synced, self._stored = time.time(), time.monotonic(), 0
        self._held = contextlib.ExitStack()
        self._files: dict[str, IO[str]] = {}
        if folder is None:
            return
        self._held.enter_context(held("folder", folder))
        if (folder / "run.json").is_file():
            self.before = read_recording(folder).run
        for name in ("records", "events"):
            self._files[name] = _appended(folder / f"{name}.jsonl")
        if self.before:
            self.event("resumed", self.run.get("first_step", 0))
        self.describe()

    def describe(self, **more: Any) -> None:
        """Add to what `run.json` says, and write it."""
        self.run |= more
        if self.folder is not None:
            write_text(self.folder / "run.json", json.dumps(plain(self.run), indent=1))

    def record(
        self, step: int, tier: str, group: str | None, values: Mapping[str, Any]
    ) -> None:
        """One line: numbers, `[value, error]`, or `{lower, upper}` by name."""
        self.records_of(step, tier, [(group, values)])

    def records_of(
        self,
        step: int,
        tier: str,
        found: Sequence[tuple[str | None, Mapping[str, Any]]],
    ) -> None:
        """A line a group, as of one look: they are written, and flushed, at once."""
        when = round(time.time() - self._begun, 3)
        lines = [
            {"step": step, "time": when, "tier": tier, "group": group, **_plain(values)}
            for group, values in found
        ]
        self._write("records", self.records, lines)
        if self.listeners:
            for line in lines:
                self._tell(step, line["group"], line)

    def event(self, kind: str, step: int, **detail: Any) -> None:
        """Something that happened."""
        line = {"step": step, "event": kind, **plain(detail)}
        self._write("events", self.events, [line])

    def failure(self, what: str, step: int, error: BaseException) -> None:
        """A read-out failed: it is off from now on. Said once, and never raised."""
        if what in self.failed:
            return
        self.failed.add(what)
        told = "".join(traceback.format_exception(error))
        self.event("failed", step, what=what, why=f"{error}", traceback=told)
        with contextlib.suppress(ProbeWarning):  # where warnings are made errors
            warnings.warn(
                f"The probe's {what} failed at step {step:,} and is off from now on; "
                f"training goes on. {type(error).__name__}: {error}",
                ProbeWarning,
                stacklevel=2,
            )

    def snapshot(self, step: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Arrays of a step, as single precision, in `snapshots/STEP.npz`.

        Raises:
            ValueError: If all snapshots together would take more than 2 GB.
        """
        if self.folder is None:
            raise ValueError("snapshots need a folder; got folder=None.")
        small = {name: np.asarray(a, np.float32) for name, a in arrays.items()}
        size = sum(a.nbytes for a in small.values())
        if self._stored + size > ROOM:
            raise ValueError(f"snapshots must stay below {ROOM / 2**30:.0f} GB in all.")
        self._stored += size
        with replacing(self.folder / "snapshots" / f"{step}.npz") as file:
            np.savez(file, **small)  # type: ignore[arg-type]

    def recording(self) -> Recording:
        """What there is so far, with what an earlier part of the run left."""
        if self.folder is None:
            return Recording(plain(self.run), self.records, self.events)
        self.flush()
        return read_recording(self.folder)

    def flush(self) -> None:
        """Bring the lines to the disk."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """Flush and let go of the folder."""
        if self._files:
            self.flush()
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._held.close()

    def _write(self, name: str, kept: list, lines: list[dict[str, Any]]) -> None:
        if self.folder is None:
            kept.extend(lines)
            return
        file = self._files.get(name)
        if file is None:
            return  # closed
        file.write("".join(_encoded(line) + "\n" for line in lines))
        file.flush()
        if time.monotonic() - self._synced > SYNC:
            self.flush()

    def _tell(self, step: int, group: str | None, line: Mapping[str, Any]) -> None:
        place = "probe" if group is None else f"probe/{group}"
        numbers = {}
        for name, value in line.items():
            if name in ("step", "time"):
                continue
            if isinstance(value, Mapping):
                pairs = [(f"{name}_{end}", x) for end, x in value.items()]
            else:
                first = value[0] if isinstance(value, Sequence) and value else value
                pairs = [(name, first)]
            numbers |= {
                f"{place}/{key}": float(x)
                for key, x in pairs
                if isinstance(x, (int, float)) and not isinstance(x, bool)
            }
        for listener in self.listeners:
            if "writer" in self.failed:
                return
            try:
                listener(step, numbers)
            except Exception as error:  # noqa: BLE001 - never in the run's way
                self.failure("writer", step, error)


_encoded = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As `plain` of a record, whose values are numbers for the most part."""
    return {
        name: x if type(x) is float and math.isfinite(x) else plain(x)
        for name, x in values.items()
    }


class Guard:
    """Runs the probe's work; what fails is recorded once and switched off."""

    def __init__(self, recorder: Recorder):
        self.recorder = recorder

    @contextlib.contextmanager
    def __call__(self, what: str, step: int) -> Iterator[None]:
        """Nothing that happens inside reaches the training loop, but an interrupt."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a probe must never end a training
            self.recorder.failure(what, step, error)

    def on(self, what: str) -> bool:
        """Whether it has not failed."""
        return what not in self.recorder.failed


def _appended(path: Path) -> IO[str]:
    """Open for lines after those there; a torn last one ends, and stays torn."""
    torn = False
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
    opened = path.open("a", encoding="utf-8")
    if torn:
        opened.write("\n")
    return opened


def listener_of(writer: object) -> Callable[[int, Mapping[str, float]], None]:
    """A function of step and numbers from somebody's logger, by its methods.

    `add_scalar(name, x, step)` of TensorBoard; `log({…}, step=…)` of Weights & Biases;
    `log_metrics({…}, step=…)` of MLflow and Lightning.

    Raises:
        TypeError: If it has none of them.
    """
    one = getattr(writer, "add_scalar", None)
    if callable(one):

        def each(step: int, numbers: Mapping[str, float]) -> None:
            for name, x in numbers.items():
                one(name, x, step)

        return each
    for name in ("log_metrics", "log"):
        many = getattr(writer, name, None)
        if callable(many):

            def all_at_once(
                step: int, numbers: Mapping[str, float], many: Callable[..., Any] = many
            ) -> None:
                many(dict(numbers), step=step)

            return all_at_once
    raise TypeError(
        "writer must have add_scalar(name, x, step), log_metrics({…}, step=…) or "
        f"log({{…}}, step=…); got {writer!r:.100} of type {type(writer).__name__}."
    )
