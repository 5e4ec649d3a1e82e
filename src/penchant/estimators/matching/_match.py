"""What a match found, as numbers and as sentences."""

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float

from penchant._plain import plain
from penchant.estimators.matching._least_squares import (
    COLLINEAR,
    Solution,
    collinear_pair,
)


class Shape(eqx.Module):
    r"""The free shape parameter of a penalty: its value, interval and profile.

    The interval holds the shapes whose sum of squares is within the factor
    $1+\chi^2_1(.95)/(m-k)$ of the least, `m` equations and `k` unknowns. It is 95 % if
    errors of the equations are independent and even; where it reaches an end of the
    range that was searched, `inside` is False. `grid` and `profile` are what was
    searched: shapes, and the share of the square left there.
    """

    value: float = eqx.field(static=True)
    interval: tuple[float, float] = eqx.field(static=True)
    inside: bool = eqx.field(static=True)
    grid: Float[np.ndarray, " s"]
    profile: Float[np.ndarray, " s"]

    def __repr__(self) -> str:
        low, high = self.interval
        end = "" if self.inside else ", at an end of the range searched"
        return f"shape {self.value:.6g} ({low:.4g} to {high:.4g}{end})"


class Kink(eqx.Module):
    r"""Whether a coefficient holds the entries that its penalty keeps at 0.

    `needed` is the least $\lambda$ that does; `coefficient` the one that was found on
    the other entries. `holds` allows for the match's error.
    """

    penalty: str = eqx.field(static=True)
    needed: float = eqx.field(static=True)
    coefficient: float = eqx.field(static=True)
    holds: bool = eqx.field(static=True)

    def __repr__(self) -> str:
        word = "holds" if self.holds else "does not hold"
        return (
            f"{self.penalty}: {self.coefficient:.4g} {word} what needs "
            f"{self.needed:.4g}"
        )


class Match(eqx.Module):
    r"""Coefficients of penalties, with what they are worth.

    `coefficients` and `error` are in the order of the penalties, `labels` their names.
    `error_kind` says what an error is: a bound, or a standard error. `r2` is the share
    of the square that is explained (about 0), `cosine` that with the target. `gap` is
    how far from stationary training was, as part of the gradient: measured where the
    training objective was given, else what the penalties leave over, which it can't be
    less than (`gap_measured`); of a run, what is left over of its steps. `vif` `(k,)`
    are variance inflation factors and `cosines` `(k, k)` those between penalties: 1
    and 0 if each stands alone.

    `identifiable` says whether the coefficients mean something, and `reason` why.
    `log_coefficients` are $\log|\lambda|$, finite where the gradient underflows.
    `shape` is that of a free penalty, `kinks` the conditions at entries kept at 0,
    `notes` what else is to be known. `equations` is how many there were, `clusters` in
    how many independent parts; `cross_fitted` the share explained of data not fitted
    to, where there are any.
    """

    labels: tuple[str, ...] = eqx.field(static=True)
    coefficients: Float[np.ndarray, " k"]
    error: Float[np.ndarray, " k"]
    error_kind: str = eqx.field(static=True)
    r2: float = eqx.field(static=True)
    cosine: float = eqx.field(static=True)
    gap: float = eqx.field(static=True)
    gap_measured: bool = eqx.field(static=True)
    vif: Float[np.ndarray, " k"]
    cosines: Float[np.ndarray, "k k"]
    identifiable: bool = eqx.field(static=True)
    reason: str = eqx.field(static=True)
    conventions: str = eqx.field(static=True)
    log_coefficients: Float[np.ndarray, " k"]
    equations: int = eqx.field(static=True)
    clusters: int = eqx.field(default=1, static=True)
    cross_fitted: float | None = eqx.field(default=None, static=True)
    shape: Shape | None = None
    kinks: tuple[Kink, ...] = ()
    notes: tuple[str, ...] = eqx.field(default=(), static=True)

    def __getitem__(self, label: str) -> float:
        """The coefficient of a penalty by its label.

        Raises:
            KeyError: If there is none of this label.
        """
        if label not in self.labels:
            raise KeyError(f"no penalty {label!r}; have: {', '.join(self.labels)}.")
        return float(self.coefficients[self.labels.index(label)])

    def to_dict(self) -> dict[str, Any]:
        """In types that JSON has."""
        shape = self.shape
        return plain({
            "penalties": [
                {
                    "label": label,
                    "coefficient": self.coefficients[i],
                    "log_coefficient": self.log_coefficients[i],
                    "error": self.error[i],
                    "vif": self.vif[i],
                }
                for i, label in enumerate(self.labels)
            ],
            "error_kind": self.error_kind,
            "r2": self.r2,
            "cosine": self.cosine,
            "gap": self.gap,
            "gap_measured": self.gap_measured,
            "cross_fitted": self.cross_fitted,
            "cosines": [list(row) for row in self.cosines],
            "identifiable": self.identifiable,
            "reason": self.reason,
            "conventions": self.conventions,
            "equations": self.equations,
            "clusters": self.clusters,
            "shape": None
            if shape is None
            else {"value": shape.value, "interval": list(shape.interval)},
            "kinks": [
                {
                    "penalty": kink.penalty,
                    "needed": kink.needed,
                    "coefficient": kink.coefficient,
                    "holds": kink.holds,
                }
                for kink in self.kinks
            ],
            "notes": list(self.notes),
        })

    def __str__(self) -> str:
        return self.__repr__()

    def __repr__(self) -> str:
        terms = ", ".join(
            f"{label} {_figure(value, error)}"
            for label, value, error in zip(
                self.labels, self.coefficients, self.error, strict=True
            )
        )
        text = [f"Match: {terms} ({self.error_kind})."]
        if self.shape is not None:
            text.append(f"Its {self.shape!r}.")
        explained = f"They explain {_percent(self.r2)} of the target's square"
        if self.cross_fitted is not None:
            explained += f", {_percent(self.cross_fitted)} of data not fitted to"
        how = "measured" if self.gap_measured else "at least; not measured"
        gap = f"; non-stationarity {self.gap:.2g} of the gradient ({how})"
        stands = self.error_kind.startswith("bound") and not math.isnan(self.gap)
        text.append(f"{explained}{gap if stands else ''}.")
        word = "Identifiable" if self.identifiable else "NOT identifiable"
        text.append(f"{word}: {self.reason}")
        text += [f"{kink!r}." for kink in self.kinks]
        text += self.notes
        text.append(f"Conventions: {self.conventions}.")
        return "\n".join(text)


def _figure(value: float, error: float) -> str:
    if not math.isfinite(error):
        return f"{value:.4g} ± ∞"
    if error <= 0 or value == 0:
        return f"{value:.6g} ± {error:.1g}"
    digits = max(2, min(10, 2 + math.ceil(math.log10(abs(value) / error))))
    return f"{value:.{digits}g} ± {error:.1g}"


def _percent(share: float) -> str:
    if math.isnan(share):
        return "nothing"
    if share < 0.9999:
        return f"{share:.2%}"
    return f"all but {1 - share:.1g}" if share < 1.0 else "all"


def collinear(solution: Solution, labels: Sequence[str]) -> str | None:
    """Why no coefficient means anything where penalties are collinear; None if not."""
    pair = collinear_pair(solution)
    if pair is None:
        return None
    i, j = pair
    cosine = solution.cosines[i, j]
    if abs(cosine) < 0.999:
        named = ", ".join(
            label
            for label, vif in zip(labels, solution.vif, strict=True)
            if vif > COLLINEAR
        )
        return (
            f"{named} are linearly dependent here: their coefficients can be "
            "exchanged for one another without any change of the fit."
        )
    return (
        f"{labels[i]} and {labels[j]} have the same gradient here (cosine "
        f"{cosine:.6f}): only a sum of their coefficients is known, and what is given "
        "of it to each is arbitrary."
    )


def no_gradient(solution: Solution, labels: Sequence[str]) -> str | None:
    """Why a penalty has no coefficient where it has no gradient; None if all have."""
    flat = [
        label
        for label, length in zip(labels, solution.lengths, strict=True)
        if not length > 0
    ]
    if not flat:
        return None
    return f"{', '.join(flat)} has no gradient at these weights, and no coefficient."
