r"""Shortest steps in the largest spectral norm of several matrices.

$$\min_x\ \max_l\sigma_1(X_l)\ \text{ such that }\ Jx\ge r,\qquad
  \max_{\lambda\ge0}\ r^\top\lambda\ \text{ such that }\
  \sum_l\|(J^\top\lambda)_l\|_*\le1,$$

by a primal--dual interior-point method with the scaling of Nesterov and Todd. The cone
of a matrix is $S_l\succeq0$ with blocks $tI,X_l;\,X_l^\top,tI$, its multiplier
$Y_l\succeq0$ has $(J^\top\lambda)_l=-2Y_{l,12}$ and $\sum_l\mathrm{tr}\,Y_l=1$. With
$V_l$ such that $V_lS_lV_l=Y_l$ the Newton system in $X_l$ is
$V_{11}XV_{22}+V_{12}X^\top V_{12}$, which a congruence turns into systems of two
unknowns; what is left is one system in the rows of $J$.

A solve is certified by weak duality alone: $r^\top\lambda/\sum_l\|(J^\top\lambda)_l\|_*
\le\max_l\sigma_1(X_l)$ for whatever `x` and `lambda` are feasible.
"""

import dataclasses
import math

import numpy as np
import scipy
from numpy.typing import NDArray

from penchant.margins._solvers.conjugates import factorise, longest

Array = NDArray[np.float64]
Shapes = tuple[tuple[int, int], ...]

MOST_STEPS = 60
PATIENCE = 3
"""Steps in a row that do not better the gap."""

AIM = 1e-11
"""Relative gap at which a solve stops."""

TO_THE_BOUNDARY = 0.98

MISSED = 1e-13
"""A miss of what is asked, relative to it, that is rounding."""


def parts(x: Array, shapes: Shapes) -> list[Array]:
    """The matrices of flat parameters, or of a stack of these."""
    cuts = np.cumsum([k * d for k, d in shapes])[:-1]
    lead = x.shape[:-1]
    pieces = np.split(x, cuts, axis=-1)
    return [p.reshape(*lead, *s) for p, s in zip(pieces, shapes, strict=True)]


def largest_spectral(x: Array, shapes: Shapes) -> float:
    r"""$\max_l\sigma_1(X_l)$."""
    return max(float(np.linalg.norm(X, 2)) for X in parts(x, shapes))


def sum_nuclear(g: Array, shapes: Shapes) -> float:
    r"""$\sum_l\|G_l\|_*$."""
    return sum(float(np.linalg.norm(G, "nuc")) for G in parts(g, shapes))


@dataclasses.dataclass
class Shortest:
    """A step, its multipliers, and the lower bound on every step that they prove."""

    x: Array
    dual: Array
    length: float = math.inf
    bound: float = 0.0

    @property
    def gap(self) -> float:
        """How much longer than the shortest the step may be, relative to it."""
        if self.length == 0.0:
            return 0.0
        return self.length / self.bound - 1.0 if self.bound > 0 else math.inf


def least_spectral(J: Array, r: Array, shapes: Shapes) -> Shortest:
    """The step, with the best bound met; its gap says whether it is the shortest."""
    m, p = J.shape
    if not (r > 0).any():
        return Shortest(np.zeros(p), np.zeros(m), 0.0)
    size = np.linalg.norm(J, axis=1)
    if (size[r > 0] == 0).any():
        return Shortest(np.zeros(p), np.zeros(m))
    real = size > 0
    A, b = J[real] / size[real, None], r[real] / size[real]
    most = float(b.max())
    lam = np.maximum(b, 0.0)
    pull = sum_nuclear(lam @ A, shapes)
    first = float(b @ lam) / pull if pull > 0 else most
    # b and the first bound become 1
    method = _Method(A * (first / most), b / most, shapes)
    found = method.run()
    dual = np.zeros(m)
    dual[real] = found.dual * (first / most) / size[real]
    return Shortest(found.x * first, dual, found.length * first, found.bound * first)


class _Layer:
    """One matrix's cone at an iterate: its scaling, and the inverse that it gives."""

    def __init__(self, X: Array, t: float, Y: Array):
        k = len(X)
        self.k, self.Y = k, Y
        L, root = _lower(_cone(X, t)), _lower(Y)
        U, lam, Vt = np.linalg.svd(root.T @ L)
        self.lam = lam
        self.R = L @ Vt.T / np.sqrt(lam)
        self.inverse = (U / np.sqrt(lam)).T @ root.T
        self.V = self.inverse.T @ self.inverse
        V11, V12, V22 = self.V[:k, :k], self.V[:k, k:], self.V[k:, k:]
        left, right = _lower(V11), _lower(V22)
        half = scipy.linalg.solve_triangular(left, V12, lower=True)
        C = scipy.linalg.solve_triangular(right, half.T, lower=True).T
        U, s, Vt = np.linalg.svd(C)
        self.P = scipy.linalg.solve_triangular(left, U, lower=True, trans="T").T
        self.Q = scipy.linalg.solve_triangular(right, Vt.T, lower=True, trans="T")
        s = np.minimum(s, 1.0)
        both = np.outer(s, s)
        apart = np.maximum((1.0 - s)[:, None] + s[:, None] * (1.0 - s), 1e-300)
        self.even, self.odd = np.sqrt(0.5 / (1.0 + both)), np.sqrt(0.5 / apart)
        self.tilt = 2.0 * (V11 @ V12 + V12 @ V22)
        best = -self.back(self.root(self.ahead(self.tilt)))
        scaled = self.inverse @ _cone(best, 1.0) @ self.inverse.T
        self.steepness = float((scaled**2).sum())

    def ahead(self, G: Array) -> Array:
        r"""$A^{-1/2}$ of matrices, the last two axes; $A$ is the Newton system."""
        return self.root(self.P @ G @ self.Q)

    def root(self, G: Array) -> Array:
        """The root of the systems of two unknowns, `X + s X' s`, inverted."""
        r = len(self.even)
        square = G[..., :r, :r]
        turned = np.swapaxes(square, -1, -2)
        out = G * np.sqrt(0.5)
        out[..., :r, :r] = 0.5 * (
            self.even * (square + turned) + self.odd * (square - turned)
        )
        return out

    def back(self, G: Array) -> Array:
        """From those coordinates, after the second root."""
        return self.P.T @ G @ self.Q.T

    def solve(self, ahead: Array) -> Array:
        r"""$A^{-1}G$ from `ahead(G)`."""
        return self.back(self.root(ahead))

    def centre(self, mu: float, affine: tuple[Array, Array] | None) -> None:
        """Set the target of complementarity, with a corrector's term."""
        K = np.diag(mu / self.lam)
        if affine is not None:
            dS, dY = affine
            product = (self.inverse @ dS @ self.inverse.T) @ (self.R.T @ dY @ self.R)
            K -= (product + product.T) / (self.lam[:, None] + self.lam)
        # Y + dY at dS = 0
        self.aim = self.inverse.T @ K @ self.inverse
        self.pull = 2.0 * self.aim[: self.k, self.k :]

    def complete(self, dX: Array, dt: float) -> tuple[Array, Array, float, float]:
        """Steps of cone and multiplier, and the longest of each that stay inside."""
        dS = _cone(dX, dt)
        dY = self.aim - self.Y - self.V @ dS @ self.V
        dY = 0.5 * (dY + dY.T)
        ds = self.inverse @ dS @ self.inverse.T
        dy = self.R.T @ dY @ self.R
        return dS, dY, self._longest(ds), self._longest(dy)

    def _longest(self, ds: Array) -> float:
        root = np.sqrt(self.lam)
        scaled = ds / np.outer(root, root)
        least = np.linalg.eigvalsh(0.5 * (scaled + scaled.T))[0]
        return np.inf if least >= 0 else float(-1.0 / least)


class _Method:
    """The iterates of a problem whose first bound is 1."""

    def __init__(self, J: Array, r: Array, shapes: Shapes):
        m, p = J.shape
        self.J, self.r, self.shapes = J, r, shapes
        self.rows = parts(J, shapes)
        self.orders = [k + d for k, d in shapes]
        self.count = m + sum(self.orders)
        self.x, self.t, self.z = np.zeros(p), 3.0, np.ones(m)
        self.lam = np.full(m, 1.0 / m)
        self.mu = np.inf
        self.Y = [np.eye(n) / sum(self.orders) for n in self.orders]

    def run(self) -> Shortest:
        best = Shortest(self.x, self.lam)
        waited = 0
        for _ in range(MOST_STEPS):
            waited = 0 if self._offer(best) else waited + 1
            if best.gap <= AIM or waited > PATIENCE:
                break
            try:
                with np.errstate(all="ignore"):
                    moved = self._step()
            except (np.linalg.LinAlgError, ValueError):
                break
            if not moved:
                break
        return best

    def _offer(self, best: Shortest) -> bool:
        """Take what betters a bound."""
        before, least = best.gap, self.mu
        self.mu = min(least, float(self.lam @ self.z))
        x = self._repaired()
        length = largest_spectral(x, self.shapes)
        if (self.r - self.J @ x).max() <= MISSED and length < best.length:
            best.x, best.length = x, length
        for lam in (np.where(self.lam < self.z, 0.0, self.lam), self.lam):
            pull = sum_nuclear(lam @ self.J, self.shapes)
            bound = float(self.r @ lam) / pull if pull > 0 else 0.0
            if bound > best.bound:
                best.dual, best.bound = lam / pull, bound
        return best.gap < 0.7 * before or self.mu < 0.7 * least

    def _repaired(self) -> Array:
        """The step with what rounding lets it miss made up for."""
        missed = self.r - self.J @ self.x
        short = missed > 0
        if not short.any():
            return self.x
        more, *_ = np.linalg.lstsq(self.J[short], missed[short], rcond=None)
        return self.x + more

    def _step(self) -> bool:
        X = parts(self.x, self.shapes)
        self.layers = [_Layer(x, self.t, y) for x, y in zip(X, self.Y, strict=True)]
        flat = lambda pieces: np.concatenate(
            [q.reshape(*q.shape[:-2], -1) for q in pieces], axis=-1
        )
        pairs = lambda pieces: zip(self.layers, pieces, strict=True)
        F = flat([layer.ahead(rows) for layer, rows in pairs(self.rows)])
        tilt = flat([layer.ahead(layer.tilt) for layer in self.layers])
        back = lambda a: flat([
            layer.solve(q) for layer, q in pairs(parts(a, self.shapes))
        ])
        z, lam = self.z, self.lam
        root = np.sqrt(lam / z)
        M = (root[:, None] * F) @ (root[:, None] * F).T
        M[np.diag_indices_from(M)] += 1.0
        factor = factorise(M)
        solve = lambda b: root * scipy.linalg.cho_solve(factor, root * b)
        u = F @ tilt
        sloped = solve(u)
        steepness = sum(layer.steepness for layer in self.layers)
        missing = self.r - (self.J @ self.x - z)

        def direction(mu: float, products: Array | float, affine: list | None):
            for i, layer in enumerate(self.layers):
                layer.centre(mu, None if affine is None else affine[i])
            g = flat([layer.ahead(layer.pull) for layer in self.layers])
            c = sum(float(np.trace(layer.aim)) for layer in self.layers) - 1.0
            level = solve((mu - products) / lam + missing - F @ g)
            dt = (c - tilt @ g - u @ level) / (u @ sloped + steepness)
            after = level + sloped * dt
            dx = back(after @ F + g - tilt * dt)
            dz = self.J @ dx - missing
            dlam = after - lam
            cones = [
                layer.complete(dX, dt) for layer, dX in pairs(parts(dx, self.shapes))
            ]
            primal = min(longest(z, dz), *(cone[2] for cone in cones))
            dual = min(longest(lam, dlam), *(cone[3] for cone in cones))
            return dx, dt, dz, dlam, cones, primal, dual

        now = sum(float(layer.lam @ layer.lam) for layer in self.layers)
        mu = (float(lam @ z) + now) / self.count
        _, _, dz, dlam, cones, primal, dual = direction(0.0, 0.0, None)
        primal, dual = min(1.0, primal), min(1.0, dual)
        left = float((lam + dual * dlam) @ (z + primal * dz))
        for layer, x, cone in zip(self.layers, X, cones, strict=True):
            S = _cone(x, self.t) + primal * cone[0]
            left += float((S * (layer.Y + dual * cone[1])).sum())
        sigma = min(1.0, max(left / (mu * self.count), 1e-6)) ** 3
        affine = [(cone[0], cone[1]) for cone in cones]
        dx, dt, dz, dlam, cones, primal, dual = direction(sigma * mu, dlam * dz, affine)
        if not (np.isfinite(dx).all() and np.isfinite(dlam).all()):
            return False
        primal = min(1.0, TO_THE_BOUNDARY * primal)
        dual = min(1.0, TO_THE_BOUNDARY * dual)
        self.x, self.t = self.x + primal * dx, self.t + primal * float(dt)
        self.z, self.lam = z + primal * dz, lam + dual * dlam
        self.Y = [y + dual * cone[1] for y, cone in zip(self.Y, cones, strict=True)]
        return True


def _cone(X: Array, t: float) -> Array:
    k, d = X.shape
    return np.block([[t * np.eye(k), X], [X.T, t * np.eye(d)]])


def _lower(M: Array) -> Array:
    return np.asarray(np.linalg.cholesky(M), float)
