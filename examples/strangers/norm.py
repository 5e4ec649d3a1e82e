"""A norm of one's own: the sum of the lengths of a matrix's rows."""

import jax.numpy as jnp

import penchant as pn


class RowSum(pn.norms.AbstractNorm):
    """Its steepest step moves the longest row of the gradient alone."""

    @property
    def label(self):
        return "row sum"

    def __call__(self, w):
        return jnp.sum(jnp.sqrt(jnp.sum(w**2, axis=-1)))

    def steepest(self, g):
        length = jnp.sqrt(jnp.sum(g**2, axis=-1))
        first = jnp.arange(len(length)) == jnp.argmax(length)
        unit = g / jnp.where(length > 0, length, 1.0)[:, None]
        return jnp.where(first[:, None], unit, 0.0)
