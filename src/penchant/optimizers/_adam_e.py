import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from penchant._checks import check_number, is_traced
from penchant._leaves import as_leaf
from penchant._types import Parameters, Real, Scalar
from penchant.norms import Linf
from penchant.optimizers._base import AbstractOptimizer
from penchant.optimizers._character import Character, Divisor, as_memory_of
from penchant.optimizers._moments import (
    TwoMoments,
    correct,
    decay_both,
    move,
    no_moments,
)
from penchant.problems import ScaledGradient


class AdamE(AbstractOptimizer):
    r"""Adam with another power: $w\leftarrow w-\eta\,m/(v^\lambda+\varepsilon)$.

    `li2025sharpness`. $\lambda=\frac12$ is Adam. At $\lambda=0$ nothing is divided by
    the second moment: gradient descent with the mean momentum of Adam, its step size
    divided by $1+\varepsilon$. Near a manifold of minimisers, with label noise, it
    lowers $\sum_jH_{jj}^{1-\lambda}$. Steps depend on the gradient's scale like its
    power $1-2\lambda$: above $\frac12$ they *grow* as the loss falls.

    >>> import penchant as pn
    >>> float(pn.optimizers.AdamE(exponent=0.25).character().second.exponent)
    0.25

    Args:
        b1: Decay of the first moment, in [0, 1).
        b2: Decay of the second moment, in [0, 1).
        eps: $\varepsilon\ge0$, beside the power.
        exponent: $\lambda\in[0,1)$.
        bias_correction: Divide the moments by $1-\beta^t$.

    Raises:
        ValueError: If an argument is out of its range.
    """

    b1: Real = eqx.field(default=0.9, converter=as_leaf)
    b2: Real = eqx.field(default=0.999, converter=as_leaf)
    eps: Real = eqx.field(default=1e-8, converter=as_leaf)
    exponent: Real = eqx.field(default=0.5, converter=as_leaf)
    bias_correction: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        check_number("b1", self.b1, least=0.0, below=1.0)
        check_number("b2", self.b2, least=0.0, below=1.0)
        check_number("eps", self.eps, least=0.0, finite=True)
        check_number("exponent", self.exponent, least=0.0, below=1.0)

    def init(self, w: Parameters) -> TwoMoments:
        return no_moments(w)

    def character(self) -> Character:
        first = as_memory_of(self.b1, corrected=self.bias_correction)
        second = Divisor(
            "mean",
            self.b2,
            self.eps,
            corrected=self.bias_correction,
            exponent=self.exponent,
        )
        adam = not is_traced(self.exponent) and float(self.exponent) == 0.5
        # only at the exponent 1/2 do steps have a length that gradients do not change
        return Character(Linf() if adam else None, adam, first, second)

    def log_second(self, state: TwoMoments) -> Parameters:
        return state.log_second()

    def update(
        self,
        gradient: ScaledGradient,
        state: TwoMoments,
        w: Parameters,
        step_size: Scalar,
    ) -> tuple[Parameters, TwoMoments]:
        state = decay_both(state, gradient, self.b1, self.b2)
        m, v = state.first, state.second
        if self.bias_correction:
            m = correct(m, self.b1, state.count)
            v = correct(v, self.b2, state.count)
        power, S = jnp.asarray(self.exponent), state.log_frame
        # m / (v^p + eps) = m~ e^{(1-2p)S} / (v~^p + eps e^{-2pS}) in the frame S, and
        # where eps e^{-2pS} leaves the range of floats, m~ e^S / eps
        log_eps = jnp.log(self.eps)

        def ratio(m: Array, v: Array) -> Array:
            some = v > 0
            log_power = power * (jnp.log(jnp.where(some, v, 1.0)) + 2.0 * S)
            log_power = jnp.where(some | (power == 0.0), log_power, -jnp.inf)
            log_power = jnp.where(power == 0.0, 0.0, log_power)
            below = jnp.logaddexp(log_power, log_eps)
            alive = ~jnp.isneginf(below) & (m != 0)
            return m * jnp.where(alive, jnp.exp(jnp.where(alive, S - below, 0.0)), 0.0)

        return move(w, jax.tree.map(ratio, m, v), step_size), state
