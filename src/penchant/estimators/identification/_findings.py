"""All tests of a rule, in order: each needs what those before it found."""

import dataclasses
import math

import numpy as np

from penchant.estimators.identification._box import AbstractBox, StrangerError
from penchant.estimators.identification._coupling import Coupling, coupling
from penchant.estimators.identification._degree import (
    Degree,
    Threshold,
    degree,
    threshold,
)
from penchant.estimators.identification._formats import Format, formats
from penchant.estimators.identification._gradients import generic
from penchant.estimators.identification._memory import (
    Kernel,
    Scalars,
    Sizes,
    first_kernel,
    second_kernel,
)
from penchant.estimators.identification._replay import Fit, best
from penchant.estimators.identification._shape import (
    Power,
    of_entries,
    of_singular_values,
)
from penchant.estimators.identification._symmetry import Symmetry, symmetry
from penchant.estimators.identification._weights import OfWeights, dead, of_weights

REPLICATES = 8
"""Fresh starts of a rule that makes draws."""


@dataclasses.dataclass(frozen=True)
class Findings:
    """What each test of a black box found; None where one could not be made.

    `scale` is that of the gradients used, clear of ε. `rounding` is how far steps move
    when a gradient changes by 1e-9: what rounding inside the rule does. `spread` is
    the relative standard deviation of steps over fresh starts, 0 for a rule that makes
    no draws. `updates` counts them all.
    """

    degree: Degree
    scale: float
    rounding: float
    spread: float
    coupling: Coupling | None = None
    symmetry: Symmetry | None = None
    power: Power | None = None
    threshold: Threshold | None = None
    kernel: Kernel | None = None
    sizes: Sizes | None = None
    fit: Fit | None = None
    weights: OfWeights | None = None
    dead: str = ""
    formats: tuple[Format, ...] = ()
    off: float = math.nan
    updates: int = 0
    response: np.ndarray | None = None

    @property
    def tolerance(self) -> float:
        """Relative differences that rounding inside the rule explains."""
        return max(1e-6, 10.0 * self.rounding)

    @property
    def family(self) -> str:
        """Which changes of a gradient its steps follow, in words."""
        if self.spread > 0:
            return "random"
        if self.coupling is None or self.symmetry is None:
            return "unknown"
        pattern = self.coupling.pattern
        if pattern == "entries":
            return "jointly normalised" if self.coupling.factor else "entry-wise"
        if pattern == "rows":
            return "row-wise"
        if pattern == "columns":
            return "column-wise"
        if pattern == "cross":
            return "row and column factors"
        if pattern == "blocks":
            return "block-wise"
        left = self.symmetry.defects.get("left rotations", math.inf)
        right = self.symmetry.defects.get("right rotations", math.inf)
        if max(left, right) <= self.tolerance:
            return "unitarily invariant"
        if self.symmetry.holds("permutations", self.tolerance):
            return "permutation-invariant"
        return "unknown"

    @property
    def matrix(self) -> bool:
        """Whether the family is one of matrices' singular values."""
        return self.family == "unitarily invariant"


def first_look(box: AbstractBox, seed: int) -> float:
    """Whether the rule steps at all, finitely, and the spread over fresh starts.

    Raises:
        StrangerError: If it doesn't.
    """
    gradients = [generic(box.shape, seed + i) for i in range(4)]
    seen = box.run(gradients)
    if not np.isfinite(seen).all():
        raise StrangerError(
            "rule must return finite steps for gradients of size 1; got NaN or "
            "infinity."
        )
    if not np.any(seen):
        raise StrangerError(
            "rule must move the weights; four gradients of size 1 gave steps of 0."
        )
    again = box.run(gradients)
    if np.array_equal(seen, again):
        return 0.0
    several = np.stack([seen, again, *(box.run(gradients) for _ in range(REPLICATES))])
    spread = float(np.linalg.norm(np.std(several, axis=0)))
    return spread / float(np.linalg.norm(np.mean(several, axis=0)))


def ask(box: AbstractBox, seed: int) -> Findings:
    """Every test, with the gradients that a seed draws.

    Raises:
        StrangerError: If the rule can't be asked.
    """
    spread = first_look(box, seed)
    found = degree(box, seed)
    scale = found.scale if math.isfinite(found.scale) else 1.0
    if spread > 1e-9 or not np.any(box.first(scale * generic(box.shape, seed))):
        return Findings(found, scale, math.nan, spread, updates=box.updates)
    G = generic(box.shape, seed)
    touched = box.first(scale * G * (1.0 + 1e-9 * np.sign(generic(G.shape, seed + 5))))
    plain = box.first(scale * G)
    rounding = float(np.linalg.norm(touched - plain) / np.linalg.norm(plain))
    rounding = rounding if rounding > 1e-7 else 0.0
    early = Findings(
        found,
        scale,
        rounding,
        spread,
        coupling(box, scale, seed),
        symmetry(box, scale, seed),
    )
    limit = threshold(box, found, seed, matrix=early.matrix)
    if limit is not None and limit.kind == "clip":
        # what clips is another rule below: that one is looked at
        found = dataclasses.replace(found, degree=found.below, below=None, above=0.0)
        scale = 1e-3 * limit.scale
        early = dataclasses.replace(
            early,
            degree=found,
            scale=scale,
            coupling=coupling(box, scale, seed),
            symmetry=symmetry(box, scale, seed),
        )
    scalars = Scalars(box, scale * G)
    kernel = first_kernel(scalars)
    sizes: dict[bool, Sizes] = {}
    fit = None
    if found.degree is not None and math.isfinite(kernel.decay):
        none = Sizes(np.ones(1), "none", 0.0, 0.0)
        divided = abs(found.degree - 1.0) > 1e-6 and kernel.how != "threshold"
        for after in (False, True) if kernel.decay > 0 and divided else (False,):
            sizes[after] = none
            if divided:
                sizes[after] = second_kernel(scalars, kernel, found.degree, after)
        steps = 0.5 * (1.0 - found.degree)
        if kernel.how == "threshold":
            fit = None
        elif 0.0 <= kernel.decay < 1.0 and math.isfinite(steps):
            fit = best(scalars, kernel, sizes, found.degree, seed)
    chosen = sizes.get(fit.form.after) if fit is not None else sizes.get(False)
    return dataclasses.replace(
        early,
        power=_power(box, early, seed),
        threshold=limit,
        kernel=kernel,
        sizes=chosen,
        fit=fit,
        weights=of_weights(box, min(scale, 1e3), seed, early.tolerance),
        dead=dead(box, scale, seed),
        formats=formats(box, scale, seed),
        off=scalars.off,
        response=scalars(np.eye(1, 24)[0]),
        updates=box.updates,
    )


def _power(box: AbstractBox, tests: Findings, seed: int) -> Power | None:
    family = tests.family
    if family == "unitarily invariant":
        return of_singular_values(box, tests.scale, seed)
    if family in ("entry-wise", "jointly normalised", "permutation-invariant"):
        return of_entries(box, tests.scale, seed)
    if family in ("row-wise", "column-wise"):
        within = "rows" if family == "row-wise" else "columns"
        return of_entries(box, tests.scale, seed, within=within)
    return None
