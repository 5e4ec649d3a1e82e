"""How near parameters are to a KKT point of a margin problem, for networks too."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Bool, Float
from numpy.typing import NDArray

from penchant._checks import check_count, check_instance, check_number
from penchant._types import Parameters, PerSample, Real, Scalar
from penchant.margins._gates import Gates, distance
from penchant.margins._separability import NotSeparatedError
from penchant.margins._solvers.least_spectral import least_spectral
from penchant.margins.geometry import (
    Euclidean,
    Geometry,
    SpectralLayers,
    geometry_of,
    is_spectral,
)
from penchant.margins.gradients import Pairs, flat_margins, pair_gradients
from penchant.norms import L2, AbstractNorm, Layerwise
from penchant.problems import AbstractClassification

MOST_ROWS = 5000
"""Margins that the residual over all samples takes, the least ones."""

RADIUS = 1e-7
"""Relative distance at which gradients near a kink are sampled."""

DISTINCT = 1e-4
"""Relative distance from which two gradients of one margin count as two."""

LARGEST_SAMPLE = 20_000_000
"""Numbers that sampled gradients may hold."""


class KKT(eqx.Module):
    r"""Residuals of the KKT conditions of $\min\frac12\|w\|^2$ s.t. $q_{ic}(w)\ge1$.

    All are scale-free, and taken at $\tilde w=w/q_{\min}^{1/L}$, in the coordinates in
    which the norm is Euclidean ($v=\sqrt M\odot w$ where it is weighted):

    - `dynamic`: $\|\tilde w-\sum\lambda_{ic}\nabla q_{ic}\|/\|\tilde w\|$ with the
      multipliers that the loss gives, which is $\sqrt{2(1-\cos)}$ of the angle between
      parameters and negative gradient (`lyu2020gradient`, `ji2020directional`).
    - `least_squares`: the least there is with $\lambda\ge0$ on all margins. Alone it is
      not enough: weight may sit on margins that are not least, hence
    - `slackness`: the share $\sum\lambda(q-1)/\sum\lambda q$ of such weight in
      `dynamic`.
    - `active`: the least with $\lambda\ge0$ on margins of at most
      $(1+\text{tol})q_{\min}$ alone.
    - `residual`: `active` over Clarke's generalised gradients: where units sit at a
      kink, any mixture of the gradients around counts. `kinks` margins have several.
    - `gap`: $\min_\lambda\|w\|\,\|n\|_*/\langle n,w\rangle-1\ge0$ with
      $n=\sum\lambda\nabla q$ over the same, in any norm; 0 if and only if the point is
      a KKT point of that norm. An upper bound of it for a norm per layer that is not
      the spectral one.

    In other than (weighted) Euclidean norms only `gap`, `margin` and `kinks` mean
    something; the residuals are NaN, and `residual` is the gap.

    `margin` is $q_{\min}/\|w\|^L$; `multipliers` `(n,)` those of `residual`, as shares.
    A KKT point is a first-order statement: for networks no margin is said to be
    largest. For linear problems (`certify`) it is.
    """

    margin: Scalar
    residual: Scalar
    gap: Scalar
    dynamic: Scalar
    least_squares: Scalar
    active: Scalar
    slackness: Scalar
    multipliers: PerSample
    support: Bool[Array, " n"]
    kinks: int = eqx.field(static=True)
    norm: AbstractNorm

    def __repr__(self) -> str:
        return (
            f"KKT({self.norm.label}: margin={float(self.margin):.7g}, "
            f"residual={float(self.residual):.2e}, gap={float(self.gap):.2e}, "
            f"support={int(self.support.sum())}, kinks={self.kinks})"
        )


def kkt(
    problem: AbstractClassification,
    weights: Parameters,
    norm: AbstractNorm = L2(),
    *,
    tol: Real = 1e-3,
    draws: int = 32,
    kink: Real = RADIUS,
) -> KKT:
    r"""Certify how far parameters are from a KKT point of a norm's margin problem.

    >>> import penchant as pn
    >>> network = pn.networks.MLP((2, 1, 1), pn.networks.Identity())
    >>> w = [{"W": jnp.array([[1.0, 1.0]])}, {"W": jnp.array([[2.0**0.5]])}]
    >>> problem = pn.NetworkClassification(
    ...     network, w, [[1.0, 0.0], [0.0, 1.0]], [1, 1], loss=pn.losses.Logistic()
    ... )
    >>> bool(pn.kkt(problem, w).residual < 1e-7)
    True

    Args:
        problem: With a degree of homogeneity.
        weights: Parameters that classify every sample.
        norm: L2, Mahalanobis with one weight a parameter, Linf, Spectral for parameters
            that are one matrix, or `Layerwise(Spectral())`, of all parameters together.
        tol: Relative slack within which margins count as least.
        draws: Gradients sampled about the parameters to find kinks, within a relative
            distance of $10^{-7}$ (gradient sampling, `burke2005sampling`). They may
            miss a rare one; what they find is a subset, so residuals are upper bounds.
        kink: Relative distance within which a unit counts as at its kink, in place of
            $10^{-7}$. A `networks.TwoLayer` of power 1 and an `MLP` with one hidden
            layer of ReLUs tell their gates: there units
            with inputs of at most this share of the largest have any slope in [0, 1]
            (`frei2023double`), and the residual is the least over all of them, a convex
            quadratic program, without sampling. A run of finite steps leaves units
            within 1e-3 to 1e-2 of their kinks, not at them: at 0 its residual stalls.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range, or the weights have another shape.
        NotHomogeneousError: If the problem has no degree.
        NotSeparatedError: If a sample is on the wrong side.
    """
    check_instance(
        "problem",
        problem,
        AbstractClassification,
        "a LinearClassification or a NetworkClassification",
    )
    check_instance("norm", norm, AbstractNorm, "one of penchant.norms")
    check_number("tol", tol, above=0.0)
    check_number("kink", kink, above=0.0, below=1.0)
    draws = check_count("draws", draws)
    degree = problem.require_degree()
    tree = problem.read(weights)
    w = np.asarray(problem.flat(tree))
    q = np.asarray(flat_margins(problem, jnp.asarray(w)))
    least = float(q.min())
    if not least > 0:
        raise NotSeparatedError(problem, tree)
    w, q = w * least ** (-1.0 / degree), q / least
    near = _pairs(q <= 1.0 + tol)
    other = isinstance(norm, Layerwise) and not is_spectral(norm)
    geometry = None if other else geometry_of(norm, problem)
    told = None
    if isinstance(geometry, Euclidean):
        told = Gates.of(problem, w, near, float(kink))
    if told is None:
        J, owner, kinks = _generalised(problem, w, near, draws, float(kink))
    else:
        J, owner, kinks = told.plain(), np.arange(len(near[0])), told.kinks

    nan = np.nan
    dynamic = least_squares = active = slackness = nan
    if isinstance(norm, Layerwise) and geometry is None:
        size = float(norm(problem.unflat(jnp.asarray(w))))
        gap, shares = _layerwise_gap(problem, norm, J, w)
        residual = gap
    else:
        assert geometry is not None
        v = geometry.there(w)
        size = geometry.length(v)
        if isinstance(geometry, Euclidean):
            dynamic, slackness = _dynamic(problem, geometry, tree, v, q)
            rows = _least(q, MOST_ROWS)
            everything = geometry.covariant(_at(problem, w, rows))
            least_squares = distance(everything, v)[0] / size
            single = geometry.covariant(_at(problem, w, near))
            active = distance(single, v)[0] / size
            if told is not None:
                J, owner = told.generated(geometry, v)
            off, shares = distance(geometry.covariant(J), v)
            residual = min(off / size, active)
            n = shares @ geometry.covariant(J)
            inner = float(n @ v)
            gap = size * float(np.linalg.norm(n)) / inner - 1.0 if inner > 0 else np.inf
        elif isinstance(geometry, SpectralLayers):
            gap, shares = _spectral_gap(geometry, J, w)
            residual = gap
        else:
            gap, shares = _largest_gap(J, w)
            residual = gap
    multipliers = np.zeros(problem.samples)
    np.add.at(multipliers, near[0][owner], shares)
    multipliers /= multipliers.sum() or 1.0
    return KKT(
        margin=jnp.asarray(size**-degree),
        residual=jnp.asarray(residual),
        gap=jnp.asarray(max(gap, 0.0)),
        dynamic=jnp.asarray(dynamic),
        least_squares=jnp.asarray(least_squares),
        active=jnp.asarray(active),
        slackness=jnp.asarray(slackness),
        multipliers=jnp.asarray(multipliers),
        support=jnp.asarray(multipliers > 1e-6 * multipliers.max(initial=0.0)),
        kinks=kinks,
        norm=norm,
    )


def _at(
    problem: AbstractClassification, w: NDArray[np.float64], pairs: Pairs
) -> NDArray[np.float64]:
    return pair_gradients(problem, jnp.asarray(w), pairs)


def _least(q: NDArray[np.float64], most: int) -> Pairs:
    """The pairs of the least margins, at most so many."""
    finite = np.isfinite(q)
    if finite.sum() > most:
        finite &= q <= np.partition(q[finite], most - 1)[most - 1]
    return _pairs(finite)


def _pairs(which: NDArray[np.bool_]) -> Pairs:
    samples, opponents = np.nonzero(which)
    return samples, opponents


def _generalised(
    problem: AbstractClassification,
    w: NDArray[np.float64],
    pairs: Pairs,
    draws: int,
    radius: float,
) -> tuple[NDArray[np.float64], NDArray[np.intp], int]:
    """Distinct gradients around `w`, whose margin each is, and how many have kinks."""
    J = _at(problem, w, pairs)
    draws = max(1, min(draws, LARGEST_SAMPLE // max(J.size, 1)))
    rng = np.random.default_rng(0)
    length = np.linalg.norm(w)
    found = [J]
    owners = [np.arange(len(J))]
    sizes = np.linalg.norm(J, axis=1)
    several = np.zeros(len(J), dtype=bool)
    for _ in range(draws):
        away = rng.normal(size=w.size)
        other = _at(problem, w + radius * length / np.linalg.norm(away) * away, pairs)
        fresh = np.ones(len(J), dtype=bool)
        for G, owner in zip(found, owners, strict=True):
            off = np.linalg.norm(G - other[owner], axis=1)
            fresh[owner[off <= DISTINCT * sizes[owner]]] = False
        if fresh.any():
            several |= fresh
            found.append(other[fresh])
            owners.append(np.flatnonzero(fresh))
    return np.concatenate(found), np.concatenate(owners), int(several.sum())


def _dynamic(
    problem: AbstractClassification,
    geometry: Geometry,
    tree: Parameters,
    v: NDArray[np.float64],
    q: NDArray[np.float64],
) -> tuple[float, float]:
    """The angle to the loss's own gradient, and the slack its multipliers leave."""
    gradient = problem.scaled_gradient(tree)
    down = -np.asarray(problem.flat(gradient.direction))
    down = geometry.covariant(down[None])[0]
    size = float(np.linalg.norm(down))
    if size == 0:
        return np.nan, np.nan
    # 1 - cos by the difference of unit vectors: cos itself has lost its digits
    off = float(np.linalg.norm(v / np.linalg.norm(v) - down / size))
    slopes = np.asarray(_slopes(problem, tree))
    slack = np.where(np.isfinite(q), q, 1.0)
    return off, float((slopes * (slack - 1.0)).sum() / (slopes * slack).sum())


@eqx.filter_jit
def _slopes(problem: AbstractClassification, tree: Parameters) -> Float[Array, "n c"]:
    return problem.loss.scaled_slopes(problem.pair_margins(tree)).entries


def _largest_gap(
    J: NDArray[np.float64], w: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    r"""The least $\|w\|_\infty\|n\|_1/\langle n,w\rangle-1$, a linear program."""
    m, p = J.shape
    scale = np.abs(J).max()
    # n = sum of rows, |n| <= s entry by entry, <n, w> = 1
    G = J / scale
    A = scipy.sparse.bmat(
        [[G.T, -scipy.sparse.eye(p)], [-G.T, -scipy.sparse.eye(p)]], format="csr"
    )
    inner = np.concatenate([G @ w, np.zeros(p)])
    cost = np.concatenate([np.zeros(m), np.ones(p)])
    found = scipy.optimize.linprog(
        cost,
        A_ub=A,
        b_ub=np.zeros(2 * p),
        A_eq=inner[None],
        b_eq=[1.0],
        bounds=(0, None),
        method="highs",
    )
    if found.x is None:
        return np.inf, np.ones(m)
    shares = found.x[:m]
    n = shares @ G
    return float(np.abs(w).max() * np.abs(n).sum() / (n @ w) - 1.0), shares


def _spectral_gap(
    geometry: SpectralLayers, J: NDArray[np.float64], w: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    r"""The least $\|w\|\,\|n\|_*/\langle n,w\rangle-1$, by its dual problem.

    With $\langle n,w\rangle=1$ that is $\|w\|$ over the length of the shortest $x$ with
    $Jx\ge Jw$, whose multipliers are the shares. Any shares bound the gap from above.
    """
    shares = least_spectral(J, J @ w, geometry.shapes).dual
    n = shares @ J
    inner = float(n @ w)
    if not inner > 0:
        return np.inf, np.ones(len(J))
    return geometry.length(w) * geometry.dual_length(n) / inner - 1.0, shares


def _layerwise_gap(
    problem: AbstractClassification,
    norm: Layerwise,
    J: NDArray[np.float64],
    w: NDArray[np.float64],
) -> tuple[float, NDArray[np.float64]]:
    """A small value of the gap of a norm per layer: a bound from above of the least."""
    tree = problem.unflat(jnp.asarray(w))
    size = norm(tree)
    rows = jnp.asarray(J / np.abs(J).max())
    inner = rows @ jnp.asarray(w)

    @jax.jit
    def gap(shares: Any) -> tuple[Scalar, Any]:
        def value(shares: Array) -> Scalar:
            n = problem.unflat(shares @ rows)
            return size * norm.dual(n) / (shares @ inner) - 1.0

        return jax.value_and_grad(value)(shares)

    def both(shares: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, slope = gap(jnp.asarray(shares))
        return float(value), np.asarray(slope)

    # a ratio, so shares are free in scale; start even, and with each of the first rows
    best, at = np.inf, np.ones(len(J))
    starts = [np.ones(len(J))]
    starts += [np.eye(len(J))[i] + 1e-3 for i in range(min(len(J), 8))]
    for start in starts:
        found = scipy.optimize.minimize(
            both, start, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * len(J)
        )
        if np.isfinite(found.fun) and found.fun < best:
            best, at = float(found.fun), found.x
    return best, at
