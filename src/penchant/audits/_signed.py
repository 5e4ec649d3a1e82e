"""Rows times their labels, dense or sparse, with what stands in an audit's way."""

import dataclasses
from typing import Any

import numpy as np
from scipy import linalg, sparse

from penchant._arrays import numbers
from penchant._types import Numbers

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Signed:
    """Examples `(n, d)`, dense or CSR, and labels ±1."""

    X: Any
    y: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return self.X.shape

    def take(self, rows: Array) -> "Signed":
        """Some of the rows."""
        return Signed(self.X[rows], self.y[rows])

    def cross(self, other: "Signed") -> Array:
        """Inner products of these signed rows with others'."""
        K = self.X @ other.X.T
        K = K.toarray() if sparse.issparse(K) else K
        return K * self.y[:, None] * other.y

    def gram(self) -> Array:
        """Inner products of the signed rows."""
        return self.cross(self)

    def compact(self) -> Array:
        """Rows of the same inner products, with no more features than it takes."""
        n, d = self.shape
        if not sparse.issparse(self.X):
            return self.X
        if d <= n:
            return self.X.toarray()
        # features that no row has are none; the rest as it is where that is small
        used = np.unique(self.X.indices)
        if len(used) * n <= 20_000_000:
            return self.X[:, used].toarray()
        values, vectors = linalg.eigh((self.X @ self.X.T).toarray())
        return vectors * np.sqrt(np.maximum(values, 0.0))

    def offset(self) -> float:
        """The share of the rows' mean square that lies in their mean."""
        mean = np.asarray(self.X.mean(axis=0)).ravel()
        square = self.X.multiply(self.X) if sparse.issparse(self.X) else self.X**2
        return float(mean @ mean) / (float(square.sum()) / self.shape[0])

    def refuse_repeated(self, fewer: bool) -> None:
        """Say which rows are equal, if labels contradict or least squares needs them.

        Raises:
            ValueError: If equal rows have opposite labels; or, with no more rows than
                features, if rows are equal or dependent.
        """
        n, first, pairs = self.shape[0], {}, []
        for j in range(n):
            i = first.setdefault(self._key(j), j)
            if i != j:
                pairs.append((i, j))
        for i, j in pairs:
            if self.y[i] != self.y[j]:
                raise ValueError(
                    f"X must not have equal rows of opposite labels; rows {min(i, j)} "
                    f"and {max(i, j)} are, and no weights classify both."
                )
        if not fewer:
            return
        if pairs:
            i, j = sorted(pairs[0])
            raise ValueError(
                f"X must have independent rows; rows {i} and {j} are equal, of "
                f"{len(pairs)} repetitions in {n} rows. Drop what is repeated."
            )
        raise ValueError(
            f"X must have independent rows where it has no more rows ({n}) than "
            f"features ({self.shape[1]}); its Gram matrix is singular. Drop rows that "
            "others combine to."
        )

    def _key(self, i: int) -> bytes:
        """The same for equal rows, and for no others."""
        if sparse.issparse(self.X):
            row = self.X[[i]]
            row.eliminate_zeros()
            row.sort_indices()
            return row.indices.tobytes() + row.data.tobytes()
        return (self.X[i] + 0.0).tobytes()  # -0 is 0


def read_signed(X: Any, y: Numbers, *, other: Signed | None = None) -> Signed:
    """Examples and labels, checked.

    Args:
        X: Dense or sparse.
        y: ±1, or 0 and 1.
        other: The rows trained on, where these are held out: one class will then do.

    Raises:
        TypeError: If they hold no numbers.
        ValueError: If shapes disagree, entries are not finite, or labels are no two
            classes.
    """
    where = "X" if other is None else "held_out's X"
    rows: Any
    if sparse.issparse(X):
        rows = sparse.csr_matrix(X, dtype=np.float64)
        rows.sum_duplicates()
        finite = bool(np.isfinite(rows.data).all())
    else:
        rows = numbers(where, X, "(n, d)")
        finite = bool(np.isfinite(rows).all())
    if len(rows.shape) != 2 or 0 in rows.shape:
        raise ValueError(f"{where} must have shape (n, d); got {rows.shape}.")
    if not finite:
        raise ValueError(f"{where} must be finite; it has NaN or infinite entries.")
    labels = numbers("y", y, "(n,)")
    if labels.shape != (rows.shape[0],):
        raise ValueError(
            f"y must have shape ({rows.shape[0]},), a label a row; got {labels.shape}."
        )
    seen = np.unique(labels)
    signs = labels
    if np.isin(seen, (0.0, 1.0)).all() and (seen == 0.0).any():
        signs = 2.0 * labels - 1.0
    if not np.isin(signs, (-1.0, 1.0)).all():
        raise ValueError(
            f"y must hold -1 and +1, or 0 and 1; got values {seen[:6].tolist()}."
        )
    if other is None and len(seen) < 2:
        raise ValueError(f"y must hold two classes; all labels are {seen[0]:g}.")
    if other is not None and rows.shape[1] != other.shape[1]:
        raise ValueError(
            f"held_out must have the {other.shape[1]} features of X; got "
            f"{rows.shape[1]}."
        )
    return Signed(rows, signs)
