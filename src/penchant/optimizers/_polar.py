"""Ways to compute the polar factor that Muon steps along."""

import abc
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from penchant._checks import check_count
from penchant._pretty import pretty
from penchant._types import Weights
from penchant.norms import Spectral

MUON_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""The quintic of `jordan2024muon`: fast to within 30 % of 1, never converging to it."""


class AbstractPolar(eqx.Module):
    r"""A map $M=U\Sigma V^\top\mapsto UV^\top$, exact or nearly; 0 at 0.

    Vectors are matrices of one column.
    """

    @abc.abstractmethod
    def __call__(self, M: Weights) -> Weights:
        """The factor; it does not depend on the scale of `M`."""

    def __repr__(self) -> str:
        return pretty(self)


class ExactPolar(AbstractPolar):
    r"""$U_rV_r^\top$ by SVD, without singular values below $10^{-12}\sigma_1$.

    Cross-entropy gradients have rank at most $k-1$: an untruncated factor would add a
    step of size one in a direction that is pure rounding.
    """

    def __call__(self, M: Weights) -> Weights:
        return Spectral().steepest(M)


class NewtonSchulz(AbstractPolar):
    r"""Steps $X\leftarrow aX+(bA+cA^2)X$, $A=XX^\top$, from $X=M/\|M\|_F$.

    With the default coefficients singular values end anywhere in about [0.7, 1.2], so
    Muon does not then maximise the spectral margin; see the concept page.

    Args:
        steps: How many.
        coefficients: $(a,b,c)$ for every step, or a sequence of `steps` such triples.

    Raises:
        ValueError: If `coefficients` is neither.
    """

    steps: int = eqx.field(static=True)
    coefficients: tuple[tuple[float, float, float], ...] = eqx.field(static=True)

    def __init__(
        self,
        steps: int = 5,
        coefficients: Sequence[float] | Sequence[Sequence[float]] = MUON_COEFFICIENTS,
    ):
        self.steps = check_count("steps", steps)
        table = np.asarray(coefficients, dtype=float)
        if table.shape == (3,):
            table = np.tile(table, (self.steps, 1))
        if table.shape != (self.steps, 3):
            raise ValueError(
                "coefficients must be (a, b, c), or one such triple a step "
                f"({self.steps}); got shape {table.shape}."
            )
        a: Any = [tuple(float(x) for x in row) for row in table]
        self.coefficients = tuple(a)

    def __repr__(self) -> str:
        kinds = set(self.coefficients)
        shown = self.coefficients[0] if len(kinds) == 1 else self.coefficients
        if shown == MUON_COEFFICIENTS:
            return f"NewtonSchulz(steps={self.steps})"
        return f"NewtonSchulz(steps={self.steps}, coefficients={shown})"

    def __call__(self, M: Weights) -> Weights:
        X, restore = _wide_unit(M)
        for a, b, c in self.coefficients:
            A = X @ X.T
            X = a * X + (b * A + c * A @ A) @ X
        return restore(X)


class CubicNewtonSchulz(AbstractPolar):
    r"""Steps $X\leftarrow\frac32X-\frac12XX^\top X$: converges to the polar factor.

    A singular value $\sigma$ of $M/\|M\|_F$ needs about
    $\log_{1.5}(1/\sigma)+4$ steps to reach 1 to rounding.

    Args:
        steps: How many.
    """

    steps: int = eqx.field(default=15, static=True)

    def __check_init__(self):
        check_count("steps", self.steps)

    def __call__(self, M: Weights) -> Weights:
        X, restore = _wide_unit(M)
        X = jax.lax.fori_loop(
            0, self.steps, lambda _, X: 1.5 * X - 0.5 * (X @ X.T) @ X, X
        )
        return restore(X)


def _wide_unit(M: Weights) -> tuple[Weights, Any]:
    """`M` of Frobenius length 1, as a matrix with no more rows than columns."""
    matrix = M[None, :] if M.ndim == 1 else M
    tall = matrix.shape[0] > matrix.shape[1]
    X = matrix.T if tall else matrix
    largest = jnp.max(jnp.abs(X))
    X = X / jnp.where(largest > 0, largest, 1.0)
    length = jnp.sqrt(jnp.sum(X**2))
    X = X / jnp.where(length > 0, length, 1.0)
    return X, lambda Y: jnp.reshape(Y.T if tall else Y, M.shape)
