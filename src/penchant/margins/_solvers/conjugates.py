r"""What a Newton step needs of a norm: its conjugate map, linearised.

For $\varphi=\frac12\nu^2$ the pair $(x, P)$ with $P\in\partial\varphi(x)$ is
linearised as $P+dP=g+H\,dx$. Smooth norms give $g=\nabla\varphi(x)$,
$H=\nabla^2\varphi(x)$. Norms with a polyhedral or spectral ball have no Hessian; there
the cone $\nu(x)\le t$ gets multipliers, $P$ is read off them, and complementarity is
relaxed to $\mu$ as in any primal--dual interior-point method. With `t` eliminated, both
kinds look the same to the solver.

The solver takes $x=W$ and $\nu=\|\cdot\|$, or $x=A^\top\lambda$ and
$\nu=\|\cdot\|_*$, whichever of the two has a bounded $H$.
"""

import abc
import dataclasses
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from penchant._types import Tree

Array = NDArray[np.float64]


@dataclasses.dataclass
class Diagonal:
    r"""$\mathrm{diag}(h)+c\,uu^\top$ on flattened arrays."""

    h: Array
    c: float
    u: Array

    def dense(self) -> Array:
        """The matrix itself."""
        out = self.c * np.outer(self.u, self.u)
        out[np.diag_indices_from(out)] += self.h
        return out

    def __matmul__(self, X: Array) -> Array:
        side = self.h[:, None] * X if X.ndim == 2 else self.h * X
        if self.c == 0:
            return side
        along = self.c * (self.u @ X)
        return side + (np.outer(self.u, along) if X.ndim == 2 else self.u * along)

    def inverse(self) -> "Diagonal":
        """By Sherman and Morrison; `h` is raised from 0 by a trace of its mean."""
        h = self.h + 1e-15 * self.h.mean()
        w = self.u / h
        return Diagonal(1.0 / h, -self.c / (1.0 + self.c * float(self.u @ w)), w)


class Conjugate(abc.ABC):
    """The map of one norm, with the multipliers of its cone if it has any."""

    separate = True
    """Whether `x` and its partner may take steps of different length."""

    invertible = False
    """Whether `inverse` exists."""

    settled = True
    """Whether the map is that of the norm itself, not one on the way to it."""

    invariant = False
    """Whether orthogonal maps of the rows leave the norm as it is."""

    @abc.abstractmethod
    def linearise(self, x: Array, partner: Array) -> Array | Diagonal:
        """Set the map up at `x` and the current partner; `H` on flattened arrays."""

    @abc.abstractmethod
    def target(self, mu: float, affine: Tree) -> Array:
        """`g` for barrier parameter `mu`, corrected by an `affine` step if given."""

    def start(self, x: Array) -> None:  # noqa: B027 (smooth norms have none)
        """Set multipliers up at a first `x`."""

    def inverse(self) -> Array | Diagonal:
        """The inverse of the `H` last returned."""
        raise TypeError(f"{type(self).__name__} has no inverse.")

    def complete(self, dx: Array) -> tuple[Any, float, float]:
        """Steps of `t` and of the multipliers that go with `dx`.

        Also the longest steps that keep the cone and its multipliers in the interior.
        """
        return None, np.inf, np.inf

    def advance(  # noqa: B027
        self, x: Array, step: Tree, along: float, dual: float
    ) -> None:
        """Move `t` by `along` and the multipliers by `dual` of a step; `x` is new."""

    def complementarity(
        self, step: Tree | None = None, along: float = 0.0, dual: float = 0.0
    ) -> tuple[float, int]:
        """Sum of products of slacks and multipliers, and their number, after a step."""
        return 0.0, 0


class Quadratic(Conjugate):
    r"""$\nu(x)^2=x^\top Mx$: $M$ a matrix, positive weights of the entries, or None."""

    def __init__(self, M: Array | None):
        self.M = M
        self.invariant = M is None

    def linearise(self, x: Array, partner: Array) -> Array | Diagonal:
        flat = x.ravel()
        if self.M is not None and self.M.shape == (x.size, x.size):
            self.g = (self.M @ flat).reshape(x.shape)
            return self.M.copy()
        h = np.ones(x.size) if self.M is None else self.M.ravel()
        self.g = (h * flat).reshape(x.shape)
        return Diagonal(h, 0.0, np.zeros(x.size))

    def target(self, mu: float, affine: Tree) -> Array:
        return self.g


class Smooth(Conjugate):
    r"""Norms of exponent $2<p<\infty$, approached from $p=2$ step by step.

    $\frac12\|x\|_p^2$ with large $p$ is flat where an entry is small, and a Newton step
    from far off goes nowhere. Two things prevent that: the exponent grows by `growth` a
    step, and curvature is added in proportion to how far the pair still is from the map
    (Levenberg). Both are gone near the end, which stays quadratic.
    """

    separate = False

    def __init__(self, p: float, growth: float):
        self.final, self.growth = p, growth
        self.p = 2.0
        self.settled = False
        self.g: Array = np.zeros(0)

    def grow(self) -> None:
        """Take the exponent of the next step."""
        self.p = min(self.final, self.p * self.growth)
        self.settled = self.p == self.final

    def damping(self, g: Array, partner: Array, h: Array) -> float:
        r"""Curvature to add while the partner is far from $g=\nabla\varphi(x)$."""
        q = self.p / (self.p - 1.0)
        length = lambda x: (np.abs(x) ** q).sum() ** (1.0 / q)
        far = length(g - partner) / max(length(g), 1e-300)
        return DAMPING * min(1.0, far) * float(h.mean())

    def target(self, mu: float, affine: Tree) -> Array:
        return self.g


class SmoothEntrywise(Smooth):
    r"""$\nu=\|\cdot\|_p$."""

    def linearise(self, x: Array, partner: Array) -> Diagonal:
        self.grow()
        g, h, c, u = half_square(x.ravel(), self.p)
        self.g = g.reshape(x.shape)
        return Diagonal(h + self.damping(g, partner.ravel(), h), c, u)


class SmoothSpectral(Smooth):
    r"""$\nu$ the Schatten norm of exponent $p$."""

    invariant = True

    def linearise(self, x: Array, partner: Array) -> Array:
        self.grow()
        k, d = x.shape
        U, s, Vt = np.linalg.svd(x, full_matrices=True)
        r = len(s)
        g, h, c, u = half_square(s, self.p)
        self.g = (U[:, :r] * g) @ Vt[:r]
        shares = np.einsum("ki,kd,id->i", U[:, :r], partner, Vt[:r])
        h = h + self.damping(g, shares, h)
        near = 1e-9 * max(s[0], 1e-300)
        # divided differences of g, odd in s; its derivative where they are 0/0
        middle = 0.5 * (h[:, None] + h[None, :])
        gap, total = s[:, None] - s[None, :], s[:, None] + s[None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            minus = np.where(
                np.abs(gap) > near, (g[:, None] - g[None, :]) / gap, middle
            )
            plus = np.where(total > near, (g[:, None] + g[None, :]) / total, middle)
            chord = np.where(s > near, g / s, h)
        # in the bases of U and V: entry (a, b) meets itself, and (b, a)
        same = np.zeros((k, d))
        same[:r, r:] = chord[:, None]
        same[r:, :r] = chord[None, :]
        same[:r, :r] = 0.5 * (minus + plus)
        H = np.zeros((k, d, k, d))
        a, b = np.indices((k, d))
        H[a, b, a, b] = same
        i, j = np.indices((r, r))
        off = i != j
        H[i[off], j[off], j[off], i[off]] += (0.5 * (minus - plus))[off]
        # the diagonal entries see the Hessian in s
        e = np.arange(r)
        in_s = np.diag(h) + c * np.outer(u, u)
        H[e[:, None], e[:, None], e[None, :], e[None, :]] = in_s
        B = np.kron(U, Vt.T)  # rotates the basis back
        return B @ H.reshape(k * d, k * d) @ B.T


DAMPING = 0.03


def half_square(x: Array, p: float) -> tuple[Array, Array, float, Array]:
    r"""Of $\frac12\|x\|_p^2$: the gradient, and $h,c,u$ of the `Diagonal` Hessian."""
    largest = max(np.abs(x).max(), 1e-300)
    length = largest * (np.abs(x / largest) ** p).sum() ** (1.0 / p)
    share = np.abs(x) / length
    u = np.sign(x) * share ** (p - 1.0)
    return length * u, (p - 1.0) * share ** (p - 2.0), 2.0 - p, u


class Box(Conjugate):
    r"""$\nu=\|\cdot\|_\infty$: the cone $-t\le x_j\le t$, with a multiplier a face."""

    invertible = True

    def start(self, x: Array) -> None:
        self.t = 2.0 * max(np.abs(x).max(), 1e-300)
        self.alpha = np.full(x.shape, self.t / (2 * x.size))  # of t - x
        self.beta = self.alpha.copy()  # of t + x
        self.x = x

    def linearise(self, x: Array, partner: Array) -> Diagonal:
        self.u, self.v = self.t - x, self.t + x
        self.a, self.b = self.alpha / self.u, self.beta / self.v
        self.s, self.r = self.a + self.b, self.b - self.a
        self.tau = 1.0 + self.s.sum()
        return Diagonal(self.s.ravel(), -1.0 / self.tau, self.r.ravel())

    def inverse(self) -> Diagonal:
        # diag(s) - rr'/tau, with tau - sum r^2/s = 1 + sum 4ab/s free of cancellation
        rest = 1.0 + float((4.0 * self.a * self.b / self.s).sum())
        w = (self.r / self.s).ravel()
        return Diagonal(1.0 / self.s.ravel(), 1.0 / rest, w)

    def target(self, mu: float, affine: Tree) -> Array:
        self.mu_u = self.mu_v = np.full(self.u.shape, mu)
        if affine is not None:
            dt, dx, dalpha, dbeta = affine
            self.mu_u = mu - dalpha * (dt - dx)
            self.mu_v = mu - dbeta * (dt + dx)
        up, down = self.mu_u / self.u, self.mu_v / self.v
        self.c = (up + down).sum() - self.t
        return up - down + self.r * (self.c / self.tau)

    def complete(self, dx: Array) -> tuple[Any, float, float]:
        dt = (self.c - (self.r * dx).sum()) / self.tau
        dalpha = self.mu_u / self.u - self.alpha - self.a * (dt - dx)
        dbeta = self.mu_v / self.v - self.beta - self.b * (dt + dx)
        along = min(longest(self.u, dt - dx), longest(self.v, dt + dx))
        dual = min(longest(self.alpha, dalpha), longest(self.beta, dbeta))
        return (dt, dx, dalpha, dbeta), along, dual

    def advance(self, x: Array, step: Tree, along: float, dual: float) -> None:
        dt, _, dalpha, dbeta = step
        self.t += along * dt
        self.alpha = self.alpha + dual * dalpha
        self.beta = self.beta + dual * dbeta
        self.x = x

    def complementarity(
        self, step: Tree | None = None, along: float = 0.0, dual: float = 0.0
    ) -> tuple[float, int]:
        u, v = self.t - self.x, self.t + self.x
        alpha, beta = self.alpha, self.beta
        if step is not None:
            dt, dx, dalpha, dbeta = step
            u, v = u + along * (dt - dx), v + along * (dt + dx)
            alpha, beta = alpha + dual * dalpha, beta + dual * dbeta
        return float((alpha * u + beta * v).sum()), 2 * u.size


class SpectralCone(Conjugate):
    r"""$\nu=\sigma_1$: the cone $S\succeq0$, $S$ with blocks $tI,x;\,x^\top,tI$.

    Its multiplier $Y\succeq0$ carries the partner: $P=-2Y_{12}$, $t=\mathrm{tr}\,Y$.
    Steps are those of Helmberg, Kojima and Monteiro, whose $H$ is symmetric.
    """

    invertible = True
    invariant = True

    def start(self, x: Array) -> None:
        k, d = x.shape
        self.k = k
        self.t = 2.0 * max(np.linalg.norm(x, 2), 1e-300)
        self.Y = np.eye(k + d) * (self.t / (k + d))
        self.x = x

    def _slack(self, x: Array, t: Any) -> Array:
        k, d = x.shape
        return np.block([[t * np.eye(k), x], [x.T, t * np.eye(d)]])

    def linearise(self, x: Array, partner: Array) -> Array:
        k = self.k
        self.S = self._slack(x, self.t)
        self.Z = positive_inverse(self.S)
        Y, Z = self.Y, self.Z
        Y11, Y12, Y22 = Y[:k, :k], Y[:k, k:], Y[k:, k:]
        Z11, Z12, Z22 = Z[:k, :k], Z[:k, k:], Z[k:, k:]
        self.h = Y11 @ Z12 + Y12 @ Z22 + Z11 @ Y12 + Z12 @ Y22
        self.tau = 1.0 + (Z * Y).sum()
        # H dx = Y11 dx Z22 + Z11 dx Y22 + Y12 dx' Z12 + Z12 dx' Y12
        H = np.einsum("ik,jl->ijkl", Y11, Z22) + np.einsum("ik,jl->ijkl", Z11, Y22)
        H += np.einsum("il,kj->ijkl", Y12, Z12) + np.einsum("il,kj->ijkl", Z12, Y12)
        H = H.reshape(x.size, x.size) - np.outer(self.h, self.h) / self.tau
        self.H = 0.5 * (H + H.T)
        return self.H

    def inverse(self) -> Array:
        return positive_inverse(self.H)

    def target(self, mu: float, affine: Tree) -> Array:
        self.R = mu * self.Z
        if affine is not None:
            _, dS, dY = affine
            product = dY @ dS @ self.Z
            self.R = self.R - 0.5 * (product + product.T)
        self.c = np.trace(self.R) - self.t
        return -2.0 * self.R[: self.k, self.k :] + self.h * (self.c / self.tau)

    def complete(self, dx: Array) -> tuple[Any, float, float]:
        dt = float((self.c - (self.h * dx).sum()) / self.tau)
        dS = self._slack(dx, dt)
        product = self.Y @ dS @ self.Z
        dY = self.R - self.Y - 0.5 * (product + product.T)
        return (dt, dS, dY), _longest_psd(self.S, dS), _longest_psd(self.Y, dY)

    def advance(self, x: Array, step: Tree, along: float, dual: float) -> None:
        dt, _, dY = step
        self.t += along * dt
        self.Y = self.Y + dual * dY
        self.x = x

    def complementarity(
        self, step: Tree | None = None, along: float = 0.0, dual: float = 0.0
    ) -> tuple[float, int]:
        S, Y = self._slack(self.x, self.t), self.Y
        if step is not None:
            _, dS, dY = step
            S, Y = S + along * dS, Y + dual * dY
        return float((Y * S).sum()), len(S)


def longest(x: Array, dx: Array) -> float:
    """The longest step that keeps `x` from going negative; inf if none does."""
    shrinking = dx < 0
    if not shrinking.any():
        return np.inf
    return float((x[shrinking] / -dx[shrinking]).min())


def _longest_psd(S: Array, dS: Array) -> float:
    L = scipy.linalg.cholesky(S, lower=True, check_finite=False)
    half = scipy.linalg.solve_triangular(L, dS, lower=True, check_finite=False)
    whole = scipy.linalg.solve_triangular(L, half.T, lower=True, check_finite=False)
    least = scipy.linalg.eigvalsh(whole, check_finite=False, subset_by_index=[0, 0])[0]
    return np.inf if least >= 0 else float(-1.0 / least)


def factorise(system: Array, raise_by: Array | float | None = None) -> Any:
    """Lower Cholesky factor, for `cho_solve`.

    Near the optimum a system is singular to rounding in directions that no longer
    matter; its diagonal is then raised, by ever more, until it is definite.

    Args:
        system: Symmetric, positive semi-definite but for rounding.
        raise_by: What a raise is relative to; the diagonal itself if None.

    Raises:
        LinAlgError: If a billionth is not enough.
    """
    scale = np.diagonal(system).copy() if raise_by is None else raise_by
    for share in (0.0, 1e-15, 1e-13, 1e-11, 1e-9):
        trial = system.copy()
        trial[np.diag_indices_from(trial)] += share * scale
        try:
            return scipy.linalg.cho_factor(
                trial, lower=True, overwrite_a=True, check_finite=False
            )
        except scipy.linalg.LinAlgError:
            continue
    raise scipy.linalg.LinAlgError("not positive definite")


def positive_inverse(M: Array) -> Array:
    """The symmetric inverse of a positive definite matrix."""
    out = scipy.linalg.cho_solve(factorise(M), np.eye(len(M)), check_finite=False)
    return 0.5 * (out + out.T)
