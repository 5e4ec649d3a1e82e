"""Which norm first steps are steepest in, by family and by the power of their map."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from penchant.estimators.identification._box import AbstractBox
from penchant.estimators.identification._findings import Findings
from penchant.estimators.identification._gradients import generic
from penchant.estimators.identification._shape import Power, exponent, fit
from penchant.norms import (
    L1,
    L2,
    AbstractLp,
    AbstractNorm,
    Blockwise,
    Columnwise,
    Linf,
    Nuclear,
    Rowwise,
    lp,
    schatten,
)


def norm_of(
    box: AbstractBox, found: Findings, normalised: bool | None, seed: int
) -> tuple[AbstractNorm | None, tuple[float, float] | None]:
    """The norm in which first steps are steepest, and the exponents it lies between."""
    coupling, power, family = found.coupling, found.power, found.family
    assert coupling is not None
    if coupling.single and family == "entry-wise":
        return L1(), None
    u = box.first(found.scale * generic(box.shape, seed))
    if family == "unitarily invariant" and np.linalg.matrix_rank(u) == 1:
        return Nuclear(), None
    if power is None or not math.isfinite(power.alpha):
        return None, None
    p = _exponent(power)
    ends = (p, p) if power.exact else power.between
    if found.degree.degree == 1.0 and not power.exact:
        ends = None  # a linear map that is no power has no exponents
    straight = normalised or abs((found.degree.degree or 0.0) - 1.0) < 1e-6
    if family == "unitarily invariant":
        if not straight:
            return None, ends
        return (schatten(p) if p != 2.0 else L2()), ends
    if family in ("row-wise", "column-wise"):
        if not normalised:
            return None, ends
        kind = Rowwise if family == "row-wise" else Columnwise
        if math.isinf(p):
            return Linf(), ends
        return kind(lp(p), _over(box, found, lp(p), seed)), ends
    if family in ("entry-wise", "jointly normalised", "permutation-invariant"):
        if math.isinf(p) and power.alpha > -found.tolerance:
            # what few digits inside the rule do to signs is no power
            return Linf(), (p, p) if abs(power.alpha) <= found.tolerance else ends
        if power.alpha < 0:
            return None, None
        whole = coupling.factor or not normalised
        unit = normalised and coupling.factor
        linear = abs(power.alpha - 1.0) < 1e-6
        if linear and whole:
            return (L2(), ends) if _along(box, found, seed) else (None, None)
        return (lp(p), ends) if unit else (None, ends)
    return None, None


def _along(box: AbstractBox, found: Findings, seed: int) -> bool:
    """Whether first steps are the gradient's multiples, up or down."""
    for i in range(4):
        g = generic(box.shape, seed + i)
        u = box.first(found.scale * g)
        share = abs(float(np.sum(u * g))) / float(np.linalg.norm(u) * np.linalg.norm(g))
        if not share > 1.0 - found.tolerance:
            return False
    return True


def _exponent(power: Power) -> float:
    r"""The exponent of the norm; $\infty$ where the interval holds that."""
    low, high = power.interval
    if power.exact:
        near = power.p
        whole = round(near, 6) if math.isfinite(near) else near
        return whole if abs(near - whole) < 1e-6 * abs(near) else near
    if low <= 0.0 <= high or power.alpha <= 0:
        return math.inf
    return power.p


def _over(
    box: AbstractBox, found: Findings, inner: AbstractLp, seed: int
) -> AbstractLp:
    """How lines are combined: each on its own, or by an ℓp norm of their norms."""
    assert found.coupling is not None
    if found.coupling.single:
        return L1()
    if not found.coupling.factor:
        return Linf()
    xs, ys = [], []
    for i in range(4):
        g = generic(box.shape, seed + i) * np.exp(
            np.random.default_rng(seed + i).uniform(-2, 2, (box.shape[0], 1))
        )
        u = box.first(found.scale * g)
        dual = jax.vmap(inner.dual)(jnp.asarray(g))
        xs.append(np.asarray(dual))
        ys.append(np.asarray(jax.vmap(inner)(jnp.asarray(u))))
    power = fit(xs, ys, [np.full(len(x), i) for i, x in enumerate(xs)], 0.0)
    return lp(max(1.0, exponent(power.alpha)))


def in_blocks(found: Findings) -> AbstractNorm | None:
    """The largest root mean square of a block, where only blocks are coupled."""
    coupling = found.coupling
    if coupling is None or coupling.blocks is None:
        return None
    return Blockwise(coupling.blocks)
