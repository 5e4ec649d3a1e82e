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
    r"""Shampoo: $w\leftarrow w-\eta\,L^{-1/4}\,g\,R^{-1/4}$, with moments that decay.

    $L\leftarrow\beta_2L+(1-\beta_2)gg^\top$ and $R\leftarrow\beta_2R+(1-\beta_2)g^\top
    g$ (`gupta2018shampoo`, which sums in place of averaging). The roots are those of
    pseudo-inverses: a cross-entropy gradient has rank at most $k-1$, and the inverse of
    its singular moments would be rounding. Without memory, `Shampoo(0.0)`, the step is
    the polar factor: spectral descent. There is no $\varepsilon$, so the scale of the
    gradient is never seen.

    Vectors are matrices of one column.

    Args:
        b2: Decay of both moments, in [0, 1).

    Raises:
        ValueError: If `b2` is outside [0, 1).
    """

    b2: Real = eqx.field(default=0.9, converter=as_leaf)

    def __check_init__(self):
        check_number("b2", self.b2, least=0.0, below=1.0)

    def init(self, w: Parameters) -> KroneckerMoments:
        left = jax.tree.map(lambda w: jnp.zeros(2 * (_matrix(w).shape[0],)), w)
        right = jax.tree.map(lambda w: jnp.zeros(2 * (_matrix(w).shape[1],)), w)
        return KroneckerMoments(left, right, jnp.asarray(-jnp.inf))

    def character(self) -> Character:
        if not is_traced(self.b2) and float(self.b2) == 0.0:
            return Character(Spectral(), True, steepest=True)  # the polar factor
        second = Divisor("mean", self.b2, 0.0, exponent=0.25, over="factors")
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
        step = jax.tree.map(
            lambda d, G, L, R: jnp.reshape(
                _fourth_root(L) @ (scale * G) @ _fourth_root(R), d.shape
            ),
            gradient.direction,
            G,
            left,
            right,
        )
        return move(w, step, step_size), KroneckerMoments(left, right, frame)


def _matrix(w: Weights) -> Float[Array, "k d"]:
    return w[:, None] if w.ndim == 1 else w


def _fourth_root(M: Square) -> Square:
    r"""$M^{-1/4}$ on the range of $M$, 0 on its null space."""
    values, U = jnp.linalg.eigh(M)
    resolved = values > RESOLVED * M.shape[0] * values[-1]
    root = jnp.where(resolved, jnp.where(resolved, values, 1.0) ** -0.25, 0.0)
    return (U * root[None, :]) @ U.T
