import equinox as eqx
import jax
import jax.numpy as jnp

from penchant._checks import check_number
from penchant._leaves import as_leaf
from penchant._types import Parameters, Real, Scalar
from penchant.optimizers._base import AbstractOptimizer
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
        check_number("eps", self.eps, least=0.0)
        check_number("initial", self.initial, least=0.0)

    def init(self, w: Parameters) -> Accumulator:
        start = jnp.asarray(self.initial)
        frame = 0.5 * jnp.log(start)
        unit = jnp.where(start > 0, 1.0, 0.0)
        return Accumulator(
            jax.tree.map(lambda w: jnp.full_like(w, unit), w), jnp.asarray(frame)
        )

    def denominators(self, state: Accumulator) -> Parameters:
        r"""$\sqrt S+\varepsilon$, or $\sqrt{S+\varepsilon}$: what steps are divided by.

        At the end of a run these weigh the Euclidean norm whose margin it maximises.
        """
        total = jax.tree.map(jnp.exp, state.log_sum())
        if self.eps_inside:
            return jax.tree.map(lambda s: jnp.sqrt(s + self.eps), total)
        return jax.tree.map(lambda s: jnp.sqrt(s) + self.eps, total)

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
