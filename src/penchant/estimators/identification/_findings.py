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
    kernel_after,
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

    `scale` is that of the gradients used, clear of ε. `rounding` is how far steps are
    from smooth in the gradient: what few digits inside the rule do. `spread` is
    the relative standard deviation of steps over fresh starts, 0 for a rule that makes
    no draws. `drift` is the length of a step for a gradient of 0, as a share of that
    for one of size 1. `warm` says what came before the steps of which the geometry was
    read, where the very first are of another kind. `above` are the symmetries
    above a break of the degree. `updates` counts them all.
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
    drift: float = 0.0
    warm: str = ""
    above: Symmetry | None = None
    response: np.ndarray | None = None

    @property
    def tolerance(self) -> float:
        """Relative differences that rounding inside the rule explains."""
        return min(0.2, max(1e-6, 10.0 * self.rounding))

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
    box.warm = _warm(box, seed)
    found = degree(box, seed)
    scale = found.scale if math.isfinite(found.scale) else 1.0
    if spread > 1e-9 or not np.any(box.first(scale * generic(box.shape, seed))):
        return Findings(found, scale, math.nan, spread, updates=box.updates)
    G = generic(box.shape, seed)
    rounding = _rounding(box, scale, seed)
    still = float(np.linalg.norm(box.run(np.zeros((1, *box.shape)))))
    drift = still / max(float(np.linalg.norm(box.first(G))), 1e-300)
    drift = drift if math.isfinite(drift) else 0.0  # 0/0 is told apart, by `dead`
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
        found = dataclasses.replace(found, degree=found.below, below=None)
        scale = 1e-3 * limit.scale
        early = dataclasses.replace(
            early,
            degree=found,
            scale=scale,
            coupling=coupling(box, scale, seed),
            symmetry=symmetry(box, scale, seed),
        )
    scalars = Scalars(box, scale * G)
    kernel = first_kernel(scalars, rounding)
    orders: dict[bool, tuple[Kernel, Sizes]] = {}
    fit = None
    if found.degree is not None and kernel.how != "threshold":
        kernels = {False: kernel}
        divided = abs(found.degree - 1.0) > 1e-6
        if kernel.how == "linear" and divided:
            kernels[True] = kernel_after(scalars)
        for after, each in kernels.items():
            sizes = Sizes(np.ones(1), "none", 0.0, 0.0)
            if divided and math.isfinite(each.decay):
                sizes = second_kernel(scalars, each, found.degree, after)
            orders[after] = each, sizes
        fit = best(scalars, orders, found.degree, seed)
    order = fit is not None and fit.form.after and fit.misfit < 1e-6
    if order in orders:
        kernel = orders[order][0]
    chosen = orders[order][1] if order in orders else None
    return dataclasses.replace(
        early,
        power=_power(box, early, seed),
        threshold=limit,
        kernel=kernel,
        sizes=chosen,
        fit=fit,
        weights=of_weights(box, min(scale, 1e3), seed, early.tolerance, found.degree),
        dead=dead(box, scale, seed),
        formats=formats(box, scale, seed),
        off=scalars.off,
        response=scalars(np.eye(1, 24)[0]),
        drift=drift,
        warm=box.warm,
        above=None if found.breaks is None else symmetry(box, 1e6 * found.breaks, seed),
        updates=box.updates,
    )


def _warm(box: AbstractBox, seed: int) -> str:
    """What has to come first for a step to be of the kind that later ones are.

    Rules that warm up differ in degree; those that compare gradients need two.
    """
    G = generic(box.shape, seed)
    length = lambda g: float(np.linalg.norm(box.first(g)))
    slopes = {}
    for warm in ("", "zeros", "again"):
        box.warm = warm
        one, ten = length(G), length(10.0 * G)
        good = one > 0 and math.isfinite(one * ten) and ten > 0
        slopes[warm] = math.log10(ten / one) if good else math.nan
    box.warm = ""
    if not math.isfinite(slopes[""]):
        return next((w for w in ("zeros", "again") if math.isfinite(slopes[w])), "")
    later = slopes["zeros"]
    return "zeros" if abs(later - slopes[""]) > 0.3 else ""


def _rounding(box: AbstractBox, scale: float, seed: int) -> float:
    """How coarse a rule computes: second differences, which smooth maps do not have."""
    G = scale * generic(box.shape, seed)
    noise = np.random.default_rng(seed + 5).standard_normal(G.shape)
    u = box.first(G)
    size = float(np.linalg.norm(u))
    coarse = 0.0
    for step, smooth in ((1e-4, 1e-5), (1e-6, 1e-8)):
        up, down = (box.first(G * (1.0 + s * step * noise)) for s in (1.0, -1.0))
        second = float(np.linalg.norm(up + down - 2.0 * u)) / size
        coarse = max(coarse, second if second > smooth else 0.0)
    return coarse


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
