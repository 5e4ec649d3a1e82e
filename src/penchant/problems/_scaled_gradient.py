import equinox as eqx
import jax
import jax.numpy as jnp

from penchant._types import Parameters, Scalar


class ScaledGradient(eqx.Module):
    r"""A gradient $g = d\,e^{s}$: a `direction` $d$ of order 1 and its `log_scale` $s$.

    Optimizers receive gradients in this form, so that a rule that ignores the scale
    never meets it, and one that doesn't combines scales by adding logarithms.
    """

    direction: Parameters
    log_scale: Scalar

    def value(self) -> Parameters:
        r"""The gradient itself; 0 where the loss is below $e^{-745}$."""
        return jax.tree.map(lambda d: d * jnp.exp(self.log_scale), self.direction)
