"""A problem of one's own: a linear classifier whose weights are products, w = u * v."""

import equinox as eqx
import jax
import jax.numpy as jnp

import penchant as pn


class Products(pn.problems.AbstractClassification):
    """Margins $y_i<u*v, x_i>$, of degree 2 in the parameters `(2, d)`."""

    X: jax.Array
    y: jax.Array
    loss: pn.losses.AbstractLoss
    classes: int = eqx.field(static=True, default=2)
    binary: bool = eqx.field(static=True, default=True)
    names: tuple[str, ...] = eqx.field(static=True, default=())

    @property
    def degree(self):
        return 2.0

    @property
    def start(self):
        return jnp.full((2, self.X.shape[1]), 0.1)

    def pair_margins(self, w, rows=None):
        X, y = (self.X, self.y) if rows is None else (self.X[rows], self.y[rows])
        return (y * (X @ (w[0] * w[1])))[:, None]
