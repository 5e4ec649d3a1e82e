"""The diagnosis of a linear classifier."""

from typing import Any, ClassVar

import equinox as eqx
import numpy as np

from penchant.diagnosis._cautions import Caution
from penchant.diagnosis._result import AbstractDiagnosis, AbstractTable, columns
from penchant.diagnosis.linear._chosen import Chosen
from penchant.diagnosis.linear._held_out import HeldOut
from penchant.diagnosis.linear._measure import MarginPath, Row
from penchant.diagnosis.linear._minimiser import Minimiser
from penchant.diagnosis.linear._report import render
from penchant.estimators import Convergence, Imitation
from penchant.norms import AbstractNorm
from penchant.pages import percent
from penchant.theory import Prediction
from penchant.theory.modified import StepAt
from penchant.training import Trajectory


class Table(AbstractTable[Row]):
    """A row a norm: `table["ℓ2"]`, `table[norm]`, or iterate."""

    rows: tuple[Row, ...]

    def __repr__(self) -> str:
        head = ("norm", "reached", "best", "share", "increment", "cosine")
        return columns([head, *(_cells(row) for row in self.rows)])


def _cells(row: Row) -> tuple[str, ...]:
    best = f"{row.best:.6g}"
    if row.upper > row.best * 1.0001:
        best += f"…{row.upper:.4g}"
    cosine = "–" if row.cosine is None else f"{row.cosine:z.4f}"
    return (
        row.label,
        f"{row.reached:.6g}",
        best,
        percent(row.ratio) if row.reached > 0 else "–",
        percent(row.increment_ratio) if row.reached > 0 else "–",
        cosine,
    )


class Diagnosis(AbstractDiagnosis):
    """Which solution an optimizer picked, next to what theory foretold.

    `table` has a row a norm: the margin `reached`, the `best` there is (certified:
    `upper` bounds it), their `ratio`, the `increment_ratio` of what the second
    half of the run added, and the `cosine` with the optimum where that is unique.
    `winner` is the norm whose margin the run maximises (None where none is near, or
    several are), `predicted` what theory expects after this many steps, `agrees`
    whether they are the same (None where either is missing, or theory's assumptions
    fail). `regime` is the phase the run ended in, `warnings` what else one must know,
    each with a `kind`, `headline` and `detail`. `convergence` is how fast the leader's
    gap falls, and `paths` what each norm's ratio was along the run.

    The explanation answers three questions: `now`, which regulariser the weights
    imitate at the moment (by their alignments, `imitation`); `heading`, what theory
    says of the limit and the run to that; `when`, in how many steps. `next` are
    commands that may settle the verdict, or change it.

    `chosen` has the weights themselves beside each norm's optimum, and `held_out` says
    on which samples held out, if any were, that choice makes a difference.

    Data that no weights separate have no margin: `separable` is False (None: not
    decided), the table empty, and `minimiser` says where the run ends instead.
    """

    kind: ClassVar[str] = "linear"

    headline: str = eqx.field(static=True)
    explanation: str = eqx.field(static=True)
    now: str = eqx.field(static=True)
    heading: str = eqx.field(static=True)
    when: str = eqx.field(static=True)
    next: tuple[str, ...] = eqx.field(static=True)
    separable: bool | None = eqx.field(static=True)
    table: Table
    winner: AbstractNorm | None
    predicted: AbstractNorm | None
    agrees: bool | None = eqx.field(static=True)
    regime: str = eqx.field(static=True)
    warnings: tuple[Caution, ...]
    prediction: Prediction | None
    convergence: Convergence | None
    imitation: Imitation | None
    minimiser: Minimiser | None
    chosen: Chosen
    held_out: HeldOut | None
    paths: dict[str, MarginPath]
    trajectory: Trajectory
    settings: dict[str, Any] = eqx.field(static=True)

    def plot(self, **options: Any) -> Any:
        """Bars of the share of each norm's largest margin; the loss without a margin.

        Args:
            **options: `size` in inches or `ax`, as the functions of `plotting` take.
        """
        from penchant import plotting

        rows = self.table.rows
        if not rows:
            return self.trajectory.plot(**options)
        return plotting.ratio_bars(
            [row.label for row in rows],
            [row.ratio for row in rows],
            [row.lowest_ratio for row in rows],
            **options,
        )

    def footnotes(self) -> list[str]:
        held = self.held_out
        lines = [] if held is None else [f"{held.headline} {held.explanation}"]
        said = StepAt.of(self.trajectory).statement
        if said is not None:
            lines.append(
                f"To first order, finite steps: {said} Whether that holds where this "
                "run ended, its finite_step says."
            )
        return lines

    def page(self) -> str:
        return render(
            self,
            self.paths,
            self.minimiser,
            self.imitation,
            self.chosen,
            self.held_out,
        )

    def evidence(self) -> dict[str, Any]:
        fit = self.convergence
        return {
            "now": self.now,
            "heading": self.heading,
            "when": self.when,
            "imitation": None if self.imitation is None else self.imitation.to_dict(),
            "convergence": None if fit is None else dict(vars(fit)),
            "minimiser": _minimiser(self.minimiser),
            "chosen": self.chosen.to_dict(),
            "held_out": None if self.held_out is None else self.held_out.to_dict(),
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
