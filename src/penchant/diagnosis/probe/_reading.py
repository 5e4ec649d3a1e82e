"""The reading of a probe: findings first, then what is known, and what is not."""

import dataclasses
import functools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penchant import pages
from penchant._files import replacing_in, write_text
from penchant._interrupt import noticed_interrupts
from penchant._plain import plain
from penchant.diagnosis.probe._findings import Finding, findings
from penchant.diagnosis.probe._recording import Line, Recording, read_recording
from penchant.diagnosis.probe._verdicts import Said, verdicts

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

MOST = 5
"""Findings on the page's strip."""

FORMAT = 1
"""Of `result.json`."""

OFF = {
    "state": "the state of the optimizer",
    "sharpness": "tr G and tr Diag(G)^½",
    "edge": "the edge of stability",
    "memory": "staleness and corrections of memory",
    "margins": "margins",
    "hessian_trace": "tr H",
    "intervention": "what dropout adds to the gradient",
    "curvature": "curvature",
    "writer": "what was handed to the logger",
    "snapshots": "snapshots",
}
"""Read-outs in words."""


@dataclasses.dataclass(frozen=True)
class GroupRow:
    """A parameter group: its rule, formats and the late values of its records.

    Numbers are means over the last third of the run, NaN where not measured.
    """

    name: str
    optimizer: str
    parameters: int
    weights: str
    decay: float
    applied_decay: float
    applied_error: float
    kept_decay: float
    swallowed: float
    dead: float
    throttled: float
    signal: float
    spread: float

    def to_dict(self) -> Line:
        """In types that JSON has."""
        return plain(dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a training run's probe saw, as `penchant probe` and `finish` give it.

    `warnings` are all findings, the worst first; `table` has a row a parameter group,
    `verdicts` a sentence a question, also where the answer is that there is none, and
    `not_measured` what is missing and why. Nothing here is about test error.
    """

    recording: Recording = dataclasses.field(repr=False)

    @functools.cached_property
    def warnings(self) -> list[Finding]:
        """Findings, the worst first."""
        return findings(self.recording)

    @property
    def findings(self) -> list[Finding]:
        """The five worst."""
        return self.warnings[:MOST]

    @functools.cached_property
    def verdicts(self) -> list[Said]:
        """A sentence a question."""
        return verdicts(self.recording)

    @functools.cached_property
    def table(self) -> list[GroupRow]:
        """A row a parameter group."""
        told = {g["name"]: g for g in self.recording.run.get("groups", ())}
        return [self._row(name, told.get(name, {})) for name in self.recording.groups]

    @property
    def headline(self) -> str:
        """The worst finding, or that there is none."""
        if not self.recording.records:
            return "Nothing was recorded yet."
        if not self.warnings:
            return "No finding: nothing measured here went beyond its threshold."
        return str(self.warnings[0].headline)

    @functools.cached_property
    def not_measured(self) -> list[tuple[str, str]]:
        """What is missing, in words, and why."""
        seen = self.recording
        missing: list[tuple[str, str]] = [
            (OFF.get(str(name), str(name)), str(why))
            for name, why in (seen.run.get("missing") or {}).items()
        ]
        for event in seen.happened("failed"):
            name = str(event.get("what", "a read-out"))
            why = f"it failed at step {event['step']:,}: {event.get('why')}"
            missing.append((OFF.get(name, name), why))
        for group in seen.run.get("groups", ()):
            known = group.get("known")
            if known == "measured":
                missing.append((
                    f"moments of {group['name']}",
                    f"{group['optimizer']} is known as it was identified (measured): "
                    "where its state keeps them nobody has said",
                ))
            if known == "unknown":
                missing.append((
                    f"moments of {group['name']}",
                    f"{group['optimizer']} is an unknown optimizer: its steps are "
                    "measured, and nothing is assumed of its state"
                    + (f" ({group['why']})" if group.get("why") else ""),
                ))
        for side in seen.run.get("sides", [None]):
            why = seen.last("threshold_why", side)
            looked = seen.last("largest", side) is not None
            if why and looked and seen.last("threshold", side) is None:
                missing.append(("the threshold of stability", str(why)))
        return list(dict.fromkeys(missing))

    def plot(self, *, width: float = 7.2) -> "Axes":
        """Small multiples over log steps; the axes of the first panel.

        Args:
            width: Of the figure in inches; a narrow one has one panel a row.

        Raises:
            ValueError: If nothing was recorded.
        """
        from penchant.diagnosis.probe._figures import panels

        return panels(self.recording, width)

    def page(self) -> str:
        """The report, one HTML page that needs nothing else to be read."""
        from penchant.diagnosis.probe._figures import page

        return page(self)

    def to_dict(self) -> Line:
        """Everything but the records, in types that JSON has."""
        return plain({
            "format": FORMAT,
            "kind": "probe",
            "headline": self.headline,
            "warnings": [one.to_dict() for one in self.warnings],
            "verdicts": [one.to_dict() for one in self.verdicts],
            "table": [row.to_dict() for row in self.table],
            "not_measured": [list(pair) for pair in self.not_measured],
            "run": self.recording.run,
            "torn": self.recording.torn,
        })

    def to_xarray(self) -> "xarray.Dataset":
        """Records by group and step; the attribute `groups` names them, "" is all."""
        import xarray

        seen = self.recording
        names = sorted({
            name
            for line in seen.records
            for name, x in line.items()
            if name not in ("step", "time", "tier", "group") and _is_number(x)
        })
        groups = list(dict.fromkeys(line["group"] for line in seen.records))
        steps = sorted({line["step"] for line in seen.records})
        shape = (len(groups), len(steps))
        place = {step: i for i, step in enumerate(steps)}
        variables: dict[str, Any] = {}
        for name in names:
            table, errors = np.full(shape, np.nan), np.full(shape, np.nan)
            for i, group in enumerate(groups):
                at, values, error = seen.series(name, group)
                where = [place[int(s)] for s in at]
                table[i, where], errors[i, where] = values, error
            variables[name] = (("group", "step"), table)
            if np.isfinite(errors).any():
                variables[f"{name}_error"] = (("group", "step"), errors)
        labels = ["" if group is None else group for group in groups]
        # text has no stable form in Zarr 3 yet: groups are numbers, and named beside
        return xarray.Dataset(
            variables,
            coords={"group": np.arange(len(groups)), "step": steps},
            attrs={"groups": labels},
        )

    def save(self, folder: str | Path) -> Path:
        """Write `report.html`, `result.json` and `reading.zarr`; returns the page.

        Raises:
            OSError: If they can't be written; the folder is then as it was.
        """
        folder = Path(folder)
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        with noticed_interrupts():
            page = self.page()
            with replacing_in(folder) as fresh:
                self.to_xarray().to_zarr(
                    fresh / "reading.zarr", mode="w", consolidated=False, zarr_format=3
                )
                write_text(fresh / "result.json", text + "\n")
                write_text(fresh / "report.html", page)
        return folder / "report.html"

    def _row(self, name: str, about: Line) -> GroupRow:
        late = lambda what: self.recording.late(what, name)
        value = lambda what: math.nan if (x := late(what)) is None else x.value
        applied = late("applied_decay")
        return GroupRow(
            name=name,
            optimizer=about.get("optimizer", "?")
            + (" (measured)" if about.get("known") == "measured" else ""),
            parameters=int(about.get("parameters", 0)),
            weights=about.get("weights") or "?",
            decay=float(self.recording.last("decay", name) or 0.0),
            applied_decay=math.nan if applied is None else applied.value,
            applied_error=math.nan if applied is None else applied.error,
            kept_decay=value("kept_decay"),
            swallowed=value("swallowed"),
            dead=value("dead"),
            throttled=value("throttled"),
            signal=value("signal"),
            spread=value("spread"),
        )

    def _lines(self) -> Iterator[str]:
        yield f"Reading: {self.headline}"
        for one in self.findings[1:] if self.warnings else ():
            yield f"  ! {one.headline}"
        for said in self.verdicts:
            yield f"  {said}"
        for what, why in self.not_measured:
            yield f"  not measured: {what} ({why})"

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        text = " ".join(str(one.headline) for one in self.findings[1:])
        numbers = "\n".join(map(str, self.verdicts))
        return pages.card(self.headline, text, numbers, self.plot)


def reading(recording: Recording | str | Path) -> Reading:
    """The reading of a recording, or of the folder that a probe wrote.

    Also of a run that was killed: what was written by then is read.

    Raises:
        ValueError: If no probe wrote there.
    """
    if not isinstance(recording, Recording):
        recording = read_recording(recording)
    return Reading(recording)


def _is_number(x: object) -> bool:
    if isinstance(x, list):
        return len(x) == 2 and all(_is_number(e) or e is None for e in x)
    if isinstance(x, dict):
        return set(x) == {"lower", "upper"}
    return isinstance(x, (int, float)) and not isinstance(x, bool)
