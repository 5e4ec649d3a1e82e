"""What the choice changes: samples that no training saw."""

import itertools
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Int

from penchant import pages
from penchant._images import pictures
from penchant._plain import plain
from penchant._types import Weights
from penchant.diagnosis._result import columns
from penchant.problems import LinearClassification

CONFIDENCE = 0.95

PICTURED, LISTED = 12, 20
"""Samples that flip of which there are pictures, and lines, on a page."""


class Accuracy(eqx.Module):
    """How many of `samples` are `right`, with the exact 95 % interval of the share.

    `low` and `high` are Clopper and Pearson's: of the shares at which as many right
    ones, or more, or fewer, have a chance of at least 2.5 %. They hold for samples
    drawn like these, independently; at any number of them they cover at least 95 %.

    >>> from penchant.diagnosis import Accuracy
    >>> Accuracy(18, 20)
    90.0 % (68.3 to 98.8)
    """

    right: int = eqx.field(static=True)
    samples: int = eqx.field(static=True)

    @property
    def share(self) -> float:
        """Right ones over all."""
        return self.right / self.samples

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        from scipy.stats import beta

        if self.right == 0:
            return 0.0
        tail = (1.0 - CONFIDENCE) / 2
        return float(beta.ppf(tail, self.right, self.samples - self.right + 1))

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        from scipy.stats import beta

        if self.right == self.samples:
            return 1.0
        tail = (1.0 - CONFIDENCE) / 2
        return float(beta.ppf(1 - tail, self.right + 1, self.samples - self.right))

    def to_dict(self) -> dict[str, Any]:
        """In types that JSON has."""
        return {
            "right": self.right,
            "samples": self.samples,
            "share": self.share,
            "low": self.low,
            "high": self.high,
        }

    def __repr__(self) -> str:
        return (
            f"{100 * self.share:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"
        )


class Pair(eqx.Module):
    """Two classifiers on the same samples: on how many they `differ`, and who is right.

    Of those on which they differ, `first_right` and `second_right`; of several classes
    both can be wrong. `chance` is the probability that, were both right equally often,
    one would be ahead by at least as much (the exact test of McNemar).
    """

    first: str = eqx.field(static=True)
    second: str = eqx.field(static=True)
    differ: int = eqx.field(static=True)
    first_right: int = eqx.field(static=True)
    second_right: int = eqx.field(static=True)

    @property
    def chance(self) -> float:
        """1 where neither is ahead."""
        from scipy.stats import binomtest

        decided = self.first_right + self.second_right
        if decided == 0:
            return 1.0
        return float(binomtest(self.first_right, decided).pvalue)

    def to_dict(self) -> dict[str, Any]:
        """In types that JSON has."""
        return {
            "first": self.first,
            "second": self.second,
            "differ": self.differ,
            "first_right": self.first_right,
            "second_right": self.second_right,
            "chance": self.chance,
        }


class HeldOut(eqx.Module):
    """What the choice of weights changes on samples that no training saw.

    `rows` `(m,)` are the numbers of the samples held out, from 0 in the order of the
    data as given; `problem` has these samples alone, in this order, and `trained` is
    how many the others are. `names` are the classifiers, a run or several and each
    norm's optimum on the samples trained on, and `predictions` `(classifiers, m)` what
    they say, in the numbers of the labels (0 on the boundary of two classes, -1 where
    several classes tie: no label, so they count as wrong).

    `flips` are the rows on which not all say the same.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    runs: int = eqx.field(static=True)
    rows: Int[np.ndarray, " m"]
    trained: int = eqx.field(static=True)
    problem: LinearClassification
    predictions: Int[np.ndarray, "c m"]

    @classmethod
    def of(
        cls,
        problem: LinearClassification,
        rows: np.ndarray,
        trained: int,
        weights: Mapping[str, Weights],
        runs: int = 1,
    ) -> "HeldOut":
        """Of the samples held out, their rows, and weights by name, runs first."""
        said = [np.asarray(problem.classify(w)) for w in weights.values()]
        return cls(tuple(weights), runs, rows, trained, problem, np.stack(said))

    @property
    def samples(self) -> int:
        """How many are held out."""
        return len(self.rows)

    @property
    def right(self) -> np.ndarray:
        """`(classifiers, m)`, whether each is right."""
        return self.predictions == np.asarray(self.problem.y)

    @property
    def accuracy(self) -> dict[str, Accuracy]:
        """By name, the share of right ones and its interval."""
        return {
            name: Accuracy(int(right.sum()), self.samples)
            for name, right in zip(self.names, self.right, strict=True)
        }

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Every two classifiers, on how many samples they differ and who is right."""
        found = []
        for i, j in itertools.combinations(range(len(self.names)), 2):
            differ = self.predictions[i] != self.predictions[j]
            first, second = (int((differ & self.right[c]).sum()) for c in (i, j))
            names = self.names[i], self.names[j]
            found.append(Pair(*names, int(differ.sum()), first, second))
        return tuple(found)

    def pair(self, first: str, second: str) -> Pair:
        """Two classifiers by their names, in the order of `names`.

        Raises:
            KeyError: If there are no such two.
        """
        for pair in self.pairs:
            if (pair.first, pair.second) == (first, second):
                return pair
        raise KeyError(
            f"no pair {first!r}, {second!r}; names in order: {', '.join(self.names)}"
        )

    @property
    def flipped(self) -> np.ndarray:
        """Places among those held out of the samples that flip, most divided first."""
        agree = (self.predictions[:, None] == self.predictions[None]).sum(axis=(0, 1))
        divided = np.flatnonzero(agree < len(self.names) ** 2)
        return divided[np.argsort(agree[divided], kind="stable")]

    @property
    def flips(self) -> np.ndarray:
        """Rows of the samples on which not all say the same, in rising order."""
        return np.sort(self.rows[self.flipped])

    def label(self, value: int) -> str:
        """What a number of a label is called; a question mark where it is none."""
        problem = self.problem
        if problem.binary:
            place = {-1: 0, 1: 1}.get(int(value))
            called = problem.names or ("−1", "+1")
        else:
            place = int(value) if value >= 0 else None
            called = problem.names or tuple(map(str, range(problem.classes)))
        return "?" if place is None else called[place]

    @property
    def headline(self) -> str:
        """Where the optima differ, in one sentence."""
        optima = self.names[self.runs :]
        among = [p for p in self.pairs if p.first in optima and p.second in optima]
        if not among:
            text = f"{self.samples:,} samples were held out"
            if len(self.names) > 1:
                text += f"; on {len(self.flips):,} of them the classifiers differ"
            return f"{text}."
        said = self.predictions[self.runs :]
        divided = int((said != said[0]).any(axis=0).sum())
        most = max(among, key=lambda pair: pair.differ)
        if not divided:
            return f"On none of {self.samples:,} held-out samples do the optima differ."
        which = ""
        if sum(pair.differ == most.differ for pair in among) == 1 < len(among):
            which = f", most often {most.first} and {most.second} ({most.differ:,})"
        return (
            f"On {divided:,} of {self.samples:,} held-out samples the optima "
            f"differ{which}."
        )

    @property
    def explanation(self) -> str:
        """How often each is right, and whether that tells them apart."""
        listing = "; ".join(f"{name} {seen!r}" for name, seen in self.accuracy.items())
        text = f"Right, with 95 % intervals: {listing}."
        optima = self.names[self.runs :]
        if self.runs == 1 and len(optima) > 1:
            own = [self.pair(self.names[0], name) for name in optima]
            least = min(pair.differ for pair in own)
            near = [pair.second for pair in own if pair.differ == least]
            them = " and ".join(near) if len(near) < len(own) else "every optimum"
            said = f"says the same as {them}"
            if least:
                said = f"differs from {them} on {least:,}"
                said += ", the fewest" if len(near) < len(own) else ""
            text = f"The run {said}. {text}"
        pairs = [pair for pair in self.pairs if pair.differ]
        if not pairs:
            return text
        first = min(pairs, key=lambda pair: pair.chance)
        # Bonferroni: as many looks as pairs
        if first.chance * len(self.pairs) >= 1.0 - CONFIDENCE:
            return (
                f"{text} These samples are too few, or the classifiers too alike, to "
                "say that any is right more often than another."
            )
        ahead, behind = first.first, first.second
        if first.second_right > first.first_right:
            ahead, behind = behind, ahead
        return (
            f"{text} Of all pairs {ahead} is ahead of {behind} most clearly: of "
            f"{first.differ:,} samples on which they differ it is right on "
            f"{max(first.first_right, first.second_right):,}, against "
            f"{min(first.first_right, first.second_right):,} (chance "
            f"{first.chance:.1g}, of {len(self.pairs)} pairs the least)."
        )

    def plot(self, *, width: float = 7.2) -> Any:
        """Pictures of samples that flip, where samples are images; else accuracies.

        Args:
            width: Of the figure in inches; below 5 for a telephone.

        Returns:
            The first axes; their `figure` has all of them.
        """
        from penchant import plotting

        image, some = self.problem.image, self.flipped[:PICTURED]
        if image is None or not len(some):
            return self.accuracies(width=width)
        X, y = np.asarray(self.problem.X), np.asarray(self.problem.y)
        X = X[:, :-1] if self.problem.bias else X
        return plotting.sample_pictures(
            pictures(X[some], image),
            [f"{self.label(int(y[i]))} (row {self.rows[i]})" for i in some],
            [self._said(i) for i in some],
            width=width,
        )

    def accuracies(self, *, width: float = 7.2) -> Any:
        """The share of right ones of each classifier with its interval.

        Args:
            width: Of the figure in inches.
        """
        from penchant import plotting

        seen = self.accuracy
        return plotting.interval_dots(
            list(seen),
            [found.share for found in seen.values()],
            [(found.low, found.high) for found in seen.values()],
            runs=self.names[: self.runs],
            xlabel=f"% right of {self.samples:,} held-out samples",
            size=(width, 0.9 + 0.32 * len(seen)),
        )

    def _said(self, place: int) -> list[str]:
        """What each answer is, and whose: `3: run, ℓ∞`."""
        told: dict[str, list[str]] = {}
        for name, value in zip(self.names, self.predictions[:, place], strict=True):
            told.setdefault(self.label(int(value)), []).append(name)
        return [f"{answer}: {', '.join(names)}" for answer, names in told.items()]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the samples, in types that JSON has."""
        y = np.asarray(self.problem.y)
        return plain({
            "samples": self.samples,
            "trained": self.trained,
            "headline": self.headline,
            "explanation": self.explanation,
            "rows": self.rows.tolist(),
            "accuracy": {name: a.to_dict() for name, a in self.accuracy.items()},
            "pairs": [pair.to_dict() for pair in self.pairs],
            "flips": [
                {
                    "row": int(self.rows[i]),
                    "label": self.label(int(y[i])),
                    "predicted": {
                        name: self.label(int(value))
                        for name, value in zip(
                            self.names, self.predictions[:, i], strict=True
                        )
                    },
                }
                for i in sorted(self.flipped.tolist())
            ],
        })

    @property
    def listed(self) -> list[tuple[int, str, list[str]]]:
        """Row, label and what each classifier says, of the samples most divided."""
        return [
            (
                int(self.rows[i]),
                self.label(int(self.problem.y[i])),
                [self.label(int(v)) for v in self.predictions[:, i]],
            )
            for i in self.flipped[:LISTED]
        ]

    @property
    def table(self) -> str:
        """Accuracies, and on how many samples every two differ, in columns of text."""
        count = {(p.first, p.second): p.differ for p in self.pairs}
        lines = [("", "right", "95 % interval", *(f"≠ {n}" for n in self.names))]
        for name, seen in self.accuracy.items():
            differ = (
                "–"
                if name == other
                else f"{count.get((name, other), count.get((other, name), 0)):,}"
                for other in self.names
            )
            interval = f"{100 * seen.low:.1f} to {100 * seen.high:.1f}"
            lines.append((name, f"{100 * seen.share:.1f} %", interval, *differ))
        return columns(lines)

    def _repr_html_(self) -> str:
        return pages.card(self.headline, self.explanation, self.table, self.plot)

    def __repr__(self) -> str:
        lines = [f"HeldOut: {self.headline}", f"  {self.explanation}", ""]
        return "\n".join([*lines, *(f"  {line}" for line in self.table.split("\n"))])
