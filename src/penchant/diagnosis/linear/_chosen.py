"""The weights that were picked, beside those that each norm's margin picks."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np

from penchant import pages
from penchant._images import pictures, written
from penchant._plain import plain
from penchant._types import Weights
from penchant.diagnosis._result import columns
from penchant.problems import LinearClassification

TOP, OWN = 8, 2
"""Weights listed of the first column, and of every other one that are not yet there."""

CLASSES = 10
"""Classes whose weights are pictured."""

ALIKE = 3.0
"""Ratio of deviations up to which features count as of one unit."""


class Entry(eqx.Module):
    """One weight: its `feature`, its class (`""` where there are two), its `values`.

    `values` has a number for every column of [`Chosen`][penchant.diagnosis.Chosen], in
    units of that column's largest absolute weight. `deviation` is the standard
    deviation of the feature over the samples.
    """

    feature: str = eqx.field(static=True)
    label: str = eqx.field(static=True)
    deviation: float = eqx.field(static=True)
    values: tuple[float, ...] = eqx.field(static=True)

    @property
    def name(self) -> str:
        """The feature, and the class whose weight it is."""
        return f"{self.feature} → {self.label}" if self.label else self.feature


class Chosen(eqx.Module):
    r"""What was chosen: the weights of a run beside those of each norm's optimum.

    `names` are the columns: a run (or several, by their rules), then the norms whose
    largest margin the other weights have. `weights` are as they were found. What is
    listed and drawn is `shown`: each column in units of its largest absolute weight,
    $w/\|w\|_\infty$, so that all have one scale whatever their length; of images the
    bias does not count in that. Weights on features that are 0 in every sample change
    no margin; they are `dead` and shown as 0.

    `several` says of a column that other weights have that largest margin too (None:
    not known), so that another solver may show others.

    Margins are compared in the units of the features as the problem has them, and so
    are these weights: `units` says which. Sizes of weights on features of different
    units say nothing about importance.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    runs: int = eqx.field(static=True)
    weights: tuple[Weights, ...]
    several: tuple[bool | None, ...] = eqx.field(static=True)
    what: str = eqx.field(static=True)
    problem: LinearClassification

    @property
    def image(self) -> tuple[int, ...] | None:
        """The shape of the images that samples are; None where they are none."""
        return self.problem.image

    @property
    def dead(self) -> np.ndarray:
        """`(d,)`, which features are 0 in every sample."""
        return (np.asarray(self.problem.X) == 0.0).all(axis=0)

    @functools.cached_property
    def shown(self) -> np.ndarray:
        """`(columns, k, d)`: weights in units of each column's largest; k is 1 of 2."""
        d = self.problem.X.shape[1]
        W = np.stack([np.asarray(w).reshape(-1, d) for w in self.weights])
        W = np.where(self.dead, 0.0, W)
        counted = W[..., :-1] if self.image and self.problem.bias else W
        largest = np.abs(counted).max(axis=(1, 2), keepdims=True)
        return W / np.where(largest > 0, largest, 1.0)

    @property
    def classes(self) -> tuple[str, ...]:
        """What the rows of weights are called; of two classes the one that is +1."""
        problem = self.problem
        if problem.binary:
            return (problem.names[-1] if problem.names else "+1",)
        return problem.names or tuple(map(str, range(problem.classes)))

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features, x0, x1, … where they have none."""
        problem = self.problem
        if problem.features:
            return problem.features
        d = problem.X.shape[1]
        numbered = tuple(f"x{j}" for j in range(d))
        return (*numbered[:-1], "bias") if problem.bias else numbered

    @property
    def units(self) -> str:
        """In which units features are, as they are."""
        X = np.asarray(self.problem.X)
        X = X[:, :-1] if self.problem.bias else X
        spread = X.std(axis=0)
        live = spread > 0
        if not live.any():
            return "Features do not vary."
        off = np.abs(X[:, live].mean(axis=0)).max()
        off = max(float(off), float(np.abs(spread[live] - 1.0).max()))
        if off < 0.25:  # of some of the rows that were standardised together
            nearly = "" if off < 1e-6 else " (nearly, over these samples)"
            return (
                f"Features are standardised{nearly}: a weight is per standard "
                "deviation."
            )
        most, least = float(spread[live].max()), float(spread[live].min())
        if self.image or most <= ALIKE * least:
            return "Features are in the units of the data."
        return (
            "Features are in the units of the data, and their standard deviations "
            f"differ up to {most / least:.2g}-fold: sizes of weights on different "
            "features don't compare."
        )

    def top(self, count: int = TOP) -> tuple[Entry, ...]:
        """The largest weights of the first column, and each other column's first two.

        Args:
            count: How many of the first column.
        """
        sizes = np.abs(self.shown).reshape(len(self.names), -1)
        ranked = np.argsort(-sizes, axis=1, kind="stable")
        places = list(ranked[0][:count])
        for column, order in enumerate(ranked[1:], start=1):
            # where all weights are of one size, none of them is its first
            best = sizes[column, order[0]]
            equal = int((sizes[column] >= best * (1.0 - 1e-6)).sum())
            if equal <= max(OWN, 1):
                places += [place for place in order[:OWN] if place not in places]
        k, d = self.shown.shape[1:]
        deviations = np.asarray(self.problem.X).std(axis=0)
        found = []
        for place in places:
            c, j = divmod(int(place), d)
            values = tuple(float(v) for v in self.shown[:, c, j])
            if not any(values):
                continue
            label = "" if k == 1 else self.classes[c]
            found.append(Entry(self.features[j], label, float(deviations[j]), values))
        return tuple(found)

    def boundaries(
        self, low: Sequence[float], high: Sequence[float]
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By column, `x` and `y` of the lines where two of the classes have one score.

        Of problems with two features (and a bias, or none). Lines are broken by NaN.

        Args:
            low: The lower ends of the part of the plane, one a feature.
            high: The upper ends.

        Raises:
            ValueError: If there are not two features.
        """
        self._check_plane()
        lines = {}
        for name, w in zip(self.names, self.weights, strict=True):
            W = np.asarray(w, dtype=float).reshape(len(self.classes), -1)
            W = np.vstack([np.zeros_like(W), W]) if self.problem.binary else W
            V = np.hstack([W[:, :2], W[:, 2:] if self.problem.bias else 0 * W[:, :1]])
            lines[name] = _boundary(V, np.asarray(low), np.asarray(high))
        return lines

    @property
    def plane(self) -> bool:
        """Whether there are two features, so that boundaries can be drawn."""
        return self.problem.X.shape[1] - int(self.problem.bias) == 2

    def _check_plane(self) -> None:
        if not self.plane:
            raise ValueError(
                "boundaries are lines where there are two features; got "
                f"{self.problem.X.shape[1] - int(self.problem.bias)}."
            )

    @property
    def caption(self) -> str:
        """What the picture shows, and of what run."""
        marked = [n for n, s in zip(self.names, self.several, strict=True) if s]
        many = ""
        if marked:
            listing = " and ".join(marked)
            many = (
                f" Other weights have the largest {listing} "
                f"margin{'s' if len(marked) > 1 else ''} too; one of them is shown."
            )
        whose = self.what
        if len(self.names) > self.runs:
            beside = "the minimiser of the loss"
            if self.names[self.runs :] != ("minimiser",):
                beside = "the weights of largest margin in each norm"
            whose += f", beside {beside}"
        if self.plane:
            whose += ": where each changes its mind between classes"
            return f"{whose}.{many}"
        unit = "each column is divided by its largest absolute weight"
        if not self.image:
            return f"{whose}; {unit}. {self.units}{many}"
        dead = int(self.dead.sum())
        off = ""
        if dead:
            off = f" {dead} pixels are 0 in every sample: no margin depends on their "
            off += "weights, shown as 0."
            if dead == 1:
                off = " One pixel is 0 in every sample: its weight is shown as 0."
        colours = (
            "Grey is 0; red, green and blue are the weights on the three colours, more "
            "for positive ones."
            if self._coloured
            else "Blue pixels speak for a class, red ones against it."
        )
        if self.problem.binary and not self._coloured:
            against = self.problem.names[0] if self.problem.names else "−1"
            colours = (
                f"Blue pixels speak for {self.classes[0]}, red ones for {against}."
            )
        more = len(self.classes) - CLASSES
        cut = (
            f" The first {CLASSES} of {len(self.classes)} classes." if more > 0 else ""
        )
        bias = " b is the bias in the same unit." if self.problem.bias else ""
        return (
            f"{whose}; images of {written(self.image)} pixels, {unit}. {colours} "
            f"{self.units}{off}{bias}{cut}{many}"
        )

    @property
    def _coloured(self) -> bool:
        return self.image is not None and len(self.image) == 3 and 3 in self.image

    def plot(self, *, width: float = 7.2) -> Any:
        """The plane where there are two features, pictures of images, else bars.

        Args:
            width: Of the figure in inches; below 5 for a telephone.

        Returns:
            The first axes; their `figure` has all of them.
        """
        from penchant import plotting

        if self.plane:
            return self._plane(width, {})
        if self.image is None:
            entries = self.top()
            return plotting.weight_bars(
                [entry.name for entry in entries],
                {
                    name: [entry.values[i] for entry in entries]
                    for i, name in enumerate(self.names)
                },
                runs=self.names[: self.runs],
                width=width,
            )
        shown = self.shown[:, :CLASSES]
        bias = shown[..., -1] if self.problem.bias else None
        pixels = shown[..., :-1] if self.problem.bias else shown
        each = pictures(pixels, self.image)
        ends = ("against", "for")
        if self.problem.binary:
            names = self.problem.names
            ends = (f"for {names[0]}", f"for {names[1]}") if names else ("", "")
        return plotting.weight_pictures(
            dict(zip(self.names, each, strict=True)),
            () if self.problem.binary else self.classes[:CLASSES],
            under={}
            if bias is None
            else {
                name: [f"b = {b:.2g}".replace("-", "−") for b in column]
                for name, column in zip(self.names, bias, strict=True)
            },
            ends=ends,
            width=width,
        )

    def plane_with(self, others: LinearClassification, *, width: float = 7.2) -> Any:
        """As `plot` of two features, with the samples of another problem as well.

        Args:
            others: Samples that no training saw.
            width: Of the figure in inches.

        Raises:
            ValueError: If there are not two features.
        """
        self._check_plane()
        return self._plane(width, _by_class(others))

    def _plane(self, width: float, held: dict[str, Any]) -> Any:
        from penchant import plotting

        X = np.asarray(self.problem.X)[:, :2]
        low, high = X.min(axis=0), X.max(axis=0)
        for x, y in held.values():
            low = np.minimum(low, [x.min(), y.min()])
            high = np.maximum(high, [x.max(), y.max()])
        if not self.problem.bias:  # every boundary passes through 0
            reach = high - low
            near = ((low - reach) <= 0).all() and ((high + reach) >= 0).all()
            low, high = (
                (np.minimum(low, 0.0), np.maximum(high, 0.0)) if near else (low, high)
            )
        room = 0.08 * np.where(high > low, high - low, 1.0)
        low, high = low - room, high + room
        return plotting.plane(
            _by_class(self.problem),
            self.boundaries(low.tolist(), high.tolist()),
            xlabel=self.features[0],
            ylabel=self.features[1],
            held=held,
            runs=self.names[: self.runs],
            low=low.tolist(),
            high=high.tolist(),
            width=width,
        )

    def to_dict(self) -> dict[str, Any]:
        """Names, units and the largest weights, in types that JSON has."""
        return plain({
            "columns": list(self.names),
            "runs": self.runs,
            "several": dict(zip(self.names, self.several, strict=True)),
            "image": None if self.image is None else list(self.image),
            "dead": int(self.dead.sum()),
            "units": self.units,
            "top": [
                {
                    "feature": entry.feature,
                    "class": entry.label or None,
                    "deviation": entry.deviation,
                    "weights": dict(zip(self.names, entry.values, strict=True)),
                }
                for entry in self.top()
            ],
        })

    @property
    def table(self) -> str:
        """The largest weights in columns of text."""
        lines = [("feature", *self.names)]
        for entry in self.top():
            numbers = (f"{v:+.3f}".replace("-", "−") for v in entry.values)
            lines.append((entry.name, *numbers))
        return columns(lines)

    def _repr_html_(self) -> str:
        return pages.card("What was chosen", self.caption, self.table, self.plot)

    def __repr__(self) -> str:
        lines = [f"Chosen: {self.caption}", ""]
        return "\n".join([*lines, *(f"  {line}" for line in self.table.split("\n"))])


def _by_class(
    problem: LinearClassification,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The two features of samples by the name of their class."""
    X, y = np.asarray(problem.X), np.asarray(problem.y)
    values = (-1, 1) if problem.binary else range(problem.classes)
    usual = ("−1", "+1") if problem.binary else map(str, values)
    called = problem.names or tuple(usual)
    return {
        name: (X[y == value, 0], X[y == value, 1])
        for name, value in zip(called, values, strict=True)
        if (y == value).any()
    }


def _boundary(
    V: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where two rows of `(k, 3)` scores, x, y and constant, are both the largest.

    On the line of a pair the others' scores are linear, so that what is left of it is
    one interval: that of the window, cut by every other row and by the window's sides.
    """
    x: list[float] = []
    y: list[float] = []
    for a in range(len(V)):
        for b in range(a + 1, len(V)):
            u, c = V[a, :2] - V[b, :2], float(V[a, 2] - V[b, 2])
            length = math.hypot(*u)
            if length == 0:
                continue
            foot, along = -c * u / length**2, np.array([-u[1], u[0]]) / length
            # each is slope t + offset >= 0
            slopes = [along[0], -along[0], along[1], -along[1]]
            offsets = [foot[0] - low[0], high[0] - foot[0]]
            offsets += [foot[1] - low[1], high[1] - foot[1]]
            for other in range(len(V)):
                if other not in (a, b):
                    more = V[a] - V[other]
                    slopes.append(float(more[:2] @ along))
                    offsets.append(float(more[:2] @ foot + more[2]))
            first, last = _interval(np.array(slopes), np.array(offsets))
            if first < last:
                ends = foot + np.outer([first, last], along)
                x += [*ends[:, 0].tolist(), math.nan]
                y += [*ends[:, 1].tolist(), math.nan]
    return np.array(x[:-1]), np.array(y[:-1])


def _interval(slopes: np.ndarray, offsets: np.ndarray) -> tuple[float, float]:
    """The `t` with `slope t + offset >= 0` for all; empty if the first is larger."""
    rising, falling = slopes > 0, slopes < 0
    if (offsets[~rising & ~falling] < 0).any():
        return 1.0, 0.0
    with np.errstate(over="ignore"):
        first = np.max(-offsets[rising] / slopes[rising], initial=-np.inf)
        last = np.min(-offsets[falling] / slopes[falling], initial=np.inf)
    return float(first), float(last)
