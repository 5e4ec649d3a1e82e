import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int
from numpy.typing import ArrayLike

from penchant._types import Real, Scalar, Weights
from penchant.norms._base import AbstractNorm


class Blockwise(AbstractNorm):
    r"""The largest root mean square of a block, $\max_B\|W_B\|_2/\sqrt{|B|}$.

    What divides every block of entries by its own root mean square is steepest in it.
    Dual to $\sum_B\sqrt{|B|}\,\|G_B\|_2$; the steepest direction is
    $\sqrt{|B|}\,G_B/\|G_B\|_2$ in every block.

    It is a norm of arrays of the shape of `blocks`, and of no others.

    >>> import jax.numpy as jnp, penchant as pn
    >>> norm = pn.norms.Blockwise([[0, 0], [1, 1]])
    >>> norm(jnp.array([[3.0, 3.0], [0.0, 1.0]])).item()
    3.0

    Args:
        blocks: The number of each entry's block, whole numbers shaped like the weights.

    Raises:
        TypeError: If a number is not whole.
    """

    blocks: Int[Array, "..."]

    def __init__(self, blocks: ArrayLike):
        numbers = np.asarray(blocks)
        if numbers.dtype.kind not in "iu" or numbers.size == 0:
            raise TypeError(
                "blocks must be whole numbers, shaped like the weights; got "
                f"{blocks!r:.60}."
            )
        _, places = np.unique(numbers, return_inverse=True)
        self.blocks = jnp.asarray(np.reshape(places, numbers.shape))

    @property
    def count(self) -> int:
        """The number of blocks."""
        return int(np.max(np.asarray(self.blocks))) + 1

    @property
    def label(self) -> str:
        """How tables and figures name the norm."""
        return f"root mean square of {self.count} blocks"

    def _sums(self, x: Weights) -> Array:
        return jax.ops.segment_sum(
            jnp.ravel(x), jnp.ravel(self.blocks), num_segments=self.count
        )

    def _means(self, w: Weights) -> Array:
        """Root mean squares, one a block; their derivative at 0 is 0."""
        squares = self._sums(jnp.square(w)) / self._sums(jnp.ones_like(w))
        some = squares > 0
        return jnp.where(some, jnp.sqrt(jnp.where(some, squares, 1.0)), 0.0)

    def __call__(self, w: Weights) -> Scalar:
        r"""$\max_B\|W_B\|_2/\sqrt{|B|}$."""
        return jnp.max(self._means(w))

    def dual(self, g: Weights) -> Scalar:
        r"""$\sum_B\sqrt{|B|}\,\|G_B\|_2$."""
        return jnp.sum(self._sums(jnp.ones_like(g)) * self._means(g))

    def steepest(self, g: Weights) -> Weights:
        r"""Every block over its own root mean square, 0 where that is 0."""
        size = self._means(g)[self.blocks]
        return jnp.where(size > 0, g / jnp.where(size > 0, size, 1.0), 0.0)

    def project(self, w: Weights, radius: Real = 1.0) -> Weights:
        """Blocks that are longer are cut to length."""
        size = self._means(w)[self.blocks]
        return w * jnp.minimum(1.0, radius / jnp.where(size > 0, size, radius))
