import jax
import jax.numpy as jnp
from jaxtyping import Array

from penchant._checks import check_instance
from penchant._types import Parameters, Scalar
from penchant.norms._base import AbstractNorm


class Layerwise(AbstractNorm):
    r"""The largest norm of a leaf, $\max_l\|W_l\|$, on parameters that are a pytree.

    With [`Spectral`][penchant.norms.Spectral] it is the norm in which Muon with exact
    polar factors is steepest descent on a network. Dual to the sum of the leaves' dual
    norms; a steepest direction is one in every leaf.

    Leaves of more than two axes count as matrices with the last axis as columns, those
    of one axis as a single row.

    >>> import penchant as pn
    >>> norm = Layerwise(pn.norms.Linf())
    >>> float(norm([jnp.array([1.0, -3.0]), jnp.array([2.0])]))
    3.0

    Args:
        norm: The norm of each leaf.
    """

    norm: AbstractNorm

    def __check_init__(self):
        check_instance("norm", self.norm, AbstractNorm, "one of penchant.norms")

    @property
    def label(self) -> str:
        """How tables and figures name the norm."""
        return f"{self.norm.label} per layer"

    def __call__(self, w: Parameters) -> Scalar:
        r"""$\max_l\|W_l\|$."""
        return jnp.max(jnp.stack([self.norm(_matrix(x)) for x in jax.tree.leaves(w)]))

    def dual(self, g: Parameters) -> Scalar:
        r"""$\sum_l\|G_l\|_*$."""
        each = [self.norm.dual(_matrix(x)) for x in jax.tree.leaves(g)]
        return jnp.sum(jnp.stack(each))

    def steepest(self, g: Parameters) -> Parameters:
        r"""A $d$ with $\|d\|\le1$ that attains the dual norm: one in each leaf."""
        return jax.tree.map(
            lambda x: jnp.reshape(self.norm.steepest(_matrix(x)), x.shape), g
        )


def _matrix(x: Array) -> Array:
    return jnp.reshape(x, (-1, x.shape[-1])) if x.ndim != 2 else x
