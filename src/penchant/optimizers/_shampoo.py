import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from penchant._checks import check_number, is_traced
from penchant._leaves import as_leaf
from penchant._types import Parameters, Real, Scalar, Weights
from penchant.norms import Spectral
from penchant.optimizers._base import AbstractOptimizer
from penchant.optimizers._character import Character, Divisor
from penchant.optimizers._moments import move
from penchant.problems import ScaledGradient

Square = Float[Array, "k k"]

RESOLVED = 1e-14
"""Eigenvalues of a second moment below this share of the largest, a row, are rounding:
they are sums of squares, so this is $10^{-7}$ of the largest singular value."""


class KroneckerMoments(eqx.Module):
    r"""$L$ and $R$ as `left` and `right` times $e^{2S}$, $S$ = `log_frame`."""

    left: Parameters
    right: Parameters
    log_frame: Scalar


class Shampoo(AbstractOptimizer):
    r"""Shampoo: $w\leftarrow w-\eta\,L^{-p}\,g\,R^{-p}$, with moments that decay.

    $L\leftarrow\beta_2L+(1-\beta_2)gg^\top$ and $R\leftarrow\beta_2R+(1-\beta_2)g^\top
    g$ (`gupta2018shampoo`, which sums in place of averaging). The roots are those of
    pseudo-inverses: a cross-entropy gradient has rank at most $k-1$, and the inverse of
    its singular moments would be rounding. Without memory, `Shampoo(0.0)`, the step is
    the polar factor: spectral descent. With $p=\frac14$ and $\varepsilon=0$ the scale
    of the gradient is never seen; at $p=\frac12$ steps grow as gradients fall, like
    their inverse. With $\varepsilon$ the moments are $L+\varepsilon I$ and
    $R+\varepsilon I$.

    Vectors are matrices of one column.

    >>> import penchant as pn
    >>> pn.optimizers.Shampoo(b2=0.99, exponent=0.5).character().normalised
    False

    Args:
        b2: Decay of both moments, in [0, 1).
        eps: $\varepsilon\ge0$, added to the moments.
        exponent: $p$ on each side, in (0, 1); $\frac14$ is Shampoo's own, $\frac12$
            that of later versions.

    Raises:
        ValueError: If an argument is out of its range.
    """

    b2: Real = eqx.field(default=0.9, converter=as_leaf)
    eps: Real = eqx.field(default=0.0, converter=as_leaf)
    exponent: Real = eqx.field(default=0.25, converter=as_leaf)

    def __check_init__(self):
        check_number("b2", self.b2, least=0.0, below=1.0)
        check_number("eps", self.eps, least=0.0, finite=True)
        check_number("exponent", self.exponent, above=0.0, below=1.0)

    def init(self, w: Parameters) -> KroneckerMoments:
        left = jax.tree.map(lambda w: jnp.zeros(2 * (_matrix(w).shape[0],)), w)
        right = jax.tree.map(lambda w: jnp.zeros(2 * (_matrix(w).shape[1],)), w)
        return KroneckerMoments(left, right, jnp.asarray(-jnp.inf))

    def character(self) -> Character:
        values = (self.b2, self.eps, self.exponent)
        known = not any(is_traced(value) for value in values)
        if known and [float(value) for value in values] == [0.0, 0.0, 0.25]:
            return Character(Spectral(), True, steepest=True)  # the polar factor
        second = Divisor(
            "mean",
            self.b2,
            self.eps,
            eps_inside=True,
            exponent=self.exponent,
            over="factors",
        )
        if known and float(self.exponent) != 0.25:
            return Character(None, False, None, second)
        return Character(Spectral(), True, None, second)

    def update(
        self,
        gradient: ScaledGradient,
        state: KroneckerMoments,
        w: Parameters,
        step_size: Scalar,
    ) -> tuple[Parameters, KroneckerMoments]:
        log_b2 = jnp.log(self.b2)
        frame = jnp.maximum(state.log_frame + 0.5 * log_b2, gradient.log_scale)
        kept = jnp.exp(log_b2 + 2.0 * (state.log_frame - frame))
        scale = jnp.exp(gradient.log_scale - frame)
        added = (1.0 - self.b2) * scale**2
        G = jax.tree.map(_matrix, gradient.direction)
        left = jax.tree.map(lambda L, G: kept * L + added * G @ G.T, state.left, G)
        right = jax.tree.map(lambda R, G: kept * R + added * G.T @ G, state.right, G)
        eps = jnp.exp(jnp.log(self.eps) - 2.0 * frame)
        power = lambda M: _inverse_power(M, self.exponent, eps)
        step = jax.tree.map(
            lambda d, G, L, R: jnp.reshape(power(L) @ (scale * G) @ power(R), d.shape),
            gradient.direction,
            G,
            left,
            right,
        )
        # L^-p g R^-p is e^{(1-4p)S} times what it is in the frame; at p = 1/4 this is 1
        length = step_size * jnp.exp((1.0 - 4.0 * self.exponent) * frame)
        return move(w, step, length), KroneckerMoments(left, right, frame)


def _matrix(w: Weights) -> Float[Array, "k d"]:
    return w[:, None] if w.ndim == 1 else w


def _inverse_power(M: Square, power: Real, eps: Scalar) -> Square:
    r"""$(M+\varepsilon)^{-p}$; without $\varepsilon$ on the range of $M$, else 0."""
    values, U = jnp.linalg.eigh(M)
    resolved = values > RESOLVED * M.shape[0] * values[-1]
    base = jnp.where(resolved, values, 0.0) + eps
    root = jnp.where(base > 0, jnp.where(base > 0, base, 1.0) ** -power, 0.0)
    return (U * root[None, :]) @ U.T
