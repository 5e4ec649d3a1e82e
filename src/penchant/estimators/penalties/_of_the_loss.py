"""Penalties that are made of the training loss itself."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from penchant._checks import check_number
from penchant._types import Numbers, Parameters, Real, Scalar
from penchant.estimators.penalties._base import AbstractPenalty, total
from penchant.estimators.penalties._entrywise import as_optional_leaf
from penchant.problems import AbstractProblem


class GradientNorm(AbstractPenalty):
    r"""$\|\nabla\mathcal L(w)\|_2^2$, of the whole training loss.

    Finite steps of gradient descent act like $\frac\eta4\|\nabla\mathcal L\|^2$
    (`barrett2021implicit`). Its gradient $2H\nabla\mathcal L$ is by a product with the
    Hessian. For ReLU that misses the kinks, which are of the same order in $\eta$:
    `secant` replaces the product by
    $2\left(\nabla\mathcal L(w)-\nabla\mathcal L(w-s\nabla\mathcal L)\right)/s$.

    Args:
        secant: $s>0$, usually the step size; None for the Hessian.

    Raises:
        ValueError: If `secant` is not positive.
    """

    secant: Real | None = eqx.field(default=None, converter=as_optional_leaf)

    formula = "‖∇L‖²"

    def __check_init__(self):
        if self.secant is not None:
            check_number("secant", self.secant, above=0.0, finite=True)

    def __call__(self, w: Parameters) -> Scalar:
        raise TypeError(
            "GradientNorm is a function of the loss as well: value(w, problem)."
        )

    def value(self, w: Parameters, problem: AbstractProblem | None) -> Scalar:
        g = _needed(problem).scaled_gradient(w).value()
        return total(jax.tree.map(lambda x: jnp.sum(x**2), g))

    def gradient(self, w: Parameters, problem: AbstractProblem | None) -> Parameters:
        loss = _needed(problem)
        slope = lambda w: loss.scaled_gradient(w).value()
        g = slope(w)
        if self.secant is None:
            product = jax.jvp(slope, (w,), (g,))[1]
            return jax.tree.map(lambda x: 2.0 * x, product)
        s = self.secant
        after = slope(jax.tree.map(lambda x, d: x - s * d, w, g))
        return jax.tree.map(lambda x, y: 2.0 * (x - y) / s, g, after)


class NoiseGaussNewton(AbstractPenalty):
    r"""$\frac1{2n}\sum_i\operatorname{tr}(J_i^\top S_iJ_i)$: noise to second order.

    What noise of unit variance, entering the model at any place, adds to the loss on
    average, by the Gauss--Newton part of its second order: $J_i$ is the Jacobian of the
    outputs of sample `i` in its noise, at none, and $S_i$ the Hessian of the loss in
    the outputs. Inverted dropout of rate $\delta$ multiplies by $1+\xi$ with variance
    $\gamma=\frac\delta{1-\delta}$, the coefficient to expect (`wei2020implicit`).

    It leaves out the part with the network's own second derivative, which vanishes with
    the residuals and need not be small before, and all higher orders.

    Args:
        apply: `apply(params, x, noise)`, outputs of *one* sample.
        noise: A pytree of zeros: the noise of one sample.
        loss: `loss(outputs, y)`, the loss of one sample, a number.
        X: `(n, ...)` examples.
        y: `(n, ...)` targets.
    """

    apply: Callable[..., Any] = eqx.field(static=True)
    noise: Any
    loss: Callable[..., Any] = eqx.field(static=True)
    X: Array = eqx.field(converter=jnp.asarray)
    y: Array = eqx.field(converter=jnp.asarray)

    formula = "(1/2n) Σ tr(JᵀSJ)"

    def __call__(self, w: Parameters) -> Scalar:
        return jnp.mean(jax.vmap(lambda x, y: self._one(w, x, y))(self.X, self.y))

    def _one(self, w: Parameters, x: Array, y: Array) -> Scalar:
        outputs = lambda noise: jnp.atleast_1d(self.apply(w, x, noise))
        z = outputs(self.noise)
        of = lambda z: self.loss(z if z.shape != (1,) or y.ndim else z[0], y)
        S = jax.hessian(of)(z)
        J = jax.jacrev(outputs)(self.noise)
        # tr(JᵀSJ), summed over the places where noise enters
        parts = [
            jnp.sum(
                jnp.reshape(j, (z.shape[0], -1))
                * (S @ jnp.reshape(j, (z.shape[0], -1)))
            )
            for j in jax.tree.leaves(J)
        ]
        return 0.5 * total(parts)

    def __repr__(self) -> str:
        return f"NoiseGaussNewton(n={len(self.X)})"


class Expected(AbstractPenalty):
    r"""$\mathbb E_\xi\mathcal L(w;\xi)-\mathcal L(w)$, over a given set of draws.

    What noise adds to a loss, exactly for these draws: all $2^d$ masks of a small
    model, or a sample of them.

    Args:
        noisy: `noisy(params, draw)`, the mean loss at one draw.
        draws: `(m, ...)` draws.
        weights: `(m,)` their probabilities; None for equal ones.
        clean: `clean(params)`, the loss without noise.
    """

    noisy: Callable[..., Any] = eqx.field(static=True)
    draws: Array = eqx.field(converter=jnp.asarray)
    weights: Array
    clean: Callable[..., Any] = eqx.field(static=True)

    formula = "E L(w; ξ) − L(w)"

    def __init__(
        self,
        noisy: Callable[..., Any],
        draws: Numbers,
        clean: Callable[..., Any],
        weights: Numbers | None = None,
    ):
        self.noisy, self.clean = noisy, clean
        self.draws = jnp.asarray(draws)
        count = self.draws.shape[0]
        self.weights = (
            jnp.full(count, 1.0 / count) if weights is None else jnp.asarray(weights)
        )

    def __call__(self, w: Parameters) -> Scalar:
        losses = jax.vmap(lambda draw: self.noisy(w, draw))(self.draws)
        return jnp.sum(self.weights * losses) - self.clean(w)

    def __repr__(self) -> str:
        return f"Expected({len(self.draws)} draws)"


def _needed(problem: AbstractProblem | None) -> AbstractProblem:
    if problem is None:
        raise TypeError(
            "problem must be given: GradientNorm is a function of the loss."
        )
    return problem
