"""What a correction is: its parts, its validity first, and the verdict."""

import functools
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from penchant._plain import plain
from penchant._types import Parameters

VALID = 0.3
"""Below this share of its step a coordinate's correction counts as one.

Over bins of coordinates it helps below, and makes things worse beyond 1; between the
two either happens: `test_the_threshold_is_where_it_stops_helping`.
"""

ENOUGH = 0.5
"""Share of coordinates that must be valid for a correction to be quoted."""

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of the validity that are kept."""

if TYPE_CHECKING:
    Kind: TypeAlias = Literal["flow", "map"]
else:
    Kind = str  # another word is refused at the door, in a sentence


class Spread(eqx.Module):
    """Validities of the coordinates that move, which are `count`; else infinite."""

    values: Float[Array, " p"]
    count: int = eqx.field(static=True)

    @functools.cached_property
    def quantiles(self) -> tuple[float, ...]:
        """At the usual levels; taken when asked for, since they need an order."""
        if self.count == 0:
            return tuple(0.0 for _ in LEVELS)
        at = [int(q * (self.count - 1)) for q in LEVELS]
        return tuple(float(x) for x in np.partition(np.asarray(self.values), at)[at])


class Share(eqx.Module):
    """How far one moment's part of a correction is one.

    `direction` is the part, `share_valid` the share of coordinates in which it alone is
    below 0.3 of the step, `quantiles` those of its validity at 5, 25, 50, 75 and 95 %.
    """

    direction: Parameters
    spread: Spread
    share_valid: float = eqx.field(static=True)

    @property
    def quantiles(self) -> tuple[float, ...]:
        """Of the validity, at 5, 25, 50, 75 and 95 %."""
        return self.spread.quantiles

    @property
    def valid(self) -> bool:
        """Whether at least half of the coordinates are."""
        return self.share_valid >= ENOUGH

    def __repr__(self) -> str:
        return f"valid in {self.share_valid:.0%}, median {self.quantiles[2]:.2g}"


class Correction(eqx.Module):
    r"""What a finite step and memory add to a rule's flow: $\dot w=-F+h\,C$.

    `F` is the step divided by the step size $h$, `direction` $C$, so that `velocity` is
    $-F+hC$; of a map, $w\leftarrow w+h\cdot$ `velocity`. `memory` and `discretisation`
    add up to it. `first` and `second` are the parts that go through each moment, None
    where a rule's moments are not known.

    `validity` is $V_j=h|C_j|/|F_j|$, coordinate by coordinate: the expansion is one
    where it is small. 0 where neither moves; infinite where $F_j=0$ and $C_j$ is not,
    or does not exist. `share_valid` is the share below 0.3 of the coordinates that move
    (below it a correction was measured to help; beyond 1 it makes things worse),
    `quantiles` those of $V$ at 5, 25, 50, 75 and 95 %. Of the valid coordinates,
    `penalised` is the share whose
    term goes down $HF$, the gradient of what $F$ is the slope of (a norm of the
    gradient), `anti_penalised` that which goes up it. `ratio` $=h\|C\|/\|F\|$ and
    `cosine` compare $hC$ with $-F$ over the valid coordinates; NaN where fewer than
    half are valid, since there the norm means nothing.

    `bend` is how far the gradient leaves its tangent over the way that the memory looks
    back, relative to the tangent: what the expansion neglects. `error` is the standard
    error of `direction` over random orders of batches, None without. `notes` are
    sentences on what the answer means where something is not smooth.
    """

    F: Parameters
    direction: Parameters
    memory: Parameters
    discretisation: Parameters
    validity: Parameters
    first: Share | None
    second: Share | None
    error: Parameters | None
    step_size: float = eqx.field(static=True)
    step: int | None = eqx.field(static=True)
    kind: Kind = eqx.field(static=True)
    share_valid: float = eqx.field(static=True)
    penalised: float = eqx.field(static=True)
    anti_penalised: float = eqx.field(static=True)
    spread: Spread = eqx.field(repr=False)
    ratio: float = eqx.field(static=True)
    cosine: float = eqx.field(static=True)
    bend: float = eqx.field(static=True)
    how: str = eqx.field(static=True)
    notes: tuple[str, ...] = eqx.field(static=True)

    @property
    def quantiles(self) -> tuple[float, ...]:
        """Of the validity, at 5, 25, 50, 75 and 95 %."""
        return self.spread.quantiles

    @property
    def velocity(self) -> Parameters:
        r"""$-F+hC$."""
        return jax.tree.map(lambda f, c: self.step_size * c - f, self.F, self.direction)

    @property
    def valid(self) -> bool:
        """Whether at least half of the coordinates are in the perturbative regime."""
        return self.share_valid >= ENOUGH

    @property
    def verdict(self) -> str:
        """In a sentence: outside the perturbative regime, or what is added."""
        low, middle, high = self.quantiles[1:4]
        if not self.valid:
            said = (
                f"outside the perturbative regime: {self.share_valid:.1%} of "
                f"coordinates have a correction below {VALID:g} of their step "
                f"(quartiles {low:.2g}, {middle:.2g}, {high:.2g})"
            )
            if self.first is not None and self.second is not None and self.first.valid:
                return (
                    f"{said}; the first moment's part alone is valid in "
                    f"{self.first.share_valid:.0%}, the second's in "
                    f"{self.second.share_valid:.0%}."
                )
            return f"{said}."
        if self.ratio == 0.0:
            return "nothing is added at this order."
        way = _way(self.penalised, self.anti_penalised)
        return (
            f"the correction is {self.ratio:.2g} of the step at cosine "
            f"{self.cosine:+.2f}, valid in {self.share_valid:.0%} of coordinates "
            f"(median {middle:.2g}); {way}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything but arrays, in types that JSON has."""
        parts = {
            name: None
            if part is None
            else {"share_valid": part.share_valid, "quantiles": part.quantiles}
            for name, part in (("first", self.first), ("second", self.second))
        }
        return plain({
            "kind": self.kind,
            "step_size": self.step_size,
            "step": self.step,
            "verdict": self.verdict,
            "share_valid": self.share_valid,
            "quantiles": self.quantiles,
            "penalised": self.penalised,
            "anti_penalised": self.anti_penalised,
            "ratio": self.ratio,
            "cosine": self.cosine,
            "bend": self.bend,
            "how": self.how,
            "notes": self.notes,
            **parts,
        })

    def __repr__(self) -> str:
        when = "in the limit" if self.step is None else f"at step {self.step}"
        lines = [
            f"Correction of the {self.kind} {when}, step size {self.step_size:g}: "
            f"{self.verdict}"
        ]
        if self.first is not None and self.second is not None:
            lines.append(f"  first moment: {self.first!r}; second: {self.second!r}")
        lines.append(f"  by {self.how}; gradients bend by {self.bend:.2g}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def _way(penalised: float, anti: float) -> str:
    if penalised >= 0.9:
        return f"it penalises the gradient's norm in {penalised:.0%} of these"
    if anti >= 0.9:
        return f"it anti-penalises the gradient's norm in {anti:.0%} of these"
    return (
        f"it penalises the gradient's norm in {penalised:.0%} of these and "
        f"anti-penalises it in {anti:.0%}"
    )
