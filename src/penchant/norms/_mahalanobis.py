from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from penchant._checks import is_traced
from penchant._types import Real, Scalar, Tree, Weights
from penchant.norms._base import AbstractNorm


class Mahalanobis(AbstractNorm):
    r"""Weighted Euclidean norm $\|w\|_M=\sqrt{w^\top M w}$.

    $M$ is either an array of positive weights, of the shape of $w$ (a diagonal $M$),
    or a symmetric positive semi-definite matrix on the flattened $w$. Dual to
    `Mahalanobis(M⁻¹)`; the steepest direction is $M^{-1}g/\|g\|_{M^{-1}}$.

    A singular matrix $M$ gives a seminorm. The dual of a $g$ with a part outside the
    range of $M$ is $\infty$, and no steepest direction exists: it is NaN. Parts below
    $10^{-10}\|g\|_2$ count as rounding.

    >>> import jax.numpy as jnp
    >>> Mahalanobis(jnp.array([4.0, 1.0]))(jnp.array([1.0, 2.0])).item() ** 2
    8.000000000000002

    Args:
        M: `(d,)` or `(k, d)` positive, for weights of the same shape; or
            `(d, d)` positive semi-definite, for weights with `d` entries in all.
            A square array counts as a matrix.

    Raises:
        ValueError: If a weight is not positive, or a matrix is not symmetric or has
            a negative eigenvalue.
    """

    M: Weights
    # eigenvalues and eigenvectors of a matrix; the diagonal itself and None else
    values: Weights = eqx.field(repr=False)
    vectors: Weights | None = eqx.field(repr=False)

    def __init__(self, M: Weights):
        self.M = jnp.asarray(M, dtype=float)
        if not _is_matrix(self.M):
            self.values, self.vectors = self.M, None
            if not is_traced(self.M) and not bool(np.all(np.asarray(self.M) > 0)):
                least = float(np.min(np.asarray(self.M), initial=np.inf))
                raise ValueError(
                    "M must be positive in every entry, or a positive semi-definite "
                    f"matrix; its smallest entry is {least:.3g}."
                )
            return
        if not is_traced(self.M):
            _check_matrix(np.asarray(self.M))
        values, self.vectors = jnp.linalg.eigh(self.M)
        floor = 1e-13 * jnp.max(jnp.abs(values))
        self.values = jnp.where(values > floor, values, 0.0)

    @property
    def label(self) -> str:
        return "Mahalanobis"

    @property
    def conjugate(self) -> "Mahalanobis":
        inverse = eqx.tree_at(lambda norm: norm.values, self, 1.0 / self.values)
        if self.vectors is None:
            return eqx.tree_at(lambda norm: norm.M, inverse, inverse.values)
        # M⁻¹ itself is never formed (it is infinite where M is singular): only
        # `values` and `vectors` are used below
        return inverse

    def _rotate(self, w: Weights) -> Weights:
        if self.vectors is None:
            if w.shape != self.M.shape:
                raise ValueError(
                    f"This norm weighs arrays of shape {self.M.shape}; got {w.shape}."
                )
            return w
        if w.size != self.M.shape[0]:
            raise ValueError(
                f"This norm's M is {self.M.shape}, for {self.M.shape[0]} entries; "
                f"got an array of shape {w.shape}."
            )
        return self.vectors.T @ jnp.ravel(w)

    def _rotate_back(self, u: Weights, like: Weights) -> Weights:
        if self.vectors is None:
            return u
        return jnp.reshape(self.vectors @ u, like.shape)

    def __call__(self, w: Weights) -> Scalar:
        u = self._rotate(w)
        largest = jnp.max(jnp.abs(u), initial=0.0)
        unit = u / jnp.where(largest > 0, largest, 1.0)
        infinite = jnp.isinf(self.values)  # the conjugate of a singular M
        outside = jnp.any(infinite & (jnp.abs(unit) > 1e-10))
        square = jnp.sum(jnp.where(infinite, 0.0, self.values) * unit**2)
        positive = square > 0
        root = jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
        return jnp.where(outside, jnp.inf, largest * root)

    def steepest(self, g: Weights) -> Weights:
        u = self._rotate(g)
        largest = jnp.max(jnp.abs(u), initial=0.0)
        unit = u / jnp.where(largest > 0, largest, 1.0)
        null = self.values == 0
        outside = jnp.any(null & (jnp.abs(unit) > 1e-10))
        scaled = jnp.where(null, 0.0, unit / jnp.where(null, 1.0, self.values))
        square = jnp.sum(scaled * unit)
        length = jnp.sqrt(jnp.where(square > 0, square, 1.0))
        direction = jnp.where(square > 0, scaled / length, 0.0)
        return self._rotate_back(jnp.where(outside, jnp.nan, direction), g)

    def project(self, w: Weights, radius: Real = 1.0) -> Weights:
        u = self._rotate(w)
        r = jnp.asarray(radius, u.dtype)
        m = self.values

        def excess(
            nu: Scalar,
        ) -> tuple[
            Scalar, Scalar
        ]:  # ||x(nu)||_M^2 - r^2 at x = u / (1 + nu m), and its slope
            x = u / (1.0 + nu * m)
            value = jnp.sum(m * x**2) - r**2
            return value, -2.0 * jnp.sum((m * x) ** 2 / (1.0 + nu * m))

        def refine(
            state: Tree,
        ) -> Any:  # convex and decreasing in nu: Newton from 0 is monotone
            nu, _, count = state
            value, slope = excess(nu)
            step = -value / jnp.where(slope < 0, slope, 1.0)
            return nu + step, step, count + 1

        def unfinished(state: Tree) -> Any:
            nu, step, count = state
            return (step > 1e-15 * nu) & (count < 200)

        outside = excess(jnp.zeros((), u.dtype))[0] > 0
        first = jnp.where(outside, jnp.inf, 0.0)
        start = (jnp.zeros((), u.dtype), first, jnp.zeros((), int))
        nu = jax.lax.stop_gradient(jax.lax.while_loop(unfinished, refine, start)[0])
        # one step more outside the loop carries the derivative of the root
        value, slope = excess(nu)
        nu = jnp.where(outside, nu - value / jnp.where(slope < 0, slope, -1.0), 0.0)
        return self._rotate_back(u / (1.0 + nu * m), w)


def _is_matrix(M: Weights) -> bool:
    return M.ndim == 2 and M.shape[0] == M.shape[1] and M.shape[0] > 0


def _check_matrix(M: np.ndarray) -> None:
    scale = np.abs(M).max()
    if not np.isfinite(scale):
        raise ValueError("M must be finite.")
    if np.abs(M - M.T).max() > 1e-12 * scale:
        raise ValueError(
            "M must be symmetric; it differs from its transpose by "
            f"{np.abs(M - M.T).max():.3g}."
        )
    least = np.linalg.eigvalsh(M)[0]
    if least < -1e-10 * scale:
        raise ValueError(
            f"M must be positive semi-definite; its least eigenvalue is {least:.3g}."
        )
