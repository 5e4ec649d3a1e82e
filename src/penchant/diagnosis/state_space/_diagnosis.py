"""The diagnosis of a state space model: does it extrapolate, and will it in the end?"""

from typing import Any, ClassVar

import equinox as eqx
import numpy as np

from penchant import pages
from penchant.diagnosis._cautions import Caution
from penchant.diagnosis._figures import Figures, about, add_figure
from penchant.diagnosis._result import (
    AbstractDiagnosis,
    AbstractRow,
    AbstractTable,
    columns,
)
from penchant.flows.state_space import LAGS
from penchant.theory.state_space import StateSpacePrediction
from penchant.training import Trajectory


class ModelRow(AbstractRow):
    """One model: its loss, its error over 40 lags, its poles.

    `error` is absolute, NaN where no teacher is known; `rank` the effective rank of the
    poles and `largest` the largest of them, None of a model that is not diagonal.
    """

    label: str = eqx.field(static=True)
    loss: float = eqx.field(static=True)
    error: float = eqx.field(static=True)
    rank: float | None = eqx.field(static=True)
    largest: float | None = eqx.field(static=True)
    norm: None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "norm": self.label,
            "loss": self.loss,
            "error": self.error,
            "effective_rank": self.rank,
            "largest_pole": self.largest,
        }


class ModelTable(AbstractTable[ModelRow]):
    """A row a model: `table["the run"]`, or iterate."""

    rows: tuple[ModelRow, ...]

    def __repr__(self) -> str:
        head = ("model", "loss", f"error over {LAGS} lags", "effective rank", "pole")
        return columns([head, *(_cells(row) for row in self.rows)])


def _cells(row: ModelRow) -> tuple[str, ...]:
    rank = "–" if row.rank is None else f"{row.rank:.2f}"
    largest = "–" if row.largest is None else f"{row.largest:.4g}"
    return row.label, f"{row.loss:.2e}", f"{row.error:.4g}", rank, largest


class StateSpaceDiagnosis(AbstractDiagnosis):
    r"""Whether a run extrapolates, beside gradient flow at its loss and at its limit.

    `table` has the start, the run's end, gradient flow when its loss was the run's, and
    the flow's limit. `winner` is the label of the row of least error among the last
    three (None without a teacher). `agrees` says whether the run has come to the flow's
    limit, its error within a tenth of it and its loss near; `error` `(r,)` are the
    errors along the run. `prediction` has the excitation of the data and the flow.
    `separable` and `predicted` are None: there are no margins here.
    """

    kind: ClassVar[str] = "state-space"

    headline: str = eqx.field(static=True)
    explanation: str = eqx.field(static=True)
    table: ModelTable
    winner: str | None = eqx.field(static=True)
    agrees: bool | None = eqx.field(static=True)
    regime: str = eqx.field(static=True)
    warnings: tuple[Caution, ...]
    prediction: StateSpacePrediction
    error: np.ndarray
    trajectory: Trajectory
    settings: dict[str, Any] = eqx.field(static=True)
    next: tuple[str, ...] = eqx.field(default=(), static=True)
    separable: None = None
    predicted: None = None

    def page(self) -> str:
        from penchant import plotting

        figures: Figures = []
        curves = self._curves()
        if curves:
            add_figure(
                figures,
                "error",
                "Error beyond the data, by training loss",
                f"Extrapolation error over {LAGS} lags along the run and along "
                "gradient flow, against the training loss, which falls to the left.",
                lambda inches: plotting.curves(
                    curves,
                    xlabel="training loss",
                    ylabel=f"error over {LAGS} lags",
                    logy=True,
                    size=(inches, 2.6),
                ),
            )
        badge = {
            True: ("good", "✓", "at the limit of gradient flow"),
            False: ("bad", "✗", "not at the limit of gradient flow"),
            None: ("neutral", "?", "no error is known"),
        }[self.agrees]
        return pages.render(
            "state_space.html.j2", figures=figures, badge=badge, **about(self)
        )

    def _curves(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        flow = self.prediction.flow
        given = {
            "run": (np.asarray(self.trajectory.loss), self.error),
            "gradient flow": (np.asarray(flow.loss), np.asarray(flow.error)),
        }
        kept = {}
        for name, (loss, error) in given.items():
            good = (loss > 0) & (error > 0) & np.isfinite(error) & np.isfinite(loss)
            if good.sum() > 1:
                kept[name] = (loss[good], error[good])
        return kept

    def evidence(self) -> dict[str, Any]:
        return {
            "steps": np.asarray(self.trajectory.steps).tolist(),
            "error": self.error.tolist(),
            "still_to_go": self.prediction.flow.remaining,
        }

    def footnotes(self) -> list[str]:
        return repr(self.prediction.flow).splitlines()
