"""All tests of a rule, in order: each needs what those before it found."""

import dataclasses
import math
from typing import TypeVar

import numpy as np

from penchant.estimators.identification._box import AbstractBox, StrangerError
from penchant.estimators.identification._coupling import Coupling, coupling
from penchant.estimators.identification._degree import (
    Degree,
    Threshold,
    bounds_steps,
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
from penchant.estimators.identification._noise import Noise, noise
from penchant.estimators.identification._replay import Fit, best
from penchant.estimators.identification._shape import (
    Power,
    of_entries,
    of_singular_values,
)
from penchant.estimators.identification._symmetry import Symmetry, symmetry
from penchant.estimators.identification._trees import Trees, trees
from penchant.estimators.identification._weights import OfWeights, dead, of_weights

T = TypeVar("T")

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
    above a break of the degree. `updates` counts them all, and `tally` those of each
    test. `origin` says that steps at weights of 0 are of another kind, as with trust
    ratios, so that all was asked at other weights.
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
    noise: Noise | None = None
    trees: Trees | None = None
    tally: dict[str, int] = dataclasses.field(default_factory=dict)
    origin: bool = False

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


class _Tally:
    """Updates a test, by its name."""

    def __init__(self, box: AbstractBox):
        self.box, self.before = box, box.updates
        self.counts: dict[str, int] = {}

    def __call__(self, name: str, found: T) -> T:
        """What a test found, whose updates are those since the last one."""
        new = self.box.updates - self.before
        self.counts[name] = self.counts.get(name, 0) + new
        self.before = self.box.updates
        return found


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def ask(box: AbstractBox, seed: int) -> Findings:
    """Every test, with the gradients that a seed draws.

    Where steps are as long as the weights, at weights other than 0.

    Raises:
        StrangerError: If the rule can't be asked.
    """
    tally = _Tally(box)
    spread = tally("first look", first_look(box, seed))
    found = _all(box, seed, spread, tally)
    if found.weights is None or found.weights.kind != "length":
        return found
    rng = np.random.default_rng(seed + 17)
    w = box.origin = rng.standard_normal(box.shape)
    still = box.run(np.zeros((1, *box.shape)))[0]
    share = -float(np.sum(still * w) / np.sum(w * w))
    if np.linalg.norm(still + share * w) <= 1e-6 * abs(share) * np.linalg.norm(w):
        box.beside = share
    # a length that is fixed hides ε, which was seen before
    again = _all(box, seed, spread, tally, found.scale)
    weights = dataclasses.replace(found.weights, rate=box.beside)
    return dataclasses.replace(again, weights=weights, origin=True)


def _all(
    box: AbstractBox, seed: int, spread: float, tally: _Tally, least: float = 0.0
) -> Findings:
    """Every test at the box's origin, at gradients of this scale at least."""
    box.warm = tally("warm-up", _warm(box, seed))
    found = tally("degree", degree(box, seed))
    scale = max(least, found.scale if math.isfinite(found.scale) else 1.0)
    if spread > 1e-9 or not np.any(box.first(scale * generic(box.shape, seed))):
        return Findings(
            found, scale, math.nan, spread, updates=box.updates, tally=tally.counts
        )
    early = _geometry(box, found, scale, seed, spread, tally)
    limit = threshold(box, found, seed, matrix=early.matrix)
    tally("threshold", limit)
    if limit is not None and limit.kind == "clip":
        if bounds_steps(box, limit, seed, matrix=early.matrix):
            limit = dataclasses.replace(limit, kind="bound")
        # what clips is another rule below: that one is looked at
        found = dataclasses.replace(found, degree=found.below, below=None)
        scale = 1e-3 * limit.scale
        early = _geometry(box, found, scale, seed, spread, tally)
    scalars = Scalars(box, scale * generic(box.shape, seed))
    kernel, sizes, fit = _memory(scalars, found, early.rounding, seed, tally)
    power = tally("power", _power(box, early, seed))
    weights = None
    if box.origin is None:
        size = min(scale, 1e3)
        weights = of_weights(box, size, seed, early.tolerance, found.degree)
        tally("weights", weights)
    response = tally("impulse", scalars(np.eye(1, 24)[0]))
    above = None if found.breaks is None else symmetry(box, 1e6 * found.breaks, seed)
    early = dataclasses.replace(
        early,
        power=power,
        threshold=limit,
        kernel=kernel,
        sizes=sizes,
        fit=fit,
        weights=weights,
        dead=tally("dead coordinate", dead(box, scale, seed)),
        formats=tally("formats", formats(box, scale, seed)),
        off=scalars.off,
        response=response,
        warm=box.warm,
        above=tally("above", above),
        noise=tally("noise", noise(box, scale, seed)),
        trees=tally("trees", trees(box, scale, seed)),
        tally=tally.counts,
    )
    return dataclasses.replace(early, updates=sum(tally.counts.values()))


def _geometry(
    box: AbstractBox,
    found: Degree,
    scale: float,
    seed: int,
    spread: float,
    tally: _Tally,
) -> Findings:
    """What first steps have to do with which coordinates, at one scale."""
    still = float(np.linalg.norm(box.run(np.zeros((1, *box.shape)))))
    drift = still / max(
        float(np.linalg.norm(box.first(generic(box.shape, seed)))), 1e-300
    )
    return Findings(
        found,
        scale,
        tally("rounding", _rounding(box, scale, seed)),
        spread,
        tally("coupling", coupling(box, scale, seed)),
        tally("symmetry", symmetry(box, scale, seed)),
        # 0/0 is told apart, by `dead`
        drift=drift if math.isfinite(drift) else 0.0,
    )


def _memory(
    scalars: Scalars, found: Degree, rounding: float, seed: int, tally: _Tally
) -> tuple[Kernel, Sizes | None, Fit | None]:
    """Weights of gradients and of squares by age, and the form that fits best."""
    kernel = tally("first memory", first_kernel(scalars, rounding))
    orders: dict[bool, tuple[Kernel, Sizes]] = {}
    fit = None
    if found.degree is not None and kernel.how != "threshold":
        kernels = {False: kernel}
        divided = abs(found.degree - 1.0) > 1e-6
        if kernel.how == "linear" and divided:
            kernels[True] = tally("first memory", kernel_after(scalars))
        for after, each in kernels.items():
            sizes = Sizes(np.ones(1), "none", 0.0, 0.0)
            if divided and math.isfinite(each.decay):
                sizes = second_kernel(scalars, each, found.degree, after)
            orders[after] = each, sizes
        tally("second memory", orders)
        fit = tally("fit", best(scalars, orders, found.degree, seed))
    order = fit is not None and fit.form.after and fit.misfit < 1e-6
    if order in orders:
        return *orders[order], fit
    return kernel, None, fit


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
    if abs(slopes["zeros"] - slopes[""]) > 0.3:
        return "zeros"
    return "again" if abs(slopes["again"] - slopes[""]) > 0.9 else ""


def _rounding(box: AbstractBox, scale: float, seed: int) -> float:
    """How coarse a rule computes: second differences, which smooth maps do not have.

    Those of a map that bends are four times as large over twice the distance.
    """
    G = scale * generic(box.shape, seed)
    noise = np.random.default_rng(seed + 5).standard_normal(G.shape)
    u = box.first(G)
    size = float(np.linalg.norm(u))

    def second(step: float) -> float:
        up, down = (box.first(G * (1.0 + s * step * noise)) for s in (1.0, -1.0))
        return float(np.linalg.norm(up + down - 2.0 * u)) / size

    coarse = 0.0
    for step, smooth in ((1e-4, 1e-5), (1e-6, 1e-8)):
        seen = second(step)
        if seen > smooth and abs(second(2.0 * step) / seen - 4.0) > 0.2:
            coarse = max(coarse, seen)
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
