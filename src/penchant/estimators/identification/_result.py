"""What a rule was found to be: a character, and how each part of it was seen."""

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import numpy as np

from penchant import pages
from penchant._files import replacing_in, write_text
from penchant._plain import plain
from penchant.estimators.identification._findings import Findings
from penchant.estimators.identification._laws import LawFit
from penchant.estimators.identification._replay import Form
from penchant.estimators.identification._tightness import Tightness
from penchant.measures import Estimate
from penchant.norms import AbstractNorm
from penchant.optimizers import FIELDS, AbstractOptimizer, Character, Evidence

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EXACT = 1e-9
"""A gap to the steepest step below this is rounding."""


class Identification(Character):
    r"""The character of a black box, as measured, and what it was read from.

    The fields are those of a [`Character`][penchant.optimizers.Character], each graded
    in `evidence`: measured where a rule of that form makes the same steps, unknown
    where none was found that does, which is not *none*.

    `family` says what steps follow: "entry-wise", "jointly normalised" (entries by
    one length), "row-wise", "column-wise",
    "block-wise", "unitarily invariant", "permutation-invariant", "row and column
    factors", "random" or "unknown". `tightness` compares first steps with the steepest
    ones in `steps`; `between` holds the exponents of ℓp or Schatten norms between
    which the map of entries or singular values lies (95 %), one number where it is a
    power to rounding. `step_size` is what unit steps are multiplied by, and `replayed`
    the largest error of a rule of this form over a dozen gradients that turn, as a
    share of its steps. `coupled` is the decay that goes through the gradient, None
    without. `form` has the constants of the memories that make the rule's steps, those
    too for which a character has no field; where no pair of means makes the steps,
    `law` may: a recurrence of another kind, fitted. `constants` are the numbers in
    either, with their errors, `exact` where steps are replayed to rounding. `norm` is
    the one that `tightness` compares in: `steps`, or for blocks the largest root mean
    square of one, which holds for weights of this shape alone. `why` says of each
    unknown field why it is. `findings` are the tests themselves, and `told` the
    sentences they give.
    """

    name: str = eqx.field(default="", static=True)
    family: str = eqx.field(default="unknown", static=True)
    tightness: Tightness | None = eqx.field(default=None, static=True)
    between: tuple[float, float] | None = eqx.field(default=None, static=True)
    step_size: float | None = eqx.field(default=None, static=True)
    replayed: float = eqx.field(default=math.nan, static=True)
    coupled: float | None = eqx.field(default=None, static=True)
    form: Form | None = eqx.field(default=None, static=True)
    law: LawFit | None = eqx.field(default=None, static=True)
    constants: dict[str, Estimate] = eqx.field(default_factory=dict, static=True)
    norm: AbstractNorm | None = None
    why: dict[str, str] = eqx.field(default_factory=dict, static=True)
    told: tuple[str, ...] = eqx.field(default=(), static=True)
    findings: Findings | None = eqx.field(default=None, static=True, repr=False)
    rule: AbstractOptimizer | None = None

    @property
    def character(self) -> Character:
        """The fields of a character alone."""
        return Character(
            self.steps,
            self.normalised,
            self.first,
            self.second,
            self.decay,
            self.steepest,
            self.evidence,
        )

    @property
    def headline(self) -> str:
        """What the rule is, in a sentence."""
        return self.told[0] if self.told else "Nothing is known of it."

    def to_dict(self) -> dict[str, Any]:
        """The answer in types that JSON has."""
        first, second, found = self.first, self.second, self.findings
        number = lambda x: None if x is None else float(np.asarray(x))
        tight = self.tightness
        return plain({
            "name": self.name,
            "headline": self.headline,
            "family": self.family,
            "steps": None if self.steps is None else self.steps.label,
            "normalised": self.normalised,
            "steepest": self.steepest,
            "first": None
            if first is None
            else {
                "decay": number(first.decay),
                "kind": first.kind,
                "mix": number(first.mix),
                "corrected": first.corrected,
            },
            "second": None
            if second is None
            else {
                "kind": second.kind,
                "decay": number(second.decay),
                "eps": number(second.eps),
                "eps_inside": second.eps_inside,
                "corrected": second.corrected,
                "exponent": number(second.exponent),
                "over": second.over,
            },
            "decay": number(self.decay),
            "coupled": self.coupled,
            "step_size": self.step_size,
            "between": self.between,
            "tightness": None if tight is None else dataclasses.asdict(tight),
            "norm": None if self.norm is None else self.norm.label,
            "constants": {
                name: {"value": x.value, "error": x.error, "exact": x.exact}
                for name, x in self.constants.items()
            },
            "law": None if self.law is None else self.law.law.form,
            "why": self.why,
            "replayed": self.replayed,
            "evidence": {field: str(self.evidence[field]) for field in FIELDS},
            "told": list(self.told),
            "symmetry": None
            if found is None or found.symmetry is None
            else found.symmetry.defects,
            "noise": None
            if found is None or found.noise is None
            else dataclasses.asdict(found.noise),
            "trees": None
            if found is None or found.trees is None
            else dataclasses.asdict(found.trees),
            "updates": None if found is None else found.updates,
            "updates_by_test": {} if found is None else found.tally,
        })

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """The length of a step over the gradient's scale."""
        from penchant.estimators.identification._pictures import over_scale

        return over_scale(self, ax)

    def save(self, folder: str | Path) -> Path:
        """Write `report.html` and `result.json`; the page's path.

        Raises:
            OSError: If they can't be written; the folder is then as it was.
        """
        from penchant.estimators.identification._pictures import figures

        folder = Path(folder)
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        page = pages.render(
            "identification.html.j2",
            d=self,
            figures=figures(self),
            rows=self.rows(),
        )
        with replacing_in(folder) as fresh:
            write_text(fresh / "result.json", text + "\n")
            write_text(fresh / "report.html", page)
        return folder / "report.html"

    def rows(self) -> tuple[tuple[str, str, str], ...]:
        """Field, value and evidence, as words."""
        bare = self.character
        unknown = Evidence.UNKNOWN
        words = {
            "steps": "none that has a name" if self.steps is None else self.steps.label,
            "normalised": {True: "yes", False: "no", None: "–"}[self.normalised],
            "first": "none" if self.first is None else _memory(self),
            "second": "none" if self.second is None else bare.told_second,
            "decay": "none"
            if self.decay is None
            else f"{float(np.asarray(self.decay)):.7g}, beside the step",
        }
        return tuple(
            (
                field,
                self.why.get(field, "–")
                if self.evidence[field] == unknown
                else words[field],
                str(grade),
            )
            for field in FIELDS
            for grade in (self.evidence[field],)
        )

    def _repr_html_(self) -> str:
        return pages.card(self.headline, "", "\n".join(self.told[1:]), self.plot)

    def __repr__(self) -> str:
        head = f"Identification({self.name})" if self.name else "Identification"
        lines = [f"{head}: {self.headline}"]
        lines += [f"  {line}" for line in self.told[1:]]
        lines += [f"  {a}: {b} ({c})" for a, b, c in self.rows()]
        return "\n".join(lines)


def _memory(found: Identification) -> str:
    first = found.first
    assert first is not None
    decay = float(np.asarray(first.decay))
    told = f"decay {decay:.7g} ({1.0 / (1.0 - decay):.3g} steps), a {first.kind}"
    if not first.plain:
        told += f", weight {float(np.asarray(first.mix)):.7g} of the old memory"
    return told + (", corrected" if first.corrected else "")
