"""The diagnosis of a regression: sharpness along the run, beside the slow flow."""

import math
from typing import Any, ClassVar

import equinox as eqx
import numpy as np

from penchant import pages
from penchant.diagnosis._cautions import Caution
from penchant.diagnosis._figures import Figures, about, add_figure, judged
from penchant.diagnosis._result import (
    AbstractDiagnosis,
    AbstractRow,
    AbstractTable,
    columns,
)
from penchant.flows import SlowFlow
from penchant.measures import Estimate
from penchant.theory.sharpness import SharpnessPrediction
from penchant.training import Trajectory


class SharpnessRow(AbstractRow):
    """One sharpness: where the run came to its minimisers, and where it ended.

    `flow` is what the slow flow from the same point foretells for the end; None where
    there is none.
    """

    label: str = eqx.field(static=True)
    before: Estimate
    after: Estimate
    flow: float | None
    norm: None = None

    @property
    def change(self) -> float:
        """The change, as a share of what it was before."""
        return self.after.value / self.before.value - 1.0

    @property
    def resolved(self) -> bool:
        """Whether the change is more than 1 % and than three of its errors."""
        error = np.hypot(self.before.error, self.after.error)
        moved = abs(self.after.value - self.before.value)
        return bool(moved > 3 * error and abs(self.change) > 0.01)

    def to_dict(self) -> dict[str, Any]:
        return {
            "norm": self.label,
            "before": [self.before.value, self.before.error],
            "after": [self.after.value, self.after.error],
            "flow": self.flow,
        }


class SharpnessTable(AbstractTable[SharpnessRow]):
    """A row a sharpness: `table["tr H"]`, or iterate."""

    rows: tuple[SharpnessRow, ...]

    def __repr__(self) -> str:
        head = ("sharpness", "at the minimisers", "at the end", "change", "slow flow")
        return columns([head, *(_cells(row) for row in self.rows)])


def _cells(row: SharpnessRow) -> tuple[str, ...]:
    flow = "–" if row.flow is None else f"{row.flow:.5g}"
    return (
        row.label,
        _number(row.before),
        _number(row.after),
        signed(row.change),
        flow,
    )


def signed(change: float) -> str:
    """A change in per cent, with its sign.

    >>> from penchant.diagnosis.regression._diagnosis import signed
    >>> signed(-0.6981), signed(0.02), signed(float("nan"))
    ('−69.8 %', '+2.0 %', '–')
    """
    if not math.isfinite(change):
        return "–"
    return f"{100 * change:+.1f} %".replace("-", "−")


def _number(x: Estimate) -> str:
    if not x.valid:
        return "–"
    return f"{x.value:.5g}" + ("" if x.exact else f" ± {x.error:.1g}")


class RegressionDiagnosis(AbstractDiagnosis):
    r"""Which sharpness a run lowered along its minimisers, next to what theory says.

    `table` has a row a sharpness; `winner` is the one foretold where it fell, by name,
    `agrees` whether the run did what the slow flow foretells (None: too early to say,
    or nothing is foretold). `times` and `along` are the slow times of the records that
    lie at the minimisers, and the foretold measure there; `flow` is the slow flow from
    the first of them, None where it was not run (`warnings` say why). `separable` is
    None.
    """

    kind: ClassVar[str] = "regression"

    headline: str = eqx.field(static=True)
    explanation: str = eqx.field(static=True)
    table: SharpnessTable
    winner: str | None = eqx.field(static=True)
    predicted: str | None = eqx.field(static=True)
    agrees: bool | None = eqx.field(static=True)
    regime: str = eqx.field(static=True)
    warnings: tuple[Caution, ...]
    prediction: SharpnessPrediction
    times: tuple[float, ...] = eqx.field(static=True)
    along: tuple[Estimate, ...]
    flow: SlowFlow | None
    flow_along: tuple[tuple[float, float], ...] = eqx.field(static=True)
    trajectory: Trajectory
    settings: dict[str, Any] = eqx.field(static=True)
    next: tuple[str, ...] = eqx.field(default=(), static=True)
    separable: None = None

    def page(self) -> str:
        from penchant import plotting

        figures: Figures = []
        if len(self.along) > 1:
            curves = {
                "run": (np.array(self.times), np.array([x.value for x in self.along]))
            }
            if self.flow_along:
                t, values = np.array(self.flow_along).T
                curves["slow flow"] = (t, values)
            measure = self.predicted or self.table.rows[0].label
            add_figure(
                figures,
                "sharpness",
                f"{measure} on the slow clock",
                "Along the run, projected to the minimisers, and along the slow flow "
                "from the same point. The time is the sum of squared step sizes.",
                lambda inches: plotting.curves(
                    curves,
                    xlabel="slow time",
                    ylabel=measure,
                    logx=self.times[0] > 0,
                    size=(inches, 2.4),
                ),
            )
        badge = judged(self, "too early, or not foretold")
        return pages.render(
            "regression.html.j2",
            figures=figures,
            badge=badge,
            signed=signed,
            **about(self),
        )

    def evidence(self) -> dict[str, Any]:
        return {
            "slow_time": self.prediction.time,
            "along": [
                [t, x.value, x.error]
                for t, x in zip(self.times, self.along, strict=True)
            ],
            "flow": [list(pair) for pair in self.flow_along],
            "finite_step": None
            if self.finite_step is None
            else self.finite_step.to_dict(),
        }

    def footnotes(self) -> list[str]:
        parts = (self.flow, self.finite_step)
        return [repr(part) for part in parts if part is not None]
