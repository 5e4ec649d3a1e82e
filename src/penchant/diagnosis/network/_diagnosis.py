"""The diagnosis of a network: residuals where training stopped, and at the limit."""

import warnings
from typing import Any, ClassVar

import equinox as eqx

from penchant import pages
from penchant.diagnosis._cautions import Caution
from penchant.diagnosis._figures import Figures, about, add_loss, judged
from penchant.diagnosis._result import (
    AbstractDiagnosis,
    AbstractRow,
    AbstractTable,
    columns,
)
from penchant.flows import Limit
from penchant.margins import KKT
from penchant.norms import AbstractNorm
from penchant.theory import Prediction
from penchant.training import Trajectory


class NetworkRow(AbstractRow):
    r"""One geometry: where the run stands in it, and where its limit does.

    `margin` is $q_{\min}/\|w\|^L$, `gap` the relative KKT gap (0 at a KKT point), both
    at the last record; `limit_margin` and `limit_gap` are those of the limit, None
    where there is none.
    """

    label: str = eqx.field(static=True)
    norm: AbstractNorm
    margin: float = eqx.field(static=True)
    gap: float = eqx.field(static=True)
    limit_margin: float | None = eqx.field(static=True)
    limit_gap: float | None = eqx.field(static=True)

    def to_dict(self) -> dict[str, Any]:
        return {
            "norm": self.label,
            "margin": self.margin,
            "gap": self.gap,
            "limit_margin": self.limit_margin,
            "limit_gap": self.limit_gap,
        }


class NetworkTable(AbstractTable[NetworkRow]):
    """A row a geometry: `table["ℓ2"]`, `table[norm]`, or iterate."""

    rows: tuple[NetworkRow, ...]

    def __repr__(self) -> str:
        head = ("norm", "margin", "gap", "limit", "gap")
        return columns([head, *(_cells(row) for row in self.rows)])


def _cells(row: NetworkRow) -> tuple[str, ...]:
    far = "–" if row.limit_margin is None else f"{row.limit_margin:.6g}"
    gap = "–" if row.limit_gap is None else f"{row.limit_gap:.1e}"
    return row.label, f"{row.margin:.6g}", f"{row.gap:.1e}", far, gap


class NetworkDiagnosis(AbstractDiagnosis):
    r"""Which KKT point a network's run is heading for, next to what theory says.

    `table` has a geometry a row; `winner` is the norm of whose margin problem the limit
    is a KKT point (None where of none), `predicted` what theory foretells, `agrees`
    whether they are the same. `separable` is True once the run has all samples right,
    else None: nothing here proves that no weights do. `limit` is the run continued to
    infinite time, with its certificate; `now` the KKT residuals where training stopped,
    in the norm foretold. `share_of_eps` is $\kappa$ for Adam and RMSProp. Networks have
    many KKT points: no margin here is said to be the largest.
    """

    kind: ClassVar[str] = "network"

    headline: str = eqx.field(static=True)
    explanation: str = eqx.field(static=True)
    separable: bool | None = eqx.field(static=True)
    table: NetworkTable
    winner: AbstractNorm | None
    predicted: AbstractNorm | None
    agrees: bool | None = eqx.field(static=True)
    regime: str = eqx.field(static=True)
    warnings: tuple[Caution, ...]
    next: tuple[str, ...] = eqx.field(static=True)
    prediction: Prediction
    limit: Limit | None
    now: KKT | None
    share_of_eps: float | None = eqx.field(static=True)
    trajectory: Trajectory
    settings: dict[str, Any] = eqx.field(static=True)

    @property
    def rows(self) -> tuple[NetworkRow, ...]:
        """`table.rows`, as it was called in version 0.1.0."""
        _renamed("rows", "table")
        return self.table.rows

    @property
    def separated(self) -> bool:
        """`separable is True`, as it was called in version 0.1.0."""
        _renamed("separated", "separable")
        return self.separable is True

    def page(self) -> str:
        figures: Figures = []
        add_loss(figures, self)
        badge = ("neutral", "?", "not separated yet")
        if self.separable:
            badge = judged(self, "no geometry has won")
        return pages.render(
            "network.html.j2",
            figures=figures,
            badge=badge,
            **about(self),
        )

    def evidence(self) -> dict[str, Any]:
        return {
            "limit": None if self.limit is None else self.limit.to_dict(),
            "share_of_eps": self.share_of_eps,
            "finite_step": None
            if self.finite_step is None
            else self.finite_step.to_dict(),
        }

    def footnotes(self) -> list[str]:
        parts = (self.limit, self.finite_step)
        return [
            line
            for part in parts
            if part is not None
            for line in repr(part).splitlines()
        ]


def _renamed(old: str, new: str) -> None:
    warnings.warn(
        f"NetworkDiagnosis.{old} is now .{new}; the old name goes with the next "
        "version.",
        DeprecationWarning,
        stacklevel=3,
    )


def label_of(norm: AbstractNorm) -> str:
    """How the table names a norm."""
    return "weighted ℓ2" if hasattr(norm, "M") else norm.label
