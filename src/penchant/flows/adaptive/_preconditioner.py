"""What divides the gradient in the flow of each adaptive method."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from penchant._types import Scalar
from penchant.optimizers import (
    AbstractOptimizer,
    AdaGrad,
    Adam,
    GradientDescent,
    RMSProp,
)
from penchant.optimizers._adagrad import Accumulator
from penchant.optimizers._moments import TwoMoments
from penchant.problems import AbstractClassification

Flat = Float[Array, " p"]

NONE, SUM, MEAN = "none", "sum", "mean"


class Preconditioner(eqx.Module):
    r"""The $h$ of a flow $\dot w=-\eta\,h\odot g$.

    `kind`: no memory ($h$ constant), the sum of $g^2$, or its running mean with rate
    $1-\beta_2$. `gain` multiplies the step: momentum $\mu$ makes it $1/(1-\mu)$.
    """

    kind: str = eqx.field(static=True)
    eps: Scalar
    rate: Scalar
    gain: Scalar
    inside: bool = eqx.field(default=False, static=True)
    corrected: bool = eqx.field(default=False, static=True)

    @classmethod
    def of(cls, optimizer: AbstractOptimizer) -> "Preconditioner":
        """That of an optimizer.

        Raises:
            TypeError: If no adaptive flow describes it.
        """
        one, zero = jnp.ones(()), jnp.zeros(())
        if isinstance(optimizer, GradientDescent):
            momentum = jnp.asarray(optimizer.momentum)
            return cls(NONE, zero, zero, 1.0 / (1.0 - momentum))
        if isinstance(optimizer, AdaGrad):
            return cls(SUM, optimizer.eps, zero, one, optimizer.eps_inside)
        if isinstance(optimizer, (Adam, RMSProp)):
            inside, corrected = optimizer.eps_inside, optimizer.bias_correction
            rate = 1.0 - jnp.asarray(optimizer.b2)
            return cls(MEAN, optimizer.eps, rate, one, inside, corrected)
        raise TypeError(
            "optimizer must be GradientDescent, AdaGrad, RMSProp or Adam for an "
            f"adaptive flow; got {type(optimizer).__name__}."
        )

    def log_below(self, log_v: Array, log_time: Array) -> Array:
        r"""$-\log h$ at a memory, entry by entry.

        $\frac12\log(v+\varepsilon)$ or $\log(\sqrt v+\varepsilon)$; $-\infty$ where
        there is neither memory nor $\varepsilon$.
        """
        if self.kind == NONE:
            return jnp.zeros_like(log_v)
        if self.corrected:
            gathered = jnp.log(-jnp.expm1(-self.rate * jnp.exp(log_time)))
            log_v = jnp.where(jnp.isneginf(log_v), log_v, log_v - gathered)
        log_eps = jnp.log(jnp.asarray(self.eps))
        if self.inside:
            return 0.5 * jnp.logaddexp(log_v, log_eps)
        return jnp.logaddexp(0.5 * log_v, log_eps)

    def h(
        self, log_v: Flat, G: Flat, log_loss: Scalar, log_time: Scalar
    ) -> tuple[Flat, Scalar]:
        r"""$h$ as entries in [0, 1] times $e^{-S}$, and $S$.

        $G=g/\mathcal L$. A coordinate without gradient, now and before, has $h=0$; one
        whose memory is empty yet moves as signs do: the limit of its first instants.
        """
        log_below = self.log_below(log_v, log_time)
        first = jnp.log(jnp.abs(G)) + log_loss
        log_below = jnp.where(jnp.isneginf(log_below), first, log_below)
        alive = ~jnp.isneginf(log_below)
        S = jnp.min(jnp.where(alive, log_below, jnp.inf))
        return jnp.where(alive, jnp.exp(S - log_below), 0.0), S

    def potential(self, v: Flat) -> Scalar:
        r"""$\sum_i\phi(v_i)$ with $\phi'(v)=h$: what AdaGrad's invariant adds up.

        $2\sqrt{\varepsilon+v}$, or $2(\sqrt v-\varepsilon\log(\sqrt v+\varepsilon))$.
        """
        eps = jnp.asarray(self.eps)
        if self.inside:
            return jnp.sum(2.0 * jnp.sqrt(v + eps))
        root = jnp.sqrt(v)
        some = eps > 0
        log = jnp.log(root + jnp.where(some, eps, 1.0))
        return jnp.sum(2.0 * (root - jnp.where(some, eps * log, 0.0)))

    def share(self, log_v: Flat) -> Flat:
        r"""$\kappa_i$, the share of $\varepsilon$ in what divides: 0 none, 1 all."""
        log_eps = jnp.log(jnp.asarray(self.eps))
        log_below = log_v if self.inside else 0.5 * log_v
        return jnp.exp(log_eps - jnp.logaddexp(log_eps, log_below))


def log_memory(
    problem: AbstractClassification, optimizer: AbstractOptimizer, state: object
) -> np.ndarray:
    r"""$\log v$ from the state of an optimizer, flattened; $-\infty$ where it is 0."""
    if isinstance(state, Accumulator):
        value, frame = state.value, state.log_frame
    elif isinstance(state, TwoMoments):
        value, frame = state.second, state.log_frame
    else:
        return np.full(problem.parameters, -np.inf)
    v = np.asarray(problem.flat(value))
    with np.errstate(divide="ignore"):
        return np.where(v > 0, np.log(v) + 2.0 * float(frame), -np.inf)
