"""The command line's diagnosis of the digits: time and memory, report written."""

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

from benchmarks._report import Row, Skipped
from benchmarks._timing import seconds

SECONDS, GIGABYTES = 60.0, 2.0
PATIENCE = 180.0  # seconds after which the command is stopped

REASONS: dict[str, str] = {}


def rows(quick: bool) -> Iterator[Row | Skipped]:
    del quick  # one run is all there is
    work = "`penchant diagnose digits`, all classes, default settings"
    if importlib.util.find_spec("penchant.cli") is None:
        yield Skipped("diagnosis", work, "there is no command line yet")
        return
    with tempfile.TemporaryDirectory() as folder:
        status, taken, gigabytes = _run(folder)
    stopped = status == -signal.SIGKILL and taken > PATIENCE
    if status != 0 and not stopped:
        why = f"the command ended with status {status} after {seconds(taken)}"
        yield Skipped("diagnosis", work, why)
        return
    yield Row(
        name="diagnosis, time",
        work=f"{work}: until the report is written",
        peer="a budget",
        peer_figure=seconds(SECONDS),
        our_figure=f"stopped at {seconds(taken)}" if stopped else seconds(taken),
        ratio=SECONDS / taken,
        asked=1,
        remark="a fresh process, imports and compilation included.",
    )
    if stopped:
        return  # its memory had not peaked
    yield Row(
        name="diagnosis, memory",
        work=f"{work}: peak resident memory",
        peer="a budget",
        peer_figure=f"{GIGABYTES:g} GB",
        our_figure=f"{gigabytes:.2f} GB",
        ratio=GIGABYTES / gigabytes,
        asked=1,
    )


def _run(folder: str) -> tuple[int, float, float]:
    """Exit status, seconds, and the child's peak memory in GB."""
    command = [sys.executable, "-m", "penchant.cli", "diagnose", "digits"]
    begun = time.perf_counter()
    child = subprocess.Popen(
        [*command, "--out", folder],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stop = threading.Timer(PATIENCE, child.kill)
    stop.start()
    _, status, usage = os.wait4(child.pid, 0)  # this child's use, not that of all
    stop.cancel()
    taken = time.perf_counter() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    per_unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss in bytes or KiB
    return child.returncode, taken, usage.ru_maxrss * per_unit / 1e9
