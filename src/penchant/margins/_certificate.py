from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from penchant._checks import check_instance
from penchant._types import Numbers, Scalar, Weights
from penchant.margins._solvers import accurate
from penchant.margins._solvers.rows import PairRows
from penchant.margins._solvers.separate import separates
from penchant.norms import AbstractLp, AbstractNorm, AbstractSchatten, read
from penchant.problems import LinearClassification, of_dataset

Array = NDArray[np.float64]

SHARPNESSES = 96
"""Softmax temperatures among which the upper bound is sought."""

COARSE = 1e-6
"""A relative rounding error that a bound along a run may have counted in."""

TOGETHER = 4_000_000
"""Dual weights of several softmaxes that are in memory at once, at most."""

STRIDE = 6
"""Every so many are tried first, then those between the best and its neighbours."""


class Certificate(eqx.Module):
    r"""Two sides of the largest margin $\gamma$, from given weights and no solver.

    `margin` is that of the weights, $\min_iq_i(w)/\|w\|\le\gamma$; no weights beat
    `upper_bound` $\ge\gamma$. `gap` is 1 - margin / upper_bound: 0 means the weights
    are optimal, and it is above 1 where they misclassify a sample.
    """

    margin: Scalar
    upper_bound: Scalar
    gap: Scalar

    def __repr__(self) -> str:
        return (
            f"Certificate(margin={float(self.margin):.6g}, "
            f"upper_bound={float(self.upper_bound):.6g}, gap={float(self.gap):.2e})"
        )


def certify(
    problem: LinearClassification | object,
    weights: Numbers | object,
    norm: AbstractNorm | str,
) -> Certificate:
    r"""Bound the largest margin from both sides by the weights at hand.

    Any simplex weights $q$ of the rows $a_{ic}$ prove
    $\gamma\le\|\sum_{ic}q_{ic}a_{ic}\|_*$. Those of a softmax of the margins,
    $q\propto e^{-\tau m}$, are nearly optimal when the weights are; with $\tau$ such
    that $q$ are the loss's own slopes this is Lemma 1 of `fan2025spectral`. Here the
    best of 96 sharpnesses $\tau$ is taken, so the bound does not depend on the length
    of the weights. It never fails to be a bound; it is loose for weights that are far
    from optimal. Both are computed in twice the working precision where products
    nearly cancel, in the units of the problem, and rounding is counted in.

    >>> import penchant as pn
    >>> X = jnp.array([[1.0, 2.0], [2.0, 1.0]])
    >>> problem = pn.LinearClassification(
    ...     X, jnp.array([1, 1]), loss=pn.losses.Exponential()
    ... )
    >>> pn.certify(problem, jnp.array([1.0, 1.0]), pn.norms.Linf())
    Certificate(margin=3, upper_bound=3, gap=0.00e+00)

    Args:
        problem: Its data, or a `Dataset`; the loss plays no part.
        weights: Any weights but 0, of the problem's shape. For those of
            other frameworks, in every norm, there is [`examine`][penchant.examine].
        norm: The norm, or its name.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If the weights have another shape, are 0, or are not finite.
    """
    problem = of_dataset(problem)
    check_instance("problem", problem, LinearClassification, "a LinearClassification")
    assert isinstance(problem, LinearClassification)
    norm = read(norm)
    W = np.asarray(weights, dtype=float)
    if W.shape != problem.weight_shape:
        raise ValueError(
            f"weights must have shape {problem.weight_shape}; got {W.shape}."
        )
    if not np.isfinite(W).all() or not W.any():
        raise ValueError("weights must be finite and not all 0.")
    rows = PairRows.of(problem)
    _, margin = unit_margin(rows, norm, W)
    (q,) = softmaxes(problem, (norm,), W)
    upper = upper_bound(rows, norm, q)
    gap = 1.0 - margin / upper if upper > 0 else np.inf
    return Certificate(*map(jnp.asarray, (margin, upper, gap)))


def unit_margin(rows: PairRows, norm: AbstractNorm, W: Numbers) -> tuple[Array, float]:
    """Weights over their norm, of whatever length they were, and their margin.

    Over a power of two instead, which rounds nothing, where division by the norm would
    cost a positive margin its sign.
    """
    V, _ = accurate.unit_scale(np.asarray(W, dtype=float))
    length = float(norm(jnp.asarray(V)))
    if not length > 0:
        return V, 0.0
    unit = V / length
    # the margin of the weights that are shown, whose entries division has rounded
    m, error, e = accurate.least(rows, unit)
    if m - error <= 0 and separates(rows, V):
        m, _, e = accurate.least(rows, V)
        return V, float(np.ldexp(m / length, e))
    return unit, float(np.ldexp(m, e))


def upper_bound(
    rows: PairRows, norm: AbstractNorm, q: Numbers, fine: float = accurate.FINE
) -> float:
    r"""$\|A^\top q\|_*/\sum q$, rounding errors included where they count."""
    q = np.asarray(q, dtype=float)
    G, error, _ = accurate.mixture(rows, q, fine)
    G, e = accurate.unit_scale(G)
    error = accurate.scaled(error, -e)
    upper = float(norm.dual(jnp.asarray(G)))
    if not G.any() or error.sum() > 1e-14 * np.abs(G).max():
        upper += _dual_of(norm, error)
    return float(np.ldexp(upper / q.sum(), e))


def _dual_of(norm: AbstractNorm, error: Array) -> float:
    """No less than the dual norm of any array whose entries are at most these."""
    if isinstance(norm, AbstractLp):
        return float(norm.dual(jnp.asarray(error)))
    if isinstance(norm, AbstractSchatten):
        return float(error.sum())  # units have length 1
    unit = lambda i: jnp.zeros(error.size).at[i].set(1.0).reshape(error.shape)
    where = jnp.flatnonzero(error.ravel() > 0)
    if not where.size:
        return 0.0
    duals = np.asarray(jax.lax.map(lambda i: norm.dual(unit(i)), where))
    # a seminorm's is infinite along weights of length 0, and itself finite only where
    # nothing lies along them to its own tolerance
    finite = np.isfinite(duals)
    return float(duals[finite] @ error.ravel()[np.asarray(where)][finite])


def run_bounds(
    problem: LinearClassification, norms: Sequence[AbstractNorm], path: Numbers
) -> Array:
    """What the weights of each record prove of each norm's largest margin, `(r, l)`.

    Infinite where weights are 0 or not finite. All but the last are good to `COARSE`
    at least, rounding counted in; the last is as [`certify`][penchant.certify] has it.
    """
    path = np.asarray(path, dtype=float)
    rows = PairRows.of(problem)
    bounds = np.full((len(path), len(norms)), np.inf)
    for i, W in enumerate(path):
        if not W.any() or not np.isfinite(W).all():
            continue
        fine = accurate.FINE if i == len(path) - 1 else COARSE
        for j, q in enumerate(softmaxes(problem, norms, W)):
            bounds[i, j] = upper_bound(rows, norms[j], q, fine)
    return bounds


def softmaxes(
    problem: LinearClassification, norms: Sequence[AbstractNorm], W: Numbers
) -> list[Array]:
    """For each norm the best dual weights `(n, c)` among softmaxes of `W`'s margins."""
    # over powers of two: no length of weights, and no unit of data, overflows
    V, _ = accurate.unit_scale(np.asarray(W, dtype=float))
    X, _ = accurate.unit_scale(np.asarray(problem.X))
    near = eqx.tree_at(lambda p: p.X, problem, jnp.asarray(X))
    found = []
    for best in _softmaxes(near, jnp.asarray(V), tuple(norms)):
        q = np.array(best)
        q[q < 1e-18 * q.max()] = 0.0  # less than the rounding of the others
        found.append(q / q.sum())
    return found


@eqx.filter_jit
def _softmaxes(
    problem: LinearClassification, w: Weights, norms: tuple[AbstractNorm, ...]
) -> list[Float[jax.Array, "n c"]]:
    margins = problem.pair_margins(w)
    least = jnp.min(margins)
    finite = jnp.where(jnp.isinf(margins), -jnp.inf, margins)
    spread = jnp.maximum(jnp.max(finite) - least, 1e-300)
    # between weights that are all alike and weights on the least margin alone
    sharpness = jnp.geomspace(1e-2, 1e8, SHARPNESSES) / spread

    def weights(tau: Scalar) -> Float[jax.Array, "n c"]:
        q = jnp.exp(-tau * (margins - least))
        return q / jnp.sum(q)

    mixture = lambda i: problem.pull(weights(sharpness[i]))
    some = max(1, min(STRIDE, TOGETHER // margins.size))
    mixtures = lambda at: jax.lax.map(mixture, at, batch_size=some)
    # the bound is flat near equal weights, then falls and rises once: a quarter of the
    # products find the same one. A narrower valley is missed where weights are still
    # about as good as equal ones; the bound is then looser, and still a bound.
    coarse = jnp.arange(0, SHARPNESSES, STRIDE)
    tried = mixtures(coarse)
    found = []
    for norm in norms:
        bounds = lambda G, norm=norm: jax.lax.map(norm.dual, G)
        near = coarse[jnp.argmin(bounds(tried))] + jnp.arange(1 - STRIDE, STRIDE)
        near = jnp.clip(near, 0, SHARPNESSES - 1)
        found.append(weights(sharpness[near[jnp.argmin(bounds(mixtures(near)))]]))
    return found
