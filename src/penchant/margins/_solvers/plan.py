"""A norm on the host, and the features in which its problem is simplest."""

import functools
import math

import numpy as np

from penchant.margins._separability import SEPARABLE
from penchant.margins._solvers import conjugates as conjugates
from penchant.margins._solvers.interior_point import interior_point
from penchant.margins._solvers.rows import PairRows
from penchant.norms import (
    AbstractLp,
    AbstractNorm,
    AbstractSchatten,
    Mahalanobis,
    conjugate_exponent,
)
from penchant.problems import LinearClassification

NULL = 1e-13
"""Eigenvalues of a matrix M below this share of the largest are zero."""


class Plan:
    """A norm on the host, and the features in which it is simplest.

    A Mahalanobis norm of two classes becomes Euclidean; features that no sample has, or
    that are more than the samples, are dropped where the norm allows.
    """

    def __init__(self, rows: PairRows, norm: AbstractNorm):
        self.vector = rows.y is None
        self.family, self.p, self.M = family(norm, self.vector)
        self.shape = rows.weight_shape
        self.binary_quadratic = self.vector and (
            self.family != "quadratic" or (self.M is not None and self.M.ndim == 1)
        )
        self.binary_quadratic &= self.family == "quadratic" or self.p == 2.0
        self.rescale: np.ndarray | None = None
        if self.family == "quadratic" and self.M is not None and self.binary_quadratic:
            self.rescale = 1.0 / np.sqrt(self.M)
            self.M, self.family, self.p = None, "entrywise", 2.0
            rows = rows.with_features(rows.X * self.rescale)
        self.basis: np.ndarray | None = None
        self.used: np.ndarray | None = None
        d = rows.X.shape[1]
        if self.M is None:
            used = np.flatnonzero(np.abs(rows.X).max(axis=0) > 0)
            if len(used) < d:
                self.used = used
                rows = rows.with_features(rows.X[:, used])
            if _invariant(self.family, self.p):
                self.basis = row_basis(rows.X)
            if self.basis is not None:
                rows = rows.with_features(rows.X @ self.basis)
        self.rows = rows
        self.polyhedral = self.family == "entrywise" and self.p in (1.0, math.inf)

    def back(self, W: np.ndarray) -> np.ndarray:
        """Weights in the features of the problem."""
        if self.basis is not None:
            W = W @ self.basis.T
        if self.used is not None:
            whole = np.zeros((*W.shape[:-1], self.shape[-1]))
            whole[..., self.used] = W
            W = whole
        if self.rescale is not None:
            W = W * self.rescale
        return W

    def norm(self, W: np.ndarray) -> float:
        """The norm of weights in the plan's features."""
        if self.family == "quadratic":
            assert self.M is not None
            w = W.ravel()
            Mw = self.M.ravel() * w if self.M.shape == W.shape else self.M @ w
            return math.sqrt(max(float(w @ Mw), 0.0))
        return _p_norm(self._values(W), self.p)

    def dual(self, G: np.ndarray) -> float:
        """Its dual."""
        if self.family == "quadratic":
            assert self.M is not None
            g = G.ravel()
            if self.M.shape == G.shape:
                return math.sqrt(float((g**2 / self.M.ravel()).sum()))
            values, vectors = self._spectrum
            u = vectors.T @ g
            null = values <= NULL * values[-1]
            # while the solver is under way; `cancel` makes it zero in the end
            if np.abs(u[null]).max(initial=0.0) > 1e-5 * np.abs(u).max():
                return math.inf
            return math.sqrt(float((u[~null] ** 2 / values[~null]).sum()))
        return _p_norm(self._values(G), conjugate_exponent(self.p))

    @functools.cached_property
    def _spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        assert self.M is not None
        values, vectors = np.linalg.eigh(self.M)
        return values, vectors

    @functools.cached_property
    def _null_rows(self) -> np.ndarray | None:
        """`(m, r)`: the rows along weights of length 0; None if only 0 has length 0."""
        size = math.prod(self.rows.weight_shape)
        if self.M is None or self.M.shape != (size, size):
            return None
        values, vectors = self._spectrum
        null = values <= NULL * values[-1]
        return self.rows.dense() @ vectors[:, null] if null.any() else None

    def refuse_unbounded(self) -> None:
        """A seminorm bounds no margin if weights of length 0 separate the data."""
        N = self._null_rows
        if N is None or not N.any():
            return
        rows = PairRows(N, None, 1)
        length = lambda x: float(np.linalg.norm(x))
        floor = SEPARABLE * float(np.linalg.norm(N, axis=1).max())
        best = interior_point(
            rows,
            conjugates.Quadratic(None),
            length,
            length,
            of_weights=True,
            tol=0.5,
            floor=floor,
        )
        if best.upper > floor and best.lower > 0:
            raise ValueError(
                "M is singular, and weights with ‖w‖_M = 0 separate the data: the "
                "margin in this seminorm is unbounded. Give a positive definite M."
            )

    def cancel(self, q: np.ndarray) -> np.ndarray:
        """Dual weights whose combination has no part along weights of length 0."""
        N = self._null_rows
        if N is None:
            return q
        flat = q[self.rows.real]
        support = flat > 1e-6 * flat.max()
        part = np.append(N[support].T @ flat[support], flat[support].sum() - 1.0)
        system = np.vstack([N[support].T, np.ones((1, int(support.sum())))])
        fixed = np.zeros_like(flat)
        fixed[support] = flat[support] - np.linalg.lstsq(system, part, rcond=None)[0]
        out = np.zeros_like(q)
        out[self.rows.real] = np.maximum(fixed, 0.0)
        return out

    def _values(self, W: np.ndarray) -> np.ndarray:
        if self.family == "schatten" and self.p != 2.0:
            return np.linalg.svd(W, compute_uv=False)
        return W

    def scale(self) -> float:
        """The dual norm of the longest row, nearly."""
        longest = np.argsort(-np.abs(self.rows.X).sum(axis=1))[:4]
        best = 0.0
        for i in longest:
            part = self.rows.take(np.array([i]))
            q = part.real.astype(float)
            dual = self.dual(part.adjoint(q / q.sum()))
            best = max(best, dual if math.isfinite(dual) else 0.0)
        return best if best > 0 else 1.0

    def conjugate(self, growth: float) -> tuple[conjugates.Conjugate, bool]:
        """The map for the interior-point method, and whether it is that of weights.

        Args:
            growth: Pace at which a smooth norm's exponent is approached.
        """
        if self.family == "quadratic":
            assert self.M is not None
            size = math.prod(self.rows.weight_shape)
            M = np.diag(self.M.ravel()) if self.M.shape != (size, size) else self.M
            return conjugates.Quadratic(M), True
        p = self.p
        if p == 2.0:
            return conjugates.Quadratic(None), True
        of_weights = p > 2.0
        larger = p if of_weights else conjugate_exponent(p)
        if self.family == "schatten":
            if math.isinf(larger):
                return conjugates.SpectralCone(), of_weights
            return conjugates.SmoothSpectral(larger, growth), of_weights
        if math.isinf(larger):
            return conjugates.Box(), of_weights
        return conjugates.SmoothEntrywise(larger, growth), of_weights


def _invariant(family: str, p: float) -> bool:
    """Whether a norm sees only inner products of the rows of `W`."""
    return p == 2.0 or family == "schatten"


def row_basis(X: np.ndarray) -> np.ndarray | None:
    """`(d, n)`: an orthonormal basis of the samples, where they are the fewer."""
    n, d = X.shape
    return np.linalg.qr(X.T)[0] if n < d else None


def sees_rows_only(norm: AbstractNorm, vector: bool) -> bool:
    """Whether optimal weights lie in the span of the samples, whatever these are."""
    if not has_plan(norm):
        return False
    kind, p, M = family(norm, vector)
    return M is None and _invariant(kind, p)


def system_size(problem: LinearClassification, norm: AbstractNorm) -> int:
    """Rows of the system that a Newton step of the exact method factors.

    Of an entry-wise norm the system is in the rows or in the weights, whichever are
    fewer; where the norm allows it features are coordinates in the span of the samples.
    """
    n, d, k = problem.samples, problem.X.shape[1], problem.classes
    kind, _, M = family(norm, problem.binary)
    features = min(n, d) if sees_rows_only(norm, problem.binary) else d
    weights = features if problem.binary else k * features
    rows = n if problem.binary else n * (k - 1)
    return min(rows, weights) if kind == "entrywise" and M is None else weights


Family = tuple[str, float, np.ndarray | None]
"""How a norm is treated: its kind, its exponent, its matrix."""


@functools.singledispatch
def family(norm: AbstractNorm, vector: bool) -> Family:
    """The exact treatment of a norm; `family.register` adds one for a class of norms.

    Raises:
        TypeError: If there is none.
    """
    raise TypeError(
        f"max_margin has no exact method for {norm!r}; have: Lp, Schatten and "
        "Mahalanobis norms. FirstOrder() takes any norm."
    )


def has_plan(norm: AbstractNorm) -> bool:
    """Whether a norm has an exact treatment."""
    return family.dispatch(type(norm)) is not family.dispatch(object)


@family.register(Mahalanobis)
def _(norm: Mahalanobis, vector: bool) -> Family:
    return "quadratic", 2.0, np.asarray(norm.M)


@family.register(AbstractSchatten)
def _(norm: AbstractSchatten, vector: bool) -> Family:
    if vector or norm.p == 2.0:
        return "entrywise", 2.0, None
    return "schatten", norm.p, None


@family.register(AbstractLp)
def _(norm: AbstractLp, vector: bool) -> Family:
    return "entrywise", norm.p, None


def _p_norm(x: np.ndarray, p: float) -> float:
    size = np.abs(x).ravel()
    largest = float(size.max(initial=0.0))
    if largest == 0 or math.isinf(p):
        return largest
    return largest * float(((size / largest) ** p).sum()) ** (1.0 / p)
