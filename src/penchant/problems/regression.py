"""Regression: half the square of the residual, with noise on the labels if asked."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from penchant._arrays import numbers
from penchant._checks import check_number
from penchant._leaves import as_leaf
from penchant._types import Numbers, Parameters, Real, Tree
from penchant.problems._base import read_params
from penchant.problems._tracing import shape_of
from penchant.problems.objective import AbstractObjective, check_start, read_data


class Regression(AbstractObjective):
    r"""Squared loss, $\mathcal L(w)=\frac1n\sum_i\frac12\|f(w,x_i)-y_i\|^2$.

    With `label_noise` $\delta$ every step sees $y+\delta\xi$ with fresh
    $\xi\sim N(0,1)$, `jax.random.normal(key_t, y_batch.shape)` with the key of step `t`
    (see [`Objective`][penchant.Objective]); what is recorded is the loss without noise.

    The loss is as exact as its residual: with targets 0 it is followed to
    $10^{-300}$. With others it ends at the rounding of $f-y$, about $10^{-32}y^2$,
    which is no limit and no rate.

    >>> import jax.numpy as jnp
    >>> import penchant as pn
    >>> apply = lambda w, X: X @ (w["u"] ** 2 - w["v"] ** 2)
    >>> w = {"u": jnp.full(4, 0.5), "v": jnp.full(4, 0.5)}
    >>> X = jnp.array([[1.0, 1.0, -1.0, 1.0], [1.0, -1.0, 1.0, 1.0]])
    >>> problem = pn.Regression(apply, w, X, [1.0, 0.5], label_noise=0.1)
    >>> float(problem.loss(w))
    0.3125

    Args:
        apply: `apply(params, X_batch)`, of the shape of a batch of `y`.
        params: Parameters from which runs start unless told otherwise.
        X: `(n, ...)` examples.
        y: `(n,)` targets, or `(n, ...)` for several outputs, whose squares add up.
        label_noise: $\delta\ge0$.

    Raises:
        TypeError: If an argument is of the wrong kind, or JAX can't trace `apply`.
        ValueError: If shapes disagree, a value is NaN or infinite, or `label_noise` is
            negative.
    """

    apply: Callable[[Parameters, Any], Any] = eqx.field(static=True)
    params: Parameters
    data: tuple[Float[Array, "n ..."], Float[Array, "n ..."]]
    label_noise: Real = eqx.field(converter=as_leaf)
    random: bool = eqx.field(static=True)

    def __init__(
        self,
        apply: Callable[[Parameters, Any], Any],
        params: Tree,
        X: Numbers,
        y: Numbers,
        *,
        label_noise: Real = 0.0,
    ):
        if not callable(apply):
            raise TypeError(
                "apply must be a function of parameters and examples; "
                f"got {type(apply).__name__}."
            )
        check_number("label_noise", label_noise, least=0.0, finite=True)
        self.apply = apply
        self.params = read_params(params)
        self.data = read_data((_numbers("X", X), _numbers("y", y)))
        self.label_noise = label_noise
        self.random = float(np.asarray(label_noise)) > 0
        seen = shape_of("apply", apply, self.params, self.X)
        if getattr(seen, "shape", None) != self.y.shape:
            raise ValueError(
                f"apply must return the shape of y, {self.y.shape}; got "
                f"{getattr(seen, 'shape', type(seen).__name__)}."
            )
        check_start("apply", self.losses(self.params))

    @property
    def X(self) -> Float[Array, "n ..."]:
        """The examples."""
        return self.data[0]

    @property
    def y(self) -> Float[Array, "n ..."]:
        """The targets."""
        return self.data[1]

    def residuals(
        self, w: Parameters, rows: Any = None, key: PRNGKeyArray | None = None
    ) -> Float[Array, "b ..."]:
        """$f(w,x)-y$, of the shape of `y`."""
        return self._residuals(w, self.batch(rows), key)

    def losses_of(
        self, w: Parameters, batch: Tree, key: PRNGKeyArray | None
    ) -> Float[Array, " b"]:
        r = self._residuals(w, batch, key)
        return 0.5 * jnp.sum(r.reshape(r.shape[0], -1) ** 2, axis=1)

    def _residuals(self, w: Parameters, batch: Tree, key: PRNGKeyArray | None) -> Array:
        X, y = batch
        if key is not None:
            y = y + self.label_noise * jax.random.normal(key, y.shape)
        return jnp.asarray(self.apply(w, X), dtype=float) - y

    @property
    def about(self) -> str:
        how = ", without label noise" if self.random else ""
        return f"the mean of half the squared residual{how}"

    def __repr__(self) -> str:
        name = getattr(self.apply, "__name__", type(self.apply).__name__)
        noise = float(np.asarray(self.label_noise))
        kind = f", label_noise={noise:g}" if self.random else ""
        return f"Regression({name}, n={self.samples}, p={self.parameters}{kind})"


def _numbers(name: str, values: Numbers) -> np.ndarray:
    array = numbers(name, values)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; got NaN or infinite entries.")
    return array
