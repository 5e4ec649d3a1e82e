import enum
import functools
import math
from typing import Any

import equinox as eqx

from penchant import pages
from penchant._plain import plain
from penchant._types import Scalar, Weights
from penchant.norms import AbstractNorm
from penchant.theory.modified import FiniteStep, StepAt


class Verdict(enum.Enum):
    """Whether an assumption holds for the input at hand."""

    HOLDS = "holds"
    FAILS = "fails"
    UNKNOWN = "unknown"


class Assumption(eqx.Module):
    """What a theorem needs, whether this input has it, and how that was seen."""

    statement: str = eqx.field(static=True)
    verdict: Verdict = eqx.field(static=True)
    why: str = eqx.field(static=True)

    def __repr__(self) -> str:
        return f"{self.verdict.value}: {self.statement} ({self.why})"


class Regime(eqx.Module):
    """A stretch of steps in which an algorithm works in one geometry.

    `norm` is None where it is that of no norm. `start` and `end` are step numbers,
    good to a factor of about 1.2 where they come from a growth law, infinite where the
    regime lasts, and NaN where they need a step size that was not given.
    """

    name: str = eqx.field(static=True)
    norm: AbstractNorm | None
    start: float = eqx.field(static=True)
    end: float = eqx.field(static=True)
    why: str = eqx.field(static=True)

    def __repr__(self) -> str:
        kind = "no norm's" if self.norm is None else self.norm.label
        if math.isnan(self.start):
            return f"{self.name} ({kind} geometry), from a step that needs step sizes"
        end = "on" if math.isinf(self.end) else f"to {self.end:.3g}"
        return f"{self.name} ({kind} geometry), steps {self.start:.3g} {end}"


class Prediction(eqx.Module):
    r"""What theory says an algorithm's direction tends to, and how far to trust it.

    `norm` is the norm whose margin the limit maximises, `weights` (unit norm) and
    `margin` its maximum-margin solution. All three are None where theory gives no
    answer: `statement` then says what is known, and `alternatives` are candidates.

    `assumptions` are the theorem's, each with whether it holds here. `regimes` are the
    geometries a run passes through on its way, in order, where there are several: the
    last one is the limit, and `at(step)` is the one a run of so many steps is in.

    In the sum, max, nuclear and spectral norms the limit *direction* need not be
    unique although its margin is; `weights` are then one of the optima. Where the limit
    is only near its norm's max margin, `weights` are the limit and `margin` is theirs.

    `evidence` is what the prediction was computed from, with its certificates, such as
    [`AdamLimits`][penchant.theory.AdamLimits]; None where a theorem names the norm.

    `source` names the theorem, with a key of the bibliography (see `penchant.cite`).
    `asked` is what `finite_step` is about.
    """

    norm: AbstractNorm | None
    weights: Weights | None
    margin: Scalar | None
    source: str = eqx.field(static=True)
    statement: str = eqx.field(static=True)
    assumptions: tuple[Assumption, ...]
    regimes: tuple[Regime, ...] = ()
    alternatives: tuple["Prediction", ...] = ()
    evidence: Any = None
    asked: StepAt | None = None

    @functools.cached_property
    def finite_step(self) -> FiniteStep | None:
        """The term that the step size and memory add to the loss, and its worth.

        None without a step size, or with one that depends on the loss.
        """
        return None if self.asked is None else self.asked.answer()

    def at(self, step: int | float) -> Regime:
        """The regime after so many steps."""
        for regime in self.regimes:
            if step < regime.end:
                return regime
        return Regime("limit", self.norm, 0.0, math.inf, self.statement)

    @property
    def holds(self) -> bool:
        """Whether no assumption is known to fail."""
        return all(a.verdict is not Verdict.FAILS for a in self.assumptions)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the weights, in types that JSON has."""
        return plain({
            "norm": _label(self.norm),
            "margin": None if self.margin is None else float(self.margin),
            "source": self.source,
            "statement": self.statement,
            "assumptions": [
                {
                    "statement": a.statement,
                    "verdict": a.verdict.value,
                    "why": a.why,
                }
                for a in self.assumptions
            ],
            "regimes": [
                {
                    "name": r.name,
                    "norm": _label(r.norm),
                    "start": r.start,
                    "end": r.end,
                    "why": r.why,
                }
                for r in self.regimes
            ],
            "alternatives": [_label(other.norm) for other in self.alternatives],
            "evidence": None if self.evidence is None else self.evidence.to_dict(),
        })

    def plot(self, *, size: tuple[float, float] = (7.2, 1.8), ax: Any = None) -> Any:
        """The regimes on the way to the limit, along the steps on a log scale.

        Args:
            size: Of a new figure, in inches.
            ax: Draw here instead.

        Raises:
            ValueError: If there are no regimes whose steps are known.
        """
        from penchant import plotting

        known = [r for r in self.regimes if not math.isnan(r.start)]
        if not known:
            raise ValueError("nothing to draw: no regimes with known steps.")
        ends = [r.end for r in known if math.isfinite(r.end) and r.end > 0]
        last = 10.0 * max([*ends, *(r.start for r in known), 10.0])
        with plotting.house_style():
            ax = plotting.own_axes(ax, size)
            for i, regime in enumerate(known):
                first, end = max(regime.start, 1.0), min(regime.end, last)
                kind = "no norm's" if regime.norm is None else regime.norm.label
                hue = plotting.colour(kind, i)
                ax.barh(0, end - first, left=first, height=0.6, color=hue, alpha=0.6)
                middle = math.sqrt(first * max(end, first))
                ax.text(middle, 0, f"{regime.name}\n{kind}", ha="center", va="center")
            ax.set_xscale("log")
            ax.set_xlim(1.0, last)
            ax.set_yticks([])
            ax.set_xlabel("steps")
        return ax

    def _repr_html_(self) -> str:
        first, _, rest = repr(self).partition("\n")
        return pages.card(first, self.statement, rest, self.plot)

    def __repr__(self) -> str:
        if self.norm is None:
            limit = "no limit known"
        elif self.margin is None:
            limit = f"a KKT point of the {self.norm.label} margin"
        else:
            limit = f"{self.norm.label} max margin {float(self.margin):.6g}"
        lines = [f"Prediction({limit}; {self.source})", f"  {self.statement}"]
        lines += [f"  regime: {regime!r}" for regime in self.regimes]
        lines += [f"  {assumption!r}" for assumption in self.assumptions]
        lines += [f"  or: {other.statement}" for other in self.alternatives]
        if self.evidence is not None:
            lines += [f"  {line}" for line in repr(self.evidence).splitlines()]
        said = None if self.asked is None else self.asked.statement
        if said is not None:
            lines.append(
                f"  to first order, finite steps: {said} Whether that holds, "
                "finite_step says."
            )
        return "\n".join(lines)


def _label(norm: AbstractNorm | None) -> str | None:
    return None if norm is None else norm.label
