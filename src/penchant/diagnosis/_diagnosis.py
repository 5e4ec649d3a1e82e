import json
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import equinox as eqx
import numpy as np

from penchant._plain import plain
from penchant.diagnosis._cautions import Caution
from penchant.diagnosis._verdict import percent
from penchant.diagnosis.linear._measure import Path, Row
from penchant.diagnosis.linear._minimiser import Minimiser
from penchant.estimators import Convergence
from penchant.norms import AbstractNorm
from penchant.theory import Prediction
from penchant.training import Trajectory

FORMAT = 1
"""Version of `result.json`; a change that breaks readers raises it."""


class Table(eqx.Module):
    """A row a norm: `table["ℓ2"]`, `table[norm]`, or iterate."""

    rows: tuple[Row, ...]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | str | AbstractNorm) -> Row:
        """A row by its place, its label or its norm.

        Raises:
            KeyError: If no row has this label.
        """
        if isinstance(key, int):
            return self.rows[key]
        if isinstance(key, AbstractNorm):
            for row in self.rows:
                if eqx.tree_equal(row.norm, key):
                    return row
        label = key.label if isinstance(key, AbstractNorm) else key
        for row in self.rows:
            if row.label == label:
                return row
        have = ", ".join(row.label for row in self.rows)
        raise KeyError(f"no row {label!r}; have: {have}")

    def __repr__(self) -> str:
        head = ("norm", "reached", "best", "ratio", "limit", "cosine")
        cells = [head, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
        return "\n".join(
            "  ".join(
                text.ljust(w) if i == 0 else text.rjust(w)
                for i, (text, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in cells
        )


def _cells(row: Row) -> tuple[str, ...]:
    best = f"{row.best:.6g}"
    if row.upper > row.best * 1.0001:
        best += f"…{row.upper:.4g}"
    cosine = "–" if row.cosine is None else f"{row.cosine:.4f}"
    return (
        row.label,
        f"{row.reached:.6g}",
        best,
        percent(row.ratio),
        percent(row.limit_ratio),
        cosine,
    )


class Diagnosis(eqx.Module):
    """Which solution an optimizer picked, next to what theory foretold.

    `table` has a row a norm: the margin `reached`, the `best` there is (certified:
    `upper` bounds it), their `ratio`, the `limit_ratio` of the increment and the
    `cosine` with the optimum where that is unique. `winner` is the norm whose margin
    the run maximises (None where none is near), `predicted` what theory expects after
    this many steps, `agrees` whether they are the same (None where either is missing).
    `regime` is the phase the run ended in, `warnings` what else one must know, each
    with a `kind`, `headline` and `detail`.

    Data that no weights separate have no margin: `separable` is False (None: not
    decided), the table empty, and `minimiser` says where the run ends instead.
    """

    headline: str = eqx.field(static=True)
    explanation: str = eqx.field(static=True)
    separable: bool | None = eqx.field(static=True)
    table: Table
    winner: AbstractNorm | None
    predicted: AbstractNorm | None
    agrees: bool | None = eqx.field(static=True)
    regime: str = eqx.field(static=True)
    warnings: tuple[Caution, ...]
    prediction: Prediction | None
    convergence: Convergence | None
    minimiser: Minimiser | None
    paths: dict[str, Path]
    trajectory: Trajectory
    settings: dict[str, Any] = eqx.field(static=True)

    @property
    def verdict(self) -> str:
        """The headline and what theory says to it."""
        return f"{self.headline} {self.explanation}".strip()

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays, in types that JSON has; no NaN, no infinity."""
        return plain({
            "format": FORMAT,
            "verdict": self.verdict,
            "headline": self.headline,
            "separable": self.separable,
            "winner": None if self.winner is None else self.table[self.winner].label,
            "predicted": _label(self.predicted),
            "agrees": self.agrees,
            "regime": self.regime,
            "table": [_row(row) for row in self.table],
            "warnings": [_fields(c) for c in self.warnings],
            "prediction": None
            if self.prediction is None
            else self.prediction.to_dict(),
            "convergence": _fields(self.convergence),
            "minimiser": _minimiser(self.minimiser),
            "run": {
                "steps": int(self.trajectory.steps[-1]),
                "log_loss": float(self.trajectory.log_loss[-1]),
                "least_margin": float(np.min(self.trajectory.margins[-1])),
                "outcome": self.trajectory.outcome.name.lower(),
                "seconds": self.trajectory.seconds,
            },
            "settings": self.settings,
        })

    def save(self, folder: str | FilePath) -> FilePath:
        """Write `report.html`, `result.json` and `trajectory.zarr` into a folder.

        The page needs nothing else to be read, offline too. Files of an earlier
        diagnosis in the folder are replaced. Returns the path of the page.
        """
        from penchant.diagnosis._report import render

        folder = FilePath(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # the run first: it is what took the time
        self.trajectory.to_xarray().to_zarr(
            folder / "trajectory.zarr", mode="w", consolidated=False, zarr_format=3
        )
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        (folder / "result.json").write_text(text + "\n", encoding="utf-8")
        page = folder / "report.html"
        page.write_text(render(self), encoding="utf-8")
        return page

    def __repr__(self) -> str:
        lines = [f"Diagnosis: {self.headline}"]
        if self.explanation:
            lines.append(f"  {self.explanation}")
        if len(self.table):
            lines += ["", *(f"  {line}" for line in repr(self.table).split("\n")), ""]
        lines += [f"  ! {caution!r}" for caution in self.warnings]
        return "\n".join(lines)


def _label(norm: AbstractNorm | None) -> str | None:
    return None if norm is None else norm.label


def _row(row: Row) -> dict[str, Any]:
    return {
        "norm": row.label,
        "reached": row.reached,
        "best": row.best,
        "upper_bound": row.upper,
        "ratio": row.ratio,
        "lowest_ratio": row.lowest_ratio,
        "limit_ratio": row.limit_ratio,
        "cosine": row.cosine,
        "unique": row.unique,
        "method": row.method,
    }


def _minimiser(minimiser: Minimiser | None) -> dict[str, Any] | None:
    if minimiser is None:
        return None
    return {
        "log_loss": minimiser.log_loss,
        "gradient_norm": minimiser.gradient_norm,
        "unique": minimiser.unique,
        "attained": minimiser.attained,
        "free_directions": minimiser.free,
        "misclassified": minimiser.misclassified,
        "certificate": np.asarray(minimiser.certificate).tolist(),
        "residual": minimiser.residual,
        "largest_margin_found": minimiser.margin,
        "excess": float(minimiser.excess[-1]),
        "distance": float(minimiser.distance[-1]),
    }


def _fields(module: Any) -> dict[str, Any] | None:
    return None if module is None else dict(vars(module))
