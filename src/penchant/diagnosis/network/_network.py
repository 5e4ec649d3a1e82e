"""Which geometry a network's run is heading for: residuals now and at its limit."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

import equinox as eqx
import numpy as np

from penchant._plain import plain
from penchant.diagnosis._cautions import Caution
from penchant.estimators import share_of_eps
from penchant.flows import Limit, ZeroGradientError, limit
from penchant.margins import KKT, kkt, normalized_margin
from penchant.norms import L2, AbstractNorm, Layerwise, Linf, Mahalanobis, Spectral
from penchant.problems import NetworkClassification
from penchant.theory import Prediction
from penchant.training import Outcome, Trajectory

FORMAT = 1

NEAR = 1e-2
"""A KKT gap below which a limit counts as a KKT point of a norm."""


class NetworkRow(eqx.Module):
    r"""One geometry: where the run stands in it, and where its limit does.

    `margin` is $q_{\min}/\|w\|^L$, `gap` the relative KKT gap (0 at a KKT point), both
    at the last record; `limit_margin` and `limit_gap` are those of the limit, None
    where there is none.
    """

    label: str = eqx.field(static=True)
    norm: AbstractNorm | Layerwise
    margin: float = eqx.field(static=True)
    gap: float = eqx.field(static=True)
    limit_margin: float | None = eqx.field(static=True)
    limit_gap: float | None = eqx.field(static=True)


class NetworkDiagnosis(eqx.Module):
    r"""Which KKT point a network's run is heading for, next to what theory says.

    `rows` has a geometry a row; `winner` is the norm of whose margin problem the limit
    is a KKT point (None where of none), `predicted` what theory foretells, `agrees`
    whether they are the same. `limit` is the run continued to infinite time, with its
    certificate; `now` the KKT residuals where training stopped, in the norm foretold.
    `share_of_eps` is $\kappa$ for Adam and RMSProp. Networks have many KKT points: no
    margin here is said to be the largest.
    """

    headline: str = eqx.field(static=True)
    explanation: str = eqx.field(static=True)
    separated: bool = eqx.field(static=True)
    rows: tuple[NetworkRow, ...]
    winner: AbstractNorm | Layerwise | None
    predicted: AbstractNorm | None
    agrees: bool | None = eqx.field(static=True)
    regime: str = eqx.field(static=True)
    warnings: tuple[Caution, ...]
    prediction: Prediction
    limit: Limit | None
    now: KKT | None
    share_of_eps: float | None = eqx.field(static=True)
    trajectory: Trajectory
    settings: dict[str, Any] = eqx.field(static=True)

    @property
    def verdict(self) -> str:
        """The headline and what theory says to it."""
        return f"{self.headline} {self.explanation}".strip()

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays, in types that JSON has."""
        run = self.trajectory
        return plain({
            "format": FORMAT,
            "verdict": self.verdict,
            "separated": self.separated,
            "winner": None if self.winner is None else self.winner.label,
            "predicted": None if self.predicted is None else self.predicted.label,
            "agrees": self.agrees,
            "regime": self.regime,
            "table": [
                {
                    "norm": row.label,
                    "margin": row.margin,
                    "gap": row.gap,
                    "limit_margin": row.limit_margin,
                    "limit_gap": row.limit_gap,
                }
                for row in self.rows
            ],
            "warnings": [dataclasses.asdict(c) for c in self.warnings],
            "prediction": self.prediction.to_dict(),
            "limit": None if self.limit is None else self.limit.to_dict(),
            "share_of_eps": self.share_of_eps,
            "run": {
                "steps": int(run.steps[-1]),
                "log_loss": float(run.log_loss[-1]),
                "least_margin": float(np.min(run.margins[-1])),
                "outcome": run.outcome.name.lower(),
                "seconds": run.seconds,
            },
            "settings": self.settings,
        })

    def save(self, folder: str | FilePath) -> FilePath:
        """Write `report.html`, `result.json` and `trajectory.zarr`; the page's path."""
        from penchant.diagnosis._report import render_network

        folder = FilePath(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # the run first: it is what took the time
        self.trajectory.to_xarray().to_zarr(
            folder / "trajectory.zarr", mode="w", consolidated=False, zarr_format=3
        )
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        (folder / "result.json").write_text(text + "\n", encoding="utf-8")
        page = folder / "report.html"
        page.write_text(render_network(self), encoding="utf-8")
        return page

    def __repr__(self) -> str:
        lines = [f"NetworkDiagnosis: {self.headline}", f"  {self.explanation}"]
        if self.rows:
            lines.append(
                f"  {'norm':<20}{'margin':>12}{'gap':>10}{'limit':>12}{'gap':>10}"
            )
        for row in self.rows:
            far = "–" if row.limit_margin is None else f"{row.limit_margin:.6g}"
            gap = "–" if row.limit_gap is None else f"{row.limit_gap:.1e}"
            here = f"{row.label:<20}{row.margin:>12.6g}{row.gap:>10.1e}"
            lines.append(f"  {here}{far:>12}{gap:>10}")
        if self.limit is not None:
            lines += [f"  {line}" for line in repr(self.limit).splitlines()]
        lines += [f"  ! {caution!r}" for caution in self.warnings]
        return "\n".join(lines)


def diagnose_run(
    problem: NetworkClassification,
    run: Trajectory,
    prediction: Prediction,
    settings: dict[str, Any],
    tell: Callable[[str], None],
) -> NetworkDiagnosis:
    """Read a run of a network."""
    w = run.last
    name = type(run.rule.optimizer).__name__
    q = np.asarray(problem.margins(w))
    warnings: list[Caution] = []
    if run.outcome is not Outcome.COMPLETE:
        told = run.outcome.value
        warnings.append(Caution("ended_early", "The run did not end as asked", told))
    share = None
    second = run.rule.optimizer.character().adaptive
    if second is not None and second.kind == "mean":
        share = share_of_eps(run)
    regime = prediction.at(int(run.steps[-1])).name
    common = {
        "predicted": prediction.norm,
        "regime": regime,
        "prediction": prediction,
        "share_of_eps": share,
        "trajectory": run,
        "settings": settings,
    }
    separated = bool(q.min() > 0)
    if not separated or problem.degree is None:
        if separated:
            headline = f"{name} has separated the data with a network without a degree."
            why = "Margins of such a network cannot be compared across norms."
        elif not np.isfinite(q).all():
            headline = f"{name} diverged: its margins are not finite."
            why = "Lower the step size."
        else:
            headline = f"{name} has not separated the data."
            why = (
                f"{int((q <= 0).sum())} of {len(q)} samples are on the wrong side "
                f"after {int(run.steps[-1]):,} steps; until none is, there is no "
                "margin to pick."
            )
        return NetworkDiagnosis(
            headline, why, separated, (), None, agrees=None, limit=None, now=None,
            warnings=tuple(warnings), **common,
        )  # fmt: skip
    found: Limit | None = None
    tell("following the run to infinite time")
    try:
        found = limit(problem, run)
    except (TypeError, ZeroGradientError) as error:
        warnings.append(Caution("no_limit", "The run was not continued", str(error)))
    tell("KKT gaps in each norm")
    rows = tuple(_row(problem, norm, w, found) for norm in _norms(problem, run, found))
    expected = found.norm if found is not None else prediction.norm
    now = None if expected is None else kkt(problem, w, expected)
    winner, agrees, headline, why = _judge(rows, found, prediction, name, now)
    if found is not None and not found.settled:
        warnings.append(
            Caution(
                "still_turning",
                "The direction had not stopped turning",
                "The limit's margin and residual are those at log-norm "
                f"{float(found.log_norm):.3g}; slow modes and kinks of ReLU units do "
                "that. penchant.limit(..., log_norm=400) goes further, which may help.",
            )
        )
    return NetworkDiagnosis(
        headline, why, True, rows, winner, agrees=agrees, limit=found, now=now,
        warnings=tuple(warnings), **common,
    )  # fmt: skip


def _norms(
    problem: NetworkClassification, run: Trajectory, found: Limit | None
) -> tuple[AbstractNorm | Layerwise, ...]:
    norms: list[AbstractNorm | Layerwise] = [L2(), Linf(), Layerwise(Spectral())]
    second = run.rule.optimizer.character().adaptive
    sums = second is not None and second.kind == "sum"
    if sums and found is not None:
        norms.insert(0, found.norm)
    return tuple(norms)


def _row(
    problem: NetworkClassification,
    norm: AbstractNorm | Layerwise,
    w: Any,
    found: Limit | None,
) -> NetworkRow:
    here = kkt(problem, w, norm, draws=4)
    there = None if found is None else kkt(problem, found.weights, norm)
    return NetworkRow(
        _label(norm),
        norm,
        float(normalized_margin(problem, w, norm)),
        float(here.gap),
        None if there is None else float(there.margin),
        None if there is None else float(there.gap),
    )


def _label(norm: AbstractNorm | Layerwise) -> str:
    return "weighted ℓ2" if isinstance(norm, Mahalanobis) else norm.label


def _judge(
    rows: tuple[NetworkRow, ...],
    found: Limit | None,
    prediction: Prediction,
    name: str,
    now: KKT | None,
) -> tuple[Any, bool | None, str, str]:
    foretold = "Theory names no geometry here."
    if prediction.norm is not None:
        foretold = (
            f"Theory foretells a KKT point of the {prediction.norm.label} margin."
        )
    if found is None:
        nearest = min(rows, key=lambda row: row.gap)
        headline = (
            f"{name} is nearest a KKT point of the {nearest.label} margin, with a gap "
            f"of {nearest.gap:.1%}."
        )
        return None, None, headline, foretold
    # a gap that is missing is none to win by
    gap_of = lambda row: math.inf if row.limit_gap is None else row.limit_gap
    best = min(rows, key=gap_of)
    gap = gap_of(best)
    if gap > NEAR:
        headline = (
            f"{name}'s limit is no KKT point of any norm compared; the nearest is "
            f"{best.label}, with a gap of {gap:.1%}."
        )
        return None, None, headline, foretold
    agrees = (
        None if prediction.norm is None else best.norm.label == prediction.norm.label
    )
    residual = (
        "" if now is None else f" The run itself is {float(now.residual):.2g} off."
    )
    headline = (
        f"{name} is heading for a KKT point of the {best.label} margin: its limit has "
        f"a residual of {float(found.kkt_residual):.1e}."
    )
    if agrees is not None:
        foretold += f" The limit {'confirms' if agrees else 'refutes'} it."
    return best.norm, agrees, headline, foretold + residual
