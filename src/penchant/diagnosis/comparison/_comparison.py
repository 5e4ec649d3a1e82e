"""What several rules picked, in one table, one picture and one page."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import equinox as eqx
import numpy as np

from penchant import pages
from penchant._files import write_text
from penchant._plain import plain
from penchant.diagnosis._result import AbstractDiagnosis, columns
from penchant.diagnosis.linear._chosen import Chosen
from penchant.diagnosis.linear._held_out import HeldOut
from penchant.diagnosis.linear._report import chosen_parts
from penchant.pages import percent

FORMAT = 1
"""Version of `comparison.json`; a change that breaks readers raises it."""

CONFIDENCE = 0.95


class Spread(eqx.Module):
    """A mean over seeds, and the 95 % interval of Student's t for it.

    `low` and `high` are None for a single run: one run has no spread. `high` is cut at
    1, which no share of a largest margin and no alignment exceeds.
    """

    mean: float = eqx.field(static=True)
    low: float | None = eqx.field(static=True)
    high: float | None = eqx.field(static=True)

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Of the values of all seeds."""
        mean = float(np.mean(values))
        if len(values) < 2:
            return cls(mean, None, None)
        from scipy.stats import t

        quantile = float(t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1))
        half = quantile * float(np.std(values, ddof=1)) / math.sqrt(len(values))
        return cls(mean, mean - half, max(min(mean + half, 1.0), mean))

    def to_dict(self) -> dict[str, Any]:
        """In types that JSON has."""
        return {"mean": self.mean, "low": self.low, "high": self.high}

    def __repr__(self) -> str:
        if self.low is None or self.high is None:
            return percent(self.mean)
        low, high = f"{100 * self.low:z.0f}", f"{100 * self.high:z.0f}"
        return percent(self.mean) + ("" if low == high else f" ({low}–{high})")


class ComparedRule(eqx.Module):
    """One rule of a comparison: its runs, a seed each, and what they reached.

    `shares` are the shares of each norm's largest margin, by its label: what the last
    weights reach, against the best margin that the solver or any run of the comparison
    has found. Empty where no weights separate the
    data. `alignments` are those of the last weights with a window of gradients about
    them. `leader` is the norm of the largest mean share where the runs separate the
    data, else of the largest alignment.
    """

    name: str = eqx.field(static=True)
    seeds: tuple[int, ...] = eqx.field(static=True)
    shares: dict[str, Spread]
    alignments: dict[str, Spread]
    diagnoses: tuple[AbstractDiagnosis, ...]
    notes: tuple[str, ...] = eqx.field(static=True)

    @property
    def separated(self) -> bool:
        """Whether the last weights have all samples right, on the mean over seeds."""
        return bool(self.shares) and all(s.mean > 0 for s in self.shares.values())

    @property
    def leader(self) -> str | None:
        """Label of the norm of the largest mean; None where there is no number."""
        values = self.shares if self.separated else self.alignments
        known = {name: s.mean for name, s in values.items() if math.isfinite(s.mean)}
        return max(known, key=lambda name: known[name]) if known else None

    @property
    def headline(self) -> str:
        """The verdict of the first seed, and how many of the others share it."""
        first = self.diagnoses[0]
        if len(self.diagnoses) == 1:
            return first.headline
        label = lambda d: None if d.winner is None else d.winner.label
        same = sum(label(d) == label(first) for d in self.diagnoses)
        return (
            f"{first.headline} ({same} of {len(self.diagnoses)} seeds name the same "
            "norm.)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays, in types that JSON has."""
        first = self.diagnoses[0]
        return {
            "name": self.name,
            "optimizer": first.settings["optimizer"],
            "batching": first.settings["batching"],
            "step_size": first.settings["step_size"],
            "steps": [int(d.trajectory.steps[-1]) for d in self.diagnoses],
            "seeds": list(self.seeds),
            "headline": self.headline,
            "leader": self.leader,
            "separated": self.separated,
            "shares": {name: s.to_dict() for name, s in self.shares.items()},
            "alignments": {name: s.to_dict() for name, s in self.alignments.items()},
            "winners": [
                None if d.winner is None else d.winner.label for d in self.diagnoses
            ],
            "log_loss": [float(d.trajectory.log_loss[-1]) for d in self.diagnoses],
            "seconds": [d.trajectory.seconds for d in self.diagnoses],
            "notes": list(self.notes),
        }


class Comparison(eqx.Module):
    """Which solution each of several rules picked on one problem.

    `rules` has a [`ComparedRule`][penchant.diagnosis.ComparedRule] each, by name:
    `comparison["adam"]`. `labels` are the norms, `separable` says whether any weights
    separate the data, and `complete` is False where it was interrupted. `chosen` has
    the last weights of every rule's first run beside each norm's optimum, and
    `held_out` what they say of samples held out; None where there are none.
    """

    rules: tuple[ComparedRule, ...]
    labels: tuple[str, ...] = eqx.field(static=True)
    separable: bool | None = eqx.field(static=True)
    complete: bool = eqx.field(static=True)
    settings: dict[str, Any] = eqx.field(static=True)
    chosen: Chosen | None
    held_out: HeldOut | None

    format: ClassVar[int] = FORMAT

    def __getitem__(self, name: str) -> ComparedRule:
        """The rule of this name.

        Raises:
            KeyError: If there is none.
        """
        for rule in self.rules:
            if rule.name == name:
                return rule
        have = ", ".join(rule.name for rule in self.rules)
        raise KeyError(f"no rule {name!r}; have: {have}")

    @property
    def by_margins(self) -> bool:
        """Whether shares of margins are what is compared; else alignments."""
        return any(rule.separated for rule in self.rules)

    @property
    def headline(self) -> str:
        """Who leads where, in one sentence."""
        if not self.rules:
            return "No rule has been run."
        parts = []
        for rule in self.rules:
            label = rule.leader
            if label is None:
                parts.append(f"{rule.name}: nothing to compare")
            elif rule.separated:
                parts.append(
                    f"{rule.name}: {label}, {percent(rule.shares[label].mean)}"
                )
            else:
                aligned = rule.alignments[label].mean
                parts.append(f"{rule.name}: {label} by alignment, {aligned:z.2f}")
        what = "Largest share of a margin" if self.by_margins else "Largest alignment"
        return f"{what}. {'; '.join(parts)}."

    @property
    def explanation(self) -> str:
        """How to read it."""
        if self.by_margins:
            text = (
                "100 % is the largest margin that any weights have in that norm; two "
                "norms within a few per cent can't be told apart by these runs."
            )
        elif self.separable is False:
            text = (
                "No weights separate these data, so there is no margin: an alignment "
                "of 1 means the least loss among weights of their size in that norm."
            )
        else:
            text = (
                "No run has separated the data yet: an alignment of 1 means the least "
                "loss among weights of their size in that norm."
            )
        return text if self.complete else f"{text} It was interrupted."

    @property
    def table(self) -> str:
        """A line a rule, the numbers below one another."""
        if not self.rules:
            return ""
        cells: list[tuple[str, ...]] = [("rule", *self.labels)]
        for rule in self.rules:
            line = [rule.name]
            for label in self.labels:
                if rule.separated:
                    line.append(repr(rule.shares[label]))
                else:
                    aligned = rule.alignments.get(label)
                    line.append("–" if aligned is None else f"a = {aligned.mean:z.2f}")
            cells.append(tuple(line))
        return columns(cells)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays, in types that JSON has; no NaN, no infinity."""
        return plain({
            "format": FORMAT,
            "kind": "comparison",
            "headline": self.headline,
            "explanation": self.explanation,
            "separable": self.separable,
            "complete": self.complete,
            "norms": list(self.labels),
            "rules": [rule.to_dict() for rule in self.rules],
            "chosen": None if self.chosen is None else self.chosen.to_dict(),
            "held_out": None if self.held_out is None else self.held_out.to_dict(),
            "settings": self.settings,
        })

    def plot(self, *, width: float = 7.2) -> Any:
        """A panel of bars a rule, as in the README, for one's own data.

        Args:
            width: Of the figure in inches; below 5 with one panel a row.

        Returns:
            The axes of the first panel; their `figure` has all of them.

        Raises:
            ValueError: If no rule has been run.
        """
        from penchant import plotting

        if not self.rules:
            raise ValueError("nothing to draw: no rule has been run.")
        panels, intervals = {}, {}
        for rule in self.rules:
            values: Mapping[str, Spread] = (
                rule.shares if self.by_margins else rule.alignments
            )
            found = [values.get(label) for label in self.labels]
            panels[rule.name] = [0.0 if s is None else s.mean for s in found]
            if len(rule.seeds) > 1:
                intervals[rule.name] = [
                    (s.low, s.high)
                    if s is not None and s.low is not None and s.high is not None
                    else (0.0, 0.0)
                    for s in found
                ]
        return plotting.ratio_panels(
            self.labels,
            panels,
            intervals,
            quantity="% of the largest margin" if self.by_margins else "alignment, %",
            width=width,
        )

    def page(self) -> str:
        """The page, HTML that needs nothing else to be read but links to the runs'."""
        from penchant import plotting

        drawn = {}
        if self.rules:
            drawn = {
                kind: plotting.themed_svg(self.plot(width=width), self.headline)
                for kind, width in (("wide", 7.2), ("narrow", 3.5))
            }
        links = {
            rule.name: [
                f"{quote(run_folder(rule.name, seed))}/report.html"
                for seed in rule.seeds
            ]
            for rule in self.rules
        }
        parts = {} if self.chosen is None else chosen_parts(self.chosen, self.held_out)
        return pages.render(
            "comparison.html.j2", c=self, drawn=drawn, links=links, parts=parts, **parts
        )

    def save(self, folder: str | Path) -> Path:
        """Write `comparison.html`, `comparison.json` and `comparison.svg`.

        The report of every run lies in `runs/`, a folder a run, where `compare` was
        given this folder; `save` writes those that are not there.

        Returns:
            The path of the page.
        """
        folder = Path(folder)
        for rule in self.rules:
            for seed, diagnosis in zip(rule.seeds, rule.diagnoses, strict=True):
                run = folder / run_folder(rule.name, seed)
                if not (run / "report.html").exists():
                    diagnosis.save(run)
        return self.write(folder)

    def write_numbers(self, folder: Path) -> None:
        """The file for programs alone, which takes no time."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        write_text(folder / "comparison.json", text)

    def write(self, folder: Path) -> Path:
        """The comparison itself, without the reports of its runs."""
        from penchant import plotting

        self.write_numbers(folder)
        if self.rules:
            svg = pages.coloured(plotting.themed_svg(self.plot(), self.headline))
            write_text(folder / "comparison.svg", svg + "\n")
        page = folder / "comparison.html"
        write_text(page, self.page())
        return page

    def _repr_html_(self) -> str:
        return pages.card(self.headline, self.explanation, self.table, self.plot)

    def __repr__(self) -> str:
        lines = [f"Comparison: {self.headline}", f"  {self.explanation}", ""]
        lines += [f"  {line}" for line in self.table.split("\n")]
        if self.held_out is not None:
            told = self.held_out
            lines += ["", f"  {told.headline} {told.explanation}"]
        return "\n".join(lines)


def run_folder(name: str, seed: int) -> str:
    """Where the report of one run lies, below the folder of the comparison."""
    safe = "".join(c if c.isalnum() or c in ".=-" else "_" for c in name)
    return f"runs/{safe}-seed{seed}"
