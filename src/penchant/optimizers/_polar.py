"""Ways to compute the polar factor that Muon steps along."""

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from penchant._checks import check_count, check_number
from penchant._pretty import pretty
from penchant._types import Weights
from penchant.norms import Spectral

Quintic: TypeAlias = tuple[float, float, float]

MUON_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""The quintic of `jordan2024muon`: fast to within 30 % of 1, never converging to it."""


class AbstractPolar(eqx.Module):
    r"""A map $M=U\Sigma V^\top\mapsto UV^\top$, exact or nearly; 0 at 0.

    Vectors are matrices of one column. `exact` says whether singular values come out as
    1, to rounding, whatever they were.
    """

    exact: ClassVar[bool] = False

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

    exact: ClassVar[bool] = True

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
    coefficients: tuple[Quintic, ...] = eqx.field(static=True)

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
        return _quintic(M, self.coefficients)


class PolarExpress(AbstractPolar):
    r"""The best quintic for every step: $X\leftarrow a_tX+(b_tA+c_tA^2)X$, $A=XX^\top$.

    `amsel2025polar`. The polynomial of a step deviates least from 1 on the interval
    where the one before has left the singular values, which makes their composition
    the best of its kind. The coefficients are computed here, by exchange (Remez): with
    an interval $[\ell,u]$ they solve $p(x_i)=1-(-1)^iE$ at $\ell$, the two extrema of
    $p$ and $u$, and the next interval is $[1-E,1+E]$. Unlike the fixed coefficients of
    [`NewtonSchulz`][penchant.optimizers.NewtonSchulz] it converges, to third order.

    Singular values of $M/\|M\|_F$ from `least` to 1 end within `error` of 1. Smaller
    ones are raised by the same factors, and end below.

    >>> for steps in (5, 6, 7):
    ...     print(f"{PolarExpress(steps, least=1e-3).error:.1e}")
    1.1e-01
    9.2e-04
    4.8e-10

    Args:
        steps: How many; each is three matrix products.
        least: $\ell$ of the first step, in (0, 1).

    Raises:
        ValueError: If `steps` is below 1 or `least` outside (0, 1).
    """

    steps: int = eqx.field(static=True)
    least: float = eqx.field(static=True)
    coefficients: tuple[Quintic, ...] = eqx.field(static=True, repr=False)
    error: float = eqx.field(static=True, repr=False)

    def __init__(self, steps: int = 8, least: float = 1e-3):
        self.steps = check_count("steps", steps)
        check_number("least", least, above=0.0, below=1.0)
        self.least = float(least)
        table, error, low, high = [], 0.0, self.least, 1.0
        for _ in range(self.steps):
            quintic, error = best_quintic(low, high)
            table.append(quintic)
            low, high = 1.0 - error, 1.0 + error
        self.coefficients, self.error = tuple(table), error

    def __call__(self, M: Weights) -> Weights:
        return _quintic(M, self.coefficients)


NARROW = 1e-3
"""Relative width of an interval from which the exchange is a 0/0: its limit serves."""

EXCHANGES = 100


def best_quintic(low: float, high: float) -> tuple[Quintic, float]:
    r"""$a,b,c$ that minimise $E=\max|1-ax-bx^3-cx^5|$ over $[\text{low},\text{high}]$.

    Also $E$. For intervals narrower than $10^{-3}$ of their size Padé's
    $\frac{15}8,-\frac54,\frac38$, to which the best one tends.
    """
    ratio = low / high
    scale = np.array([high, high**3, high**5])
    if 1.0 - ratio < NARROW:
        # about the middle of the interval p - 1 is 5/2 of the cube of the deviation
        middle = 0.5 * (low + high)
        a, b, c = np.array([1.875, -1.25, 0.375]) / middle ** np.array([1, 3, 5])
        return (float(a), float(b), float(c)), 2.5 * ((high - low) / (high + low)) ** 3
    # extrema of Chebyshev's polynomials: odd ones if 0 is near, else of the interval
    inner = np.array([0.309, 0.809]) if ratio < 0.05 else np.array([0.25, 0.75])
    x = np.array([ratio, *(ratio + (1.0 - ratio) * inner), 1.0])
    signs = np.array([1.0, -1.0, 1.0, -1.0])
    a = b = c = error = 0.0
    for _ in range(EXCHANGES):
        a, b, c, error = np.linalg.solve(
            np.stack([x, x**3, x**5, signs], axis=1), np.ones(4)
        )
        root = np.sqrt(9.0 * b * b - 20.0 * a * c)  # p' = a + 3bx^2 + 5cx^4
        extrema = np.sqrt((np.array([-root, root]) - 3.0 * b) / (10.0 * c))
        following = np.array([ratio, *extrema, 1.0])
        moved = np.abs(following - x).max()
        x = following
        if moved < 1e-13:
            break
    a, b, c = np.array([a, b, c]) / scale
    return (float(a), float(b), float(c)), float(error)


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


def _quintic(M: Weights, coefficients: Sequence[Quintic]) -> Weights:
    """A step a triple, from `M` of unit length."""
    X, restore = _wide_unit(M)
    for a, b, c in coefficients:
        A = X @ X.T
        X = a * X + (b * A + c * A @ A) @ X
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
