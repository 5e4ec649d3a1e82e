"""The margins of a linear problem as a linear map, on the host."""

import dataclasses
import functools
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from penchant.problems import LinearClassification

Array = NDArray[np.float64]


def scaled(a: Array, e: int | NDArray[np.integer[Any]]) -> Array:
    """`a 2^e`, in two halves: 2^1074 itself is no double."""
    half = e // 2
    return np.ldexp(np.ldexp(a, half), e - half)


@dataclasses.dataclass(frozen=True)
class PairRows:
    r"""$A: W\mapsto(\langle a_{ic},W\rangle)$, a row for each sample and opponent.

    Two classes: $a_i=y_ix_i$, one opponent. `k` classes:
    $a_{ic}=(e_{y_i}-e_c)x_i^\top$, where entries $(i,y_i)$ do not exist; `real` says
    which do. Arrays over rows
    have shape `(n, c)` and are 0 where no row exists.
    """

    X: Array  # (n, d); for two classes the signs are absorbed
    y: NDArray[np.intp] | None  # (n,) classes; None for two classes
    classes: int

    @classmethod
    def of(cls, problem: LinearClassification) -> "PairRows":
        """The rows of a problem."""
        X = np.asarray(problem.X)
        y = np.asarray(problem.y)
        if problem.binary:
            return cls(X * y[:, None], None, 1)
        return cls(X, y.astype(np.intp), problem.classes)

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and opponents."""
        return len(self.X), self.classes

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weights."""
        d = self.X.shape[1]
        return (d,) if self.y is None else (self.classes, d)

    @property
    def real(self) -> NDArray[np.bool_]:
        """`(n, c)`: which rows exist."""
        if self.y is None:
            return np.ones(self.shape, dtype=bool)
        return np.arange(self.classes)[None, :] != self.y[:, None]

    @functools.cached_property
    def by_feature(self) -> tuple[Array, NDArray[np.intp]]:
        """`X` over a power of two for each feature, and the exponents.

        Nothing is rounded, and no product with a weight is too small.
        """
        e = np.frexp(np.abs(self.X).max(axis=0, initial=0.0))[1].astype(np.intp)
        return scaled(self.X, -e), e

    @property
    def count(self) -> int:
        """Number of rows."""
        n = len(self.X)
        return n if self.y is None else n * (self.classes - 1)

    def apply(self, W: Array) -> Array:
        """`A W`, 0 where no row exists."""
        if self.y is None:
            return (self.X @ W)[:, None]
        Z = self.X @ W.T
        return np.take_along_axis(Z, self.y[:, None], axis=1) - Z

    def adjoint(self, q: Array) -> Array:
        r"""$A^\top q=\sum q_{ic}a_{ic}$; `q` is 0 where no row exists."""
        if self.y is None:
            return q[:, 0] @ self.X
        R = -q
        R[np.arange(len(R)), self.y] = q.sum(axis=1)
        return R.T @ self.X

    def least(self, W: Array) -> Array:
        """`(n,)`: each sample's least margin."""
        margins = self.apply(W)
        if self.y is not None:
            margins[np.arange(len(margins)), self.y] = np.inf
        return margins.min(axis=1)

    def gram(self, D: Array) -> Array:
        r"""$A^\top\mathrm{diag}(D)A$ on flattened weights, without forming $A$."""
        X = self.X
        if self.y is None:
            return (X * D).T @ X  # of √D the rounding counts where D is 1e12
        k, d = self.classes, X.shape[1]
        H = np.empty((k, d, k, d))
        total = D.sum(axis=1)
        members = [np.flatnonzero(self.y == c) for c in range(k)]
        for c in range(k):
            weight = np.where(self.y == c, total, D[:, c])
            H[c, :, c, :] = (X * weight[:, None]).T @ X
            for e in range(c + 1, k):
                # a sample of class c has -D_ie in block (c, e), one of class e -D_ic
                i, j = members[c], members[e]
                block = (X[i] * D[i, e, None]).T @ X[i]
                block += (X[j] * D[j, c, None]).T @ X[j]
                H[c, :, e, :] = -block
                H[e, :, c, :] = -block.T
        return H.reshape(k * d, k * d)

    def outer(self, h: Array, root: Array) -> Array:
        r"""Lower triangle of $R\,A\,\mathrm{diag}(h)A^\top R$, $R$ = diag(root).

        Of several classes the entries are those of one Gram matrix a class,
        $G_a=X\,\mathrm{diag}(h_a)X^\top$, and $A$ is not formed.

        Args:
            h: Not negative, shaped like the weights.
            root: A number for each row that exists.
        """
        h = np.maximum(h, 0.0)
        if self.y is None:
            return root[:, None] * _products(self.X * np.sqrt(h)) * root[None, :]
        n, k = self.shape
        grams = np.stack([_symmetric(_products(self.X * np.sqrt(a))) for a in h])
        i = np.arange(n)
        same = self.y[:, None] == self.y[None, :]
        M = np.zeros((n, k, n, k))
        for c in range(k):
            M[:, c, :, c] = grams[c]
        own = grams[self.y, i]  # (n, n): sample i's class, sample i against j
        M += np.where(same, own, 0.0)[:, None, :, None]
        for a in range(k):
            members = np.flatnonzero(self.y == a)
            M[members, :, :, a] -= grams[a][members][:, None, :]
            M[:, a, members, :] -= grams[a][:, members][:, :, None]
        real = self.real.ravel()
        M = M.reshape(n * k, n * k)[np.ix_(real, real)]
        M *= root[:, None]
        M *= root[None, :]
        return M

    def dense(self) -> Array:
        """`A` itself, `(count, weights)`, rows in row-major order of `(i, c)`."""
        if self.y is None:
            return self.X
        n, d = self.X.shape
        A = np.zeros((n, self.classes, self.classes, d))
        i = np.arange(n)
        A[i, :, self.y, :] += self.X[:, None, :]
        for c in range(self.classes):
            A[:, c, c, :] -= self.X
        return A[self.real].reshape(self.count, -1)

    def part(self, rows: NDArray[np.bool_], columns: NDArray[np.bool_]) -> Array:
        """Some rows `(n, c)` and columns `(weights,)` of `A`, in order."""
        i, c = np.nonzero(rows)
        if self.y is None:
            return self.X[i][:, columns]
        a, j = np.nonzero(columns.reshape(self.weight_shape))
        sign = (self.y[i][:, None] == a).astype(float)
        sign -= c[:, None] == a
        return sign * self.X[i][:, j]

    def take(self, samples: NDArray[np.intp]) -> "PairRows":
        """The rows of some samples."""
        y = None if self.y is None else self.y[samples]
        return PairRows(self.X[samples], y, self.classes)

    def with_features(self, X: Array) -> "PairRows":
        """The same samples with other features."""
        return dataclasses.replace(self, X=X)


def _products(S: Array) -> Array:
    r"""Lower triangle of $SS^\top$, in half of a product's operations."""
    return scipy.linalg.blas.dsyrk(1.0, np.ascontiguousarray(S).T, trans=1, lower=1)


def _symmetric(L: Array) -> Array:
    return L + np.tril(L, -1).T
