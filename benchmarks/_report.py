"""`RESULTS.md`: figures, the machine they are from, and what falls short."""

import dataclasses
import datetime
import importlib.metadata
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax
import threadpoolctl

from benchmarks._timing import Comparison, seconds

PACKAGES = (
    "penchant",
    "jax",
    "jaxlib",
    "numpy",
    "scipy",
    "torch",
    "numba",
    "cvxpy",
    "clarabel",
    "scikit-learn",
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison: `ratio` is how many times better ours is than the peer."""

    name: str
    work: str
    peer: str
    peer_figure: str
    our_figure: str
    ratio: float
    asked: float
    compilation: float = 0.0
    remark: str = ""

    @property
    def met(self) -> bool:
        """Whether the ratio is the one asked for, or better."""
        return self.ratio >= self.asked


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A comparison that could not be made here, and why."""

    name: str
    work: str
    why: str


def row(
    name: str,
    work: str,
    peer: str,
    found: Comparison,
    *,
    asked: float,
    unit: str = "",
    remark: str = "",
) -> Row:
    """A table row from two timings."""
    return Row(
        name=name,
        work=work,
        peer=peer,
        peer_figure=found.peer.describe(unit),
        our_figure=found.ours.describe(unit),
        ratio=found.ratio,
        asked=asked,
        compilation=found.ours.compilation,
        remark=remark,
    )


def write(
    rows: Sequence[Row | Skipped], reasons: Mapping[str, str], growth: str = ""
) -> str:
    """The whole report as Markdown.

    Args:
        rows: What was measured.
        reasons: Why a row may fall short, by name; shown for those that do.
        growth: A section about growth, or nothing.
    """
    parts = [_opening(), _machine(), _table(rows), _remarks(rows)]
    parts += [_compilation(rows), _shortfalls(rows, reasons), growth]
    return "\n\n".join(part for part in parts if part) + "\n"


def one_line(row: Row | Skipped) -> str:
    """A row for the terminal."""
    if isinstance(row, Skipped):
        return f"{row.name}: skipped, {row.why}"
    verdict = "met" if row.met else "NOT MET"
    return (
        f"{row.name}: {row.our_figure}, against {row.peer_figure}: {row.ratio:.3g}x, "
        f"asked {row.asked:g}x, {verdict}"
    )


def device() -> str:
    """What JAX computes on."""
    first = jax.config.jax_default_device or jax.devices()[0]
    return f"{first.platform} ({first.device_kind})"


def _opening() -> str:
    return (
        "# Benchmarks\n\n"
        "Written by `python -m benchmarks`. The ratio is the peer's figure over ours, "
        "by medians of calls that alternate in one process; ± is half their range. "
        "Compilation is taken apart."
    )


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    facts = {
        "CPU": f"{_cpu_model()}, {_cores()} of {os.cpu_count()} cores used",
        "Memory": f"{memory:.0f} GiB",
        "JAX device": device(),
        "BLAS threads": _blas_threads(),
        "System": _system(),
        "Python": platform.python_version(),
        "Packages": ", ".join(_versions()),
        "Date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    lines = [f"| {name} | {fact} |" for name, fact in facts.items()]
    return "\n".join(["## The machine", "", "| | |", "|---|---|", *lines])


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def _blas_threads() -> str:
    pools = threadpoolctl.threadpool_info()
    return ", ".join(
        f"{pool['internal_api']} {pool['num_threads']}"
        for pool in pools
        if pool["user_api"] == "blas"
    )


def _versions() -> Iterator[str]:
    for package in PACKAGES:
        try:
            yield f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"{package} not installed"


def _table(rows: Sequence[Row | Skipped]) -> str:
    lines = [
        "## Figures",
        "",
        "| work | peer | peer's figure | ours | ratio | asked at least | met? |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if isinstance(row, Skipped):
            lines.append(f"| {row.work} | | | | | | skipped: {row.why} |")
            continue
        met = "yes" if row.met else "**no**"
        lines.append(
            f"| {row.work} | {row.peer} | {row.peer_figure} | {row.our_figure} "
            f"| {row.ratio:.3g}× | {row.asked:g}× | {met} |"
        )
    return "\n".join(lines)


def _remarks(rows: Sequence[Row | Skipped]) -> str:
    lines = [
        f"- **{row.name}**: {row.remark}"
        for row in rows
        if isinstance(row, Row) and row.remark
    ]
    return "\n".join(["## What was checked", "", *lines]) if lines else ""


def _compilation(rows: Sequence[Row | Skipped]) -> str:
    lines = [
        f"| {row.name} | {seconds(row.compilation)} |"
        for row in rows
        if isinstance(row, Row) and row.compilation > 0
    ]
    if not lines:
        return ""
    heading = ["## Compilation", "", "What our first call took beyond a later one."]
    return "\n".join([*heading, "", "| work | seconds |", "|---|---|", *lines])


def _shortfalls(rows: Sequence[Row | Skipped], reasons: Mapping[str, str]) -> str:
    short = [row for row in rows if isinstance(row, Row) and not row.met]
    if not short:
        return ""
    lines = [
        f"- **{row.name}** ({row.ratio:.3g}×, asked {row.asked:g}×): "
        + reasons.get(row.name, "not yet explained.")
        for row in short
    ]
    return "\n".join(["## Where it falls short and why", "", *lines])


def _cores() -> int:
    """Cores that this process may run on; not every system tells."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1
