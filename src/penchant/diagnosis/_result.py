"""What every diagnosis is: a verdict with its evidence, saved in one format."""

import abc
import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import equinox as eqx
import numpy as np

from penchant import pages
from penchant._files import replacing_in, write_text
from penchant._interrupt import noticed_interrupts
from penchant._plain import plain
from penchant.diagnosis._cautions import Caution, Kind
from penchant.norms import AbstractNorm
from penchant.problems import AbstractClassification
from penchant.theory import Prediction
from penchant.theory.modified import FiniteStep, StepAt
from penchant.theory.sharpness import SharpnessPrediction
from penchant.theory.state_space import StateSpacePrediction
from penchant.training import Trajectory

FORMAT = 2
"""Version of `result.json`; a change that breaks readers raises it."""


class AbstractRow(eqx.Module):
    """One norm of a diagnosis: its `label`, the `norm`, and what was measured in it."""

    label: eqx.AbstractVar[str]
    norm: eqx.AbstractVar[AbstractNorm | None]

    @abc.abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The numbers by name, the norm by its label."""


RowT = TypeVar("RowT", bound=AbstractRow)


class AbstractTable(eqx.Module, Generic[RowT]):
    """A row a norm: `table["ℓ2"]`, `table[norm]`, or iterate."""

    rows: eqx.AbstractVar[tuple[RowT, ...]]

    def __iter__(self) -> Iterator[RowT]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | str | AbstractNorm) -> RowT:
        """A row by its place, its label or its norm.

        Raises:
            KeyError: If no row has this label.
        """
        if isinstance(key, int):
            return self.rows[key]
        if isinstance(key, AbstractNorm):
            for row in self.rows:
                if row.norm is not None and row.norm.same(key):
                    return row
        label = key if isinstance(key, str) else key.label
        for row in self.rows:
            if row.label == label:
                return row
        have = ", ".join(row.label for row in self.rows)
        raise KeyError(f"no row {label!r}; have: {have}")


def columns(cells: list[tuple[str, ...]]) -> str:
    """Lines of text with their columns below one another, the first one to the left."""
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(
            text.ljust(w) if i == 0 else text.rjust(w)
            for i, (text, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )


def least_margin(run: Trajectory) -> float | None:
    """The least margin at the end; None of a problem that has none."""
    if not isinstance(run.rule.problem, AbstractClassification):
        return None
    return float(np.min(run.margins[-1]))


class AbstractDiagnosis(eqx.Module):
    """Which solution an optimizer picked, next to what theory foretold.

    `headline` and `explanation` are the verdict in two sentences. `separable` says
    whether any weights of the model have all samples right (None: not decided), `table`
    has a row a norm, `winner` is the norm that won (None where none did), `predicted`
    the one that theory expects after so many steps, `agrees` whether they are the same
    (None where either is missing). `regime` is the phase the run ended in, `warnings`
    what else one must know, each with a `kind`, `headline` and `detail`, and `next`
    commands that may settle the verdict or change it.
    """

    headline: eqx.AbstractVar[str]
    explanation: eqx.AbstractVar[str]
    separable: eqx.AbstractVar[bool | None]
    table: eqx.AbstractVar[AbstractTable[Any]]
    winner: eqx.AbstractVar[Any]
    predicted: eqx.AbstractVar[AbstractNorm | str | None]
    agrees: eqx.AbstractVar[bool | None]
    regime: eqx.AbstractVar[str]
    warnings: eqx.AbstractVar[tuple[Caution, ...]]
    next: eqx.AbstractVar[tuple[str, ...]]
    prediction: eqx.AbstractVar[
        Prediction | SharpnessPrediction | StateSpacePrediction | None
    ]
    trajectory: eqx.AbstractVar[Trajectory]
    settings: eqx.AbstractVar[dict[str, Any]]

    kind: ClassVar[str]
    """What was diagnosed: "linear", "network" or "regression"."""

    @property
    def verdict(self) -> str:
        """The headline and what theory says to it."""
        return f"{self.headline} {self.explanation}".strip()

    @functools.cached_property
    def finite_step(self) -> FiniteStep | None:
        """Which term the run's finite steps add to its loss, where it ended.

        Its size, whether that is valid there, and what takes it out; None where the
        step size depends on the loss.
        """
        return StepAt.of(self.trajectory).answer()

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C came before all was done, in the run or after it."""
        return any(caution.kind is Kind.INTERRUPTED for caution in self.warnings)

    @abc.abstractmethod
    def page(self) -> str:
        """The report, one HTML page that needs nothing else to be read."""

    @abc.abstractmethod
    def evidence(self) -> dict[str, Any]:
        """What this kind of diagnosis has beyond the others."""

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays, in types that JSON has; no NaN, no infinity.

        In format 2, the same for every kind: `docs/result.md` has its schema.
        """
        run = self.trajectory
        return plain({
            "format": FORMAT,
            "kind": self.kind,
            "verdict": self.verdict,
            "headline": self.headline,
            "explanation": self.explanation,
            "separable": self.separable,
            "winner": None if self.winner is None else self.table[self.winner].label,
            "predicted": getattr(self.predicted, "label", self.predicted),
            "agrees": self.agrees,
            "regime": str(self.regime),
            "table": [row.to_dict() for row in self.table],
            "warnings": [dataclasses.asdict(caution) for caution in self.warnings],
            "next": list(self.next),
            "prediction": None
            if self.prediction is None
            else self.prediction.to_dict(),
            "evidence": self.evidence(),
            "run": {
                "steps": int(run.steps[-1]),
                "log_loss": float(run.log_loss[-1]),
                "least_margin": least_margin(run),
                "outcome": run.outcome.name.lower(),
                "seconds": run.seconds,
            },
            "settings": self.settings,
        })

    def save(self, folder: str | Path) -> Path:
        """Write `report.html`, `result.json` and `trajectory.zarr` into a folder.

        The page needs nothing else to be read, offline too. Files of an earlier
        diagnosis in the folder are replaced once all new ones are on the disk. Returns
        the path of the page. Ctrl-C meanwhile waits until all is written; a second one
        does not.

        Raises:
            OSError: If they can't be written; the folder is then as it was.
        """
        with noticed_interrupts():
            return self._write(Path(folder))

    def _write(self, folder: Path) -> Path:
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        page = self.page()
        with replacing_in(folder) as fresh:
            self.trajectory.to_xarray().to_zarr(
                fresh / "trajectory.zarr", mode="w", consolidated=False, zarr_format=3
            )
            write_text(fresh / "result.json", text + "\n")
            write_text(fresh / "report.html", page)
        return folder / "report.html"

    def plot(self, **options: Any) -> Any:
        """The picture of the verdict: the loss along the run where there is no other.

        Args:
            **options: `size` in inches or `ax`, as the functions of `plotting` take.
        """
        return self.trajectory.plot(**options)

    def _repr_html_(self) -> str:
        numbers = repr(self.table) if len(self.table) else ""
        return pages.card(self.headline, self.explanation, numbers, self.plot)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__}: {self.headline}"]
        if self.explanation:
            lines.append(f"  {self.explanation}")
        if len(self.table):
            lines += ["", *(f"  {line}" for line in repr(self.table).split("\n")), ""]
        lines += [f"  {line}" for line in self.footnotes()]
        lines += [f"  ! {caution!r}" for caution in self.warnings]
        lines += [f"  Next: {command}" for command in self.next]
        return "\n".join(lines)

    def footnotes(self) -> list[str]:
        """Lines that follow the table in text."""
        return []


def read(path: str | Path) -> dict[str, Any]:
    """A `result.json`, or the folder it is in, in the present format.

    Files of format 1, as version 0.1.0 wrote them, are read too.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no such file, or of a later format.
    """
    path = Path(path)
    file = path / "result.json" if path.is_dir() else path
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is no result of a diagnosis: {error}.") from None
    known = isinstance(found, dict) and {"format", "verdict", "table"} <= set(found)
    if not known or found["format"] not in (1, FORMAT):
        version = found.get("format") if isinstance(found, dict) else None
        raise ValueError(
            f"{file} is no result of a diagnosis in format 1 or {FORMAT}; "
            f"its format is {version!r}."
        )
    return _from_first(found) if found["format"] == 1 else found


KINDS = {"ended_early": "interrupted", "no_limit": "no-limit"}
KINDS["still_turning"] = "still-turning"
"""Kinds of warnings that were called otherwise in format 1."""


def _from_first(old: dict[str, Any]) -> dict[str, Any]:
    network = "separated" in old
    headline = old.get("headline") or old["verdict"]
    linear = ("now", "heading", "when", "imitation", "convergence", "minimiser")
    linear += ("chosen", "held_out")
    own = ("limit", "share_of_eps") if network else linear
    warnings = [w | {"kind": KINDS.get(w["kind"], w["kind"])} for w in old["warnings"]]
    return {
        "format": FORMAT,
        "kind": "network" if network else "linear",
        "verdict": old["verdict"],
        "headline": headline,
        "explanation": old["verdict"].removeprefix(headline).strip(),
        "separable": (old["separated"] or None) if network else old["separable"],
        **{k: old[k] for k in ("winner", "predicted", "agrees", "regime", "table")},
        "warnings": warnings,
        "next": [],
        "prediction": old["prediction"],
        "evidence": {name: old.get(name) for name in own},
        "run": old["run"],
        "settings": old["settings"],
    }
