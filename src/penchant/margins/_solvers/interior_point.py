r"""Maximum margins by a primal--dual interior-point method, in any norm.

Written without a scale, the problem is

$$\min_W\ \tfrac12\|W\|^2\quad\text{such that}\quad AW\ge1,$$

with the maximum margin $\gamma=1/\|W\|$ and multipliers $\lambda\ge0$ of length
$\sum\lambda=\|W\|^2$; $q=\lambda/\sum\lambda$ are the dual weights on the simplex. The
optimality system $A^\top\lambda\in\partial\frac12\|W\|^2$, $AW-1=z$, $\lambda z=\mu$
is solved by Newton steps with Mehrotra's predictor and corrector. Rows are never
formed: a step costs $O(nkd^2)$ for $A^\top DA$ and one factorisation of size $kd$; with
fewer rows than weights, and an entry-wise norm, one of the number of rows.

Any iterate bounds the optimum from both sides, so the method is stopped by a
certificate and not by its own residuals.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy
from numpy.typing import NDArray

from penchant._types import Tree
from penchant.margins._solvers.conjugates import Conjugate, Diagonal, factorise, longest
from penchant.margins._solvers.rows import PairRows

Array = NDArray[np.float64]
Length = Callable[[Array], float]

MOST_STEPS = 100
PATIENCE = 15  # steps in a row that better neither bound
HOLD = 0.3  # least share of mu that is kept while the norm is still approached
TO_THE_BOUNDARY = 0.99
FIRST_SCALE = 5.0  # the optimum is usually longer than its first bound: start longer


@dataclasses.dataclass
class Bounds:
    """Weights, dual weights, and the bounds on the margin that they prove."""

    W: Array
    q: Array  # (n, c), on the simplex
    lower: float = -np.inf  # the margin of W / ||W||
    upper: float = np.inf  # ||A^T q||_*

    @property
    def gap(self) -> float:
        r"""$1-\text{lower}/\text{upper}$; infinite where no bound is positive."""
        return 1.0 - self.lower / self.upper if self.upper > 0 else np.inf

    def offer(self, W: Array, lower: float, q: Array, upper: float) -> bool:
        """Take what betters a bound; whether either got better noticeably."""
        before = (self.lower, self.upper)
        if lower > self.lower:
            self.W, self.lower = W, float(lower)
        if upper < self.upper:
            self.q, self.upper = q, float(upper)
        scale = 1e-3 * max(self.upper - self.lower, 1e-15 * self.upper)
        return self.lower - before[0] > scale or before[1] - self.upper > scale


@dataclasses.dataclass
class _Iterate:
    W: Array
    z: Array  # slacks of AW >= 1, infinite where no row exists
    lam: Array  # multipliers of the rows
    G: Array  # A' lam


def interior_point(
    rows: PairRows,
    conjugate: Conjugate,
    norm: Length,
    dual: Length,
    *,
    of_weights: bool,
    tol: float,
    floor: float,
) -> Bounds:
    """The best bounds met, once their gap is at most `tol` or no step helps.

    Args:
        rows: The margins.
        conjugate: The map of `norm`, or, unless `of_weights`, that of `dual`.
        norm: The norm.
        dual: Its dual.
        of_weights: Which of the two.
        tol: Relative gap to stop at.
        floor: Stop once the upper bound is below it: the data are not separable.
    """
    real = rows.real
    lam = np.where(real, 1.0 / rows.count, 0.0)
    G = rows.adjoint(lam)
    first, length = dual(G), norm(G)
    best = Bounds(G, lam)
    best.offer(G, -np.inf, lam, first)
    if first <= floor or not G.any():
        return best
    if not (np.isfinite(first) and length > 0):  # a seminorm: any scale will do
        first = length = float(np.linalg.norm(G))
    lam *= (FIRST_SCALE / first) ** 2
    at = _Iterate(
        W=G * (FIRST_SCALE / (length * first)),
        z=np.where(real, 1.0, np.inf),
        lam=lam,
        G=rows.adjoint(lam),
    )
    conjugate.start(at.W if of_weights else at.G)
    waited = 0
    for _ in range(MOST_STEPS):
        margins, total = rows.apply(at.W), at.lam.sum()
        length = norm(at.W)
        lower = margins[real].min() / length if length > 0 else -np.inf
        better = best.offer(at.W, lower, at.lam / total, dual(at.G) / total)
        waited = 0 if better else waited + 1
        if best.gap <= tol or best.upper <= floor or waited >= PATIENCE:
            break
        try:
            with np.errstate(all="ignore"):
                following = _step(rows, conjugate, of_weights, at, margins, real)
        except scipy.linalg.LinAlgError:
            break  # singular to rounding: there is no better point to be had
        if following is None:
            break
        at = following
    return best


def _step(
    rows: PairRows,
    conjugate: Conjugate,
    of_weights: bool,
    at: _Iterate,
    margins: Array,
    real: NDArray[np.bool_],
) -> _Iterate | None:
    """One predictor--corrector step; None where it is not finite."""
    W, z, lam = at.W, at.z, at.lam
    residual = np.where(real, margins - 1.0 - z, 0.0)
    D = np.where(real, lam / z, 0.0)
    own, number = conjugate.complementarity()
    pairs = rows.count + number
    mu = (float((lam[real] * z[real]).sum()) + own) / pairs
    x, partner = (W, at.G) if of_weights else (at.G, W)
    H = conjugate.linearise(x, partner)
    if isinstance(H, Diagonal) and rows.count < W.size:
        newton = _row_system(conjugate, of_weights, H, D, at, rows)
    else:
        dense = H.dense() if isinstance(H, Diagonal) else H
        newton = _system(conjugate, of_weights, dense, rows.gram(D), at, rows)

    def direction(mu: float, products: Array | float, affine: Tree):
        g = conjugate.target(mu, affine)
        c = np.where(real, (mu - products) / z - D * residual, 0.0)  # λ + dλ at dW = 0
        dW = newton(g, c)
        dz = np.where(real, rows.apply(dW) + residual, 0.0)
        dlam = np.where(real, (mu - products) / z - lam - D * dz, 0.0)
        dG = rows.adjoint(dlam)
        cone, along, across = conjugate.complete(dW if of_weights else dG)
        # a cone of W moves with the primal step, one of G = A'λ with the dual one
        primal, dual = (along, across) if of_weights else (across, along)
        return (
            dW,
            dz,
            dlam,
            cone,
            min(longest(z, dz), primal),
            min(longest(lam, dlam), dual),
        )

    _, dz, dlam, cone, primal, dual = direction(0.0, 0.0, None)
    primal, dual = min(1.0, primal), min(1.0, dual)
    after = ((z + primal * dz)[real] * (lam + dual * dlam)[real]).sum()
    after += conjugate.complementarity(
        cone, *((primal, dual) if of_weights else (dual, primal))
    )[0]
    sigma = min(1.0, max(after / (mu * pairs), 0.1)) ** 3
    if not conjugate.settled:
        sigma = max(sigma, HOLD)
    dW, dz, dlam, cone, primal, dual = direction(sigma * mu, dlam * dz, cone)
    if not (np.isfinite(dW).all() and np.isfinite(dlam).all()):
        return None
    primal, dual = (min(1.0, TO_THE_BOUNDARY * step) for step in (primal, dual))
    if not conjugate.separate:
        primal = dual = min(primal, dual)
    moved = np.where(real, lam + dual * dlam, 0.0)
    following = _Iterate(
        W=W + primal * dW,
        z=np.where(real, z + primal * dz, np.inf),
        lam=moved,
        G=rows.adjoint(moved),
    )
    if of_weights:
        conjugate.advance(following.W, cone, primal, dual)
    else:
        conjugate.advance(following.G, cone, dual, primal)
    return following


def _system(
    conjugate: Conjugate,
    of_weights: bool,
    H: Array,
    K: Array,
    at: _Iterate,
    rows: PairRows,
) -> Callable[[Array, Array], Array]:
    r"""Solver for `dW`, given the map's `g` and the rows' `c`.

    With $x=W$:  $(H+K)\,dW=A^\top c-g$.
    With $x=G$:  $W+dW=g+H\,dG$ and $dG=A^\top(c-\lambda)-K\,dW$, hence
    $(H^{-1}+K)\,dW=H^{-1}(g-W)+A^\top(c-\lambda)$; where $H$ may be singular, with
    $H=LL^\top$ instead, $(I+L^\top KL)\,y=L^\top(A^\top(c-\lambda)-K(g-W))$ and
    $dW=g-W+Ly$.
    """
    W, lam = at.W, at.lam
    shape = W.shape
    if of_weights or conjugate.invertible:
        inverse = None
        if not of_weights:
            inverse = conjugate.inverse()
            inverse = inverse.dense() if isinstance(inverse, Diagonal) else inverse
        M = _fix_shift(conjugate, (H if inverse is None else inverse) + K, shape)
        factor = factorise(M)

        def solve(g: Array, c: Array) -> Array:
            if inverse is None:
                b = (rows.adjoint(c) - g).ravel()
            else:
                b = inverse @ (g - W).ravel() + rows.adjoint(c - lam).ravel()
            return scipy.linalg.cho_solve(factor, b, check_finite=False).reshape(shape)

        return solve
    L = np.tril(factorise(H, raise_by=np.trace(H) / len(H))[0])
    M = L.T @ K @ L
    M[np.diag_indices_from(M)] += 1.0
    factor = factorise(M)

    def solve_by_root(g: Array, c: Array) -> Array:
        r = (g - W).ravel()
        b = L.T @ (rows.adjoint(c - lam).ravel() - K @ r)
        dW = r + L @ scipy.linalg.cho_solve(factor, b, check_finite=False)
        return dW.reshape(shape)

    return solve_by_root


def _row_system(
    conjugate: Conjugate,
    of_weights: bool,
    H: Diagonal,
    D: Array,
    at: _Iterate,
    rows: PairRows,
) -> Callable[[Array, Array], Array]:
    r"""The same as `_system`, with a system in the rows.

    With $x=W$ and $\Delta=\lambda+d\lambda=c-DA\,dW$:
    $(D^{-1}+AH^{-1}A^\top)\Delta=D^{-1}c+AH^{-1}g$ and $dW=H^{-1}(A^\top\Delta-g)$.
    With $x=G$: $(D^{-1}+AHA^\top)d\lambda=D^{-1}(c-\lambda)-A(g-W)$ and
    $dW=g-W+HA^\top d\lambda$. Both are scaled by $D^{1/2}$ on either side.
    """
    real, W, lam = rows.real, at.W, at.lam
    B = H.inverse() if of_weights else H
    root = np.sqrt(D[real])
    M = rows.outer(B.h.reshape(W.shape), root)
    if B.c != 0:
        along = root * rows.apply(B.u.reshape(W.shape))[real]
        M += B.c * np.outer(along, along)
    M[np.diag_indices_from(M)] += 1.0
    factor = factorise(M)

    def inner(b: Array, c: Array) -> Array:
        """`(D^-1 + A B A')^-1 (D^-1 c + A b)`, as a combination of the rows."""
        right = c / root + root * rows.apply(b.reshape(W.shape))[real]
        q = np.zeros(real.shape)
        q[real] = root * scipy.linalg.cho_solve(factor, right, check_finite=False)
        return rows.adjoint(q).ravel()

    def solve(g: Array, c: Array) -> Array:
        if of_weights:
            G = inner(B @ g.ravel(), c[real])
            return (B @ (G - g.ravel())).reshape(W.shape)
        r = (g - W).ravel()
        return (r + B @ inner(-r, (c - lam)[real])).reshape(W.shape)

    return solve


def _fix_shift(conjugate: Conjugate, M: Array, shape: tuple[int, ...]) -> Array:
    """Make the system definite along shifts of all classes, which no margin sees.

    Under a norm that is invariant, weights with zero column sums are shortest, and
    iterates have them from the start: any curvature along shifts leaves them there.
    """
    if conjugate.invariant and len(shape) == 2:
        k, d = shape
        blocks = M.reshape(k, d, k, d)
        j = np.arange(d)
        blocks[:, j, :, j] += np.trace(M) / M.shape[0] / k
    return M
