"""What a probe wrote, read again; also of a run that was killed."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from penchant._checks import check_instance
from penchant.measures import Estimate

Line = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Recording:
    """Lines of a probe: what the run is, its records and its events.

    `torn` is the number of lines that could not be read: a run that is killed leaves
    one at most.
    """

    run: Line
    records: list[Line]
    events: list[Line]
    torn: int = 0

    @property
    def groups(self) -> list[str]:
        """Names of the parameter groups, in the order of the optimizers."""
        named = [group["name"] for group in self.run.get("groups", ())]
        whole = {None, *self.run.get("sides", ())}
        seen = [g for line in self.records if (g := line["group"]) not in whole]
        return list(dict.fromkeys((*named, *seen)))

    def series(
        self, name: str, group: str | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Steps, values and errors of a name; of one step the last line counts.

        Errors are NaN where there is none. A bracket's value is its upper end, and its
        error the width.
        """
        found: dict[int, tuple[float, float]] = {}
        for line in self.records:
            if line["group"] == group and name in line:
                pair = _pair(line[name])
                if pair is not None:
                    found[line["step"]] = pair
        steps = sorted(found)
        pairs = np.array([found[s] for s in steps], float).reshape(-1, 2)
        return np.array(steps, int), pairs[:, 0], pairs[:, 1]

    def last(self, name: str, group: str | None = None) -> Any:
        """The last record of a name, as it was written; None if there is none."""
        values = [
            (line["step"], line[name])
            for line in self.records
            if line["group"] == group and line.get(name) is not None
        ]
        return max(values, key=lambda pair: pair[0])[1] if values else None

    def late(self, name: str, group: str | None = None) -> Estimate | None:
        """The mean over the last third of the run's records of a name, with its error.

        That is the spread between records, or what each was known to if larger.
        """
        steps, values, errors = self.series(name, group)
        if not steps.size:
            return None
        late = steps >= steps[0] + 2 * (steps[-1] - steps[0]) / 3
        x, e = values[late], np.nan_to_num(errors[late])
        n = int(x.size)
        between = float(np.std(x, ddof=1)) / n**0.5 if n > 1 else 0.0
        within = float(np.mean(e)) / n**0.5
        return Estimate(
            float(np.mean(x)), max(between, within), how=f"{n} records", n=None
        )

    def happened(self, kind: str) -> Iterator[Line]:
        """Events of a kind."""
        return (line for line in self.events if line.get("event") == kind)


def read_recording(folder: str | Path) -> Recording:
    """A probe's folder, whether its run has ended or was killed.

    Raises:
        TypeError: If it is no path.
        ValueError: If no probe wrote there.
    """
    check_instance("folder", folder, (str, Path), "a path")
    folder = Path(folder)
    about = folder / "run.json"
    if not about.is_file():
        raise ValueError(f"folder must be a probe's, with its run.json; got {folder}.")
    try:
        run = json.loads(about.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{about} can't be read: {error}.") from error
    records, torn = _lines(folder / "records.jsonl")
    events, more = _lines(folder / "events.jsonl")
    kept = [line for line in records if "step" in line and "group" in line]
    return Recording(run, kept, events, torn + more)


def _lines(path: Path) -> tuple[list[Line], int]:
    if not path.is_file():
        return [], 0
    found, torn = [], 0
    for text in path.read_text("utf-8", "replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            torn += bool(text.strip())
            continue
        if isinstance(line, dict):
            found.append(line)
    return found, torn


def _pair(value: Any) -> tuple[float, float] | None:
    if isinstance(value, dict):
        low, high = value.get("lower"), value.get("upper")
        return None if low is None or high is None else (float(high), high - low)
    if isinstance(value, list):
        if len(value) != 2 or value[0] is None:
            return None
        return float(value[0]), float("nan") if value[1] is None else float(value[1])
    if value is None or isinstance(value, str):
        return None
    return float(value), float("nan")
