import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from penchant._checks import as_numbers, check_number
from penchant._leaves import as_leaf
from penchant._types import Parameters, Real, Scalar
from penchant.norms import Linf, Mahalanobis
from penchant.optimizers._base import AbstractOptimizer
from penchant.optimizers._character import Character, Divisor
from penchant.optimizers._moments import adaptive_ratio, move
from penchant.problems import ScaledGradient


class Accumulator(eqx.Module):
    r"""$\sum_\tau g_\tau^2$ as `value` $\cdot e^{2S}$, $S$ = `log_frame`."""

    value: Parameters
    log_frame: Scalar

    def log_sum(self) -> Parameters:
        r"""$\log\sum_\tau g_\tau^2$."""
        return jax.tree.map(lambda v: jnp.log(v) + 2.0 * self.log_frame, self.value)


class AdaGrad(AbstractOptimizer):
    r"""AdaGrad: $w\leftarrow w-\eta\,g/(\sqrt{\sum_{\tau\le t}g_\tau^2}+\varepsilon)$.

    The sum (`duchi2011adagrad`) includes the current gradient and starts at
    `initial`. It never decays, so the early gradients fix it: its frame is the largest
    scale seen, and additions that underflow in it are those that would not change it.

    Args:
        eps: $\varepsilon\ge0$.
        eps_inside: $\sqrt{\Sigma+\varepsilon}$ in place of $\sqrt\Sigma+\varepsilon$.
        initial: What every accumulator holds at the start, $\ge0$.

    Raises:
        ValueError: If `eps` or `initial` is negative.
    """

    eps: Real = eqx.field(default=1e-10, converter=as_leaf)
    eps_inside: bool = eqx.field(default=False, static=True)
    initial: Real = eqx.field(default=0.0, converter=as_leaf)

    def __check_init__(self):
        check_number("eps", self.eps, least=0.0, finite=True)
        check_number("initial", self.initial, least=0.0)

    def init(self, w: Parameters) -> Accumulator:
        start = jnp.asarray(self.initial)
        frame = 0.5 * jnp.log(start)
        unit = jnp.where(start > 0, 1.0, 0.0)
        return Accumulator(
            jax.tree.map(lambda w: jnp.full_like(w, unit), w), jnp.asarray(frame)
        )

    def character(self) -> Character:
        return Character(
            Linf(), True, None, Divisor("sum", 1.0, self.eps, self.eps_inside)
        )

    def log_second(self, state: Accumulator) -> Parameters:
        return state.log_sum()

    def denominators(self, state: Accumulator) -> Parameters:
        r"""$\sqrt S+\varepsilon$, or $\sqrt{S+\varepsilon}$: what steps are divided by.

        At the end of a run these weigh the Euclidean norm whose margin it maximises;
        [`norm`][penchant.optimizers.AdaGrad.norm] is that norm.
        """
        divisor = Divisor("sum", 1.0, self.eps, self.eps_inside)
        return jax.tree.map(lambda v: jnp.exp(divisor.log_below(v)), state.log_sum())

    def norm(self, state: Accumulator) -> Mahalanobis:
        """The Euclidean norm that a state weighs, its largest weight scaled to 1.

        Of the array's shape for parameters that are one array, else flat.
        """
        divisor = Divisor("sum", 1.0, self.eps, self.eps_inside)
        log_v = jax.tree.leaves(state.log_sum())
        if len(log_v) > 1:
            log_v = [jnp.concatenate([jnp.ravel(v) for v in log_v])]
        return accumulated_norm(divisor.log_below(log_v[0]))

    def update(
        self,
        gradient: ScaledGradient,
        state: Accumulator,
        w: Parameters,
        step_size: Scalar,
    ) -> tuple[Parameters, Accumulator]:
        frame = jnp.maximum(state.log_frame, gradient.log_scale)
        kept = jnp.exp(2.0 * (state.log_frame - frame))
        scale = jnp.exp(gradient.log_scale - frame)
        g = jax.tree.map(lambda d: scale * d, gradient.direction)
        total = jax.tree.map(lambda s, g: kept * s + g**2, state.value, g)
        ratio = adaptive_ratio(g, total, frame, self.eps, self.eps_inside)
        return move(w, ratio, step_size), Accumulator(total, frame)


WIDEST = 1e6
"""Largest ratio of weights in a norm that accumulators weigh."""


def accumulated_norm(log_below: Array) -> Mahalanobis:
    r"""The norm $\sqrt{\sum_jw_j^2/h_j}$ of $-\log h$, scaled to a largest weight of 1.

    A parameter that has never had a gradient has $1/h=0$ and never moves. It gets
    $10^{-6}$ of the largest weight: a feature that is 0 in all samples then weighs
    something and decides nothing, and a network's parameter keeps its share of a norm
    that grows.
    """
    log_below = as_numbers("log_below", log_below)
    relative = jnp.exp(log_below - jnp.max(log_below))
    return Mahalanobis(jnp.maximum(relative, 1.0 / WIDEST))
