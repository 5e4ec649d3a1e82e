import equinox as eqx
import jax
import jax.numpy as jnp

from penchant._checks import check_instance
from penchant._types import Real, Scalar, Weights
from penchant.norms._base import AbstractNorm
from penchant.norms._lp import L1, L2, AbstractLp, Linf


class AbstractLines(AbstractNorm):
    r"""A norm of each row or column of a matrix, and an ℓp norm of these.

    Vectors `(d,)` count as one row.
    """

    norm: eqx.AbstractVar[AbstractLp]
    over: eqx.AbstractVar[AbstractLp]

    def __check_init__(self):
        check_instance("norm", self.norm, AbstractLp, "an ℓp norm")
        check_instance("over", self.over, AbstractLp, "an ℓp norm")

    def _lines(self, w: Weights) -> Weights:
        """The lines as rows."""
        return w[None, :] if w.ndim == 1 else w

    def _back(self, lines: Weights, like: Weights) -> Weights:
        return jnp.reshape(lines, like.shape)

    def __call__(self, w: Weights) -> Scalar:
        return self.over(jax.vmap(self.norm)(self._lines(w)))

    def steepest(self, g: Weights) -> Weights:
        lines = self._lines(g)
        each = jax.vmap(self.norm.steepest)(lines)
        lengths = self.over.steepest(jax.vmap(self.norm.dual)(lines))
        return self._back(lengths[:, None] * each, g)

    def project(self, w: Weights, radius: Real = 1.0) -> Weights:
        lines = self._lines(w)
        if isinstance(self.over, Linf):
            near = jax.vmap(lambda x: self.norm.project(x, radius))(lines)
        elif isinstance(self.norm, L2):  # lengths shrink, directions stay
            lengths = jax.vmap(self.norm)(lines)
            kept = self.over.project(lengths, radius)
            share = kept / jnp.where(lengths > 0, lengths, 1.0)
            near = share[:, None] * lines
        else:
            return super().project(w, radius)
        return self._back(near, w)


class Rowwise(AbstractLines):
    r"""A norm of every row, and of these the largest: $\max_i\|W_{i\cdot}\|$.

    Row-wise normalised descent is steepest in it. With `over` another ℓp norm,
    $\|(\|W_{1\cdot}\|,\dots)\|_p$. Dual to the rows' dual norms under the dual of
    `over`; the steepest direction is one in every row, times that of `over` for their
    dual norms. `project` is there where `over` is `Linf()` or the rows' norm `L2()`.

    >>> import jax.numpy as jnp, penchant as pn
    >>> norm = pn.norms.Rowwise()
    >>> norm(jnp.array([[3.0, 4.0], [0.0, 1.0]])).item()
    5.0
    >>> norm.dual(jnp.array([[3.0, 4.0], [0.0, 1.0]])).item()
    6.0

    Args:
        norm: The ℓp norm of a row.
        over: That of the rows' norms.

    Raises:
        TypeError: If either is no ℓp norm.
    """

    norm: AbstractLp = L2()
    over: AbstractLp = Linf()

    @property
    def conjugate(self) -> "Rowwise":
        return Rowwise(self.norm.conjugate, self.over.conjugate)

    @property
    def label(self) -> str:
        return f"row-wise {self.norm.label}" + _over(self.over, "rows")


class Columnwise(AbstractLines):
    r"""A norm of every column, and of these the largest: $\max_j\|W_{\cdot j}\|$.

    [`Rowwise`][penchant.norms.Rowwise] of the transpose; a vector `(d,)` counts as one
    row, so that its columns are single entries.

    >>> import jax.numpy as jnp, penchant as pn
    >>> pn.norms.Columnwise()(jnp.array([[3.0, 0.0], [4.0, 1.0]])).item()
    5.0

    Args:
        norm: The ℓp norm of a column.
        over: That of the columns' norms.

    Raises:
        TypeError: If either is no ℓp norm.
    """

    norm: AbstractLp = L2()
    over: AbstractLp = Linf()

    @property
    def conjugate(self) -> "Columnwise":
        return Columnwise(self.norm.conjugate, self.over.conjugate)

    @property
    def label(self) -> str:
        return f"column-wise {self.norm.label}" + _over(self.over, "columns")

    def _lines(self, w: Weights) -> Weights:
        return w[:, None] if w.ndim == 1 else w.T

    def _back(self, lines: Weights, like: Weights) -> Weights:
        return jnp.reshape(lines.T, like.shape)


def _over(over: AbstractLp, lines: str) -> str:
    if isinstance(over, Linf):
        return ""
    return f", their sum over {lines}" if isinstance(over, L1) else f" ({over.label})"
