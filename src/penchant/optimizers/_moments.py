r"""Moments of gradients of any scale.

A moment is stored as $\tilde m$ with $m=\tilde m\,e^{S}$, the log frame $S$ running
with the optimizer. Per step a moment shrinks at most by its decay, so the frame

$$S_t = \max(S_{t-1} + \log(\text{decay}),\ s_t),$$

$s_t$ being the log scale of the new gradient, keeps $\tilde m$ of order one for good:
both coefficients below are at most one, and no loss is too small
(`fan2025spectral`, `baek2026persample` train on losses down to $e^{-10^6}$). Second
moments have the frame $2S$, and decay by $\sqrt{\beta_2}$ in it.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from penchant._types import Parameters, Real, Scalar
from penchant.problems import ScaledGradient

LEAST = 1e-300
"""Second moments in their frame count as this where they are below it."""


class FirstMoment(eqx.Module):
    r"""$m$ as `value` $\cdot e^{S}$ with `log_frame` $S$ ($-\infty$ before a step)."""

    value: Parameters
    log_frame: Scalar


def memory_of(decay: Real, w: Parameters) -> FirstMoment | None:
    """The memory of a rule with this decay before its first step; None without one."""
    return None if isinstance(decay, float) else no_first_moment(w)


def remember(
    memory: FirstMoment | None, gradient: ScaledGradient, keep: Real, add: Real
) -> FirstMoment:
    r"""The memory with `gradient` in it; without one, the gradient itself."""
    if memory is None:
        return FirstMoment(gradient.direction, gradient.log_scale)
    return decay_first(memory, gradient, jnp.asarray(keep), jnp.asarray(add))


class TwoMoments(eqx.Module):
    r"""$m=$ `first` $\cdot e^{S}$, $v=$ `second` $\cdot e^{2S}$, and steps taken."""

    first: Parameters
    second: Parameters
    log_frame: Scalar
    count: Scalar

    def log_second(self) -> Parameters:
        r"""$\log v$."""
        return jax.tree.map(lambda v: jnp.log(v) + 2.0 * self.log_frame, self.second)


def no_first_moment(w: Parameters) -> FirstMoment:
    """The zero moment."""
    return FirstMoment(jax.tree.map(jnp.zeros_like, w), jnp.asarray(-jnp.inf))


def no_moments(w: Parameters) -> TwoMoments:
    """Zero first and second moments."""
    zeros = jax.tree.map(jnp.zeros_like, w)
    return TwoMoments(zeros, zeros, jnp.asarray(-jnp.inf), jnp.zeros(()))


def decay_first(
    moment: FirstMoment, gradient: ScaledGradient, keep: Scalar, add: Scalar
) -> FirstMoment:
    r"""$m\leftarrow\text{keep}\cdot m+\text{add}\cdot g$."""
    log_keep = jnp.log(keep)
    frame = jnp.maximum(moment.log_frame + log_keep, gradient.log_scale)
    kept = jnp.exp(log_keep + (moment.log_frame - frame))
    added = add * jnp.exp(gradient.log_scale - frame)
    value = jax.tree.map(
        lambda m, g: kept * m + added * g, moment.value, gradient.direction
    )
    return FirstMoment(value, frame)


def decay_both(
    moments: TwoMoments, gradient: ScaledGradient, b1: Real, b2: Real
) -> TwoMoments:
    r"""$m\leftarrow\beta_1m+(1-\beta_1)g$ and $v\leftarrow\beta_2v+(1-\beta_2)g^2$."""
    log_b1, log_b2 = jnp.log(b1), jnp.log(b2)
    frame = jnp.maximum(moments.log_frame + 0.5 * log_b2, gradient.log_scale)
    shift = moments.log_frame - frame
    # decays enter as logarithms: at a decay of 0 they are -inf, never 0 * inf
    kept1, kept2 = jnp.exp(log_b1 + shift), jnp.exp(log_b2 + 2.0 * shift)
    scale = jnp.exp(gradient.log_scale - frame)
    added1, added2 = (1.0 - b1) * scale, (1.0 - b2) * scale**2
    g = gradient.direction
    first = jax.tree.map(lambda m, g: kept1 * m + added1 * g, moments.first, g)
    second = jax.tree.map(lambda v, g: kept2 * v + added2 * g**2, moments.second, g)
    return TwoMoments(first, second, frame, moments.count + 1.0)


def adaptive_ratio(
    m: Parameters, v: Parameters, log_frame: Scalar, eps: Real, inside: bool
) -> Parameters:
    r"""$m/(\sqrt v+\varepsilon)$, or $m/\sqrt{v+\varepsilon}$ for `inside`; 0 for 0/0.

    In the frame $\varepsilon$ reads $\varepsilon e^{-S}$, or $\varepsilon e^{-2S}$. It
    grows without bound as the loss falls; past $10^{308}$ the ratio is 0, as it is
    outside the frame past $10^{-308}$.
    """
    # a floor under v in place of a guard about the division, which took as long as
    # the rest of a step: m is 0 where v is, and derivatives at v = 0 stay finite
    if inside:
        framed = jnp.exp(jnp.log(eps) - 2.0 * log_frame)
        root = lambda v: jnp.sqrt(jnp.maximum(v + framed, LEAST))
    else:
        framed = jnp.exp(jnp.log(eps) - log_frame)
        root = lambda v: jnp.sqrt(jnp.maximum(v, LEAST)) + framed
    return jax.tree.map(lambda m, v: m / root(v), m, v)


def correct(moment: Parameters, decay: Real, count: Scalar) -> Parameters:
    r"""The moment divided by $1-\beta^t$, the weight an EMA from 0 has gathered."""
    # at a decay of 0 the count is multiplied by no infinite logarithm: derivatives
    # along it would be NaN
    remembers = jnp.asarray(decay) > 0
    log_decay = jnp.log(jnp.where(remembers, decay, 1.0))
    weight = jnp.where(remembers, -jnp.expm1(count * log_decay), 1.0)
    return jax.tree.map(lambda m: m / weight, moment)


def move(w: Parameters, direction: Parameters, length: Scalar) -> Parameters:
    """`w - length * direction`, leaf by leaf."""
    return jax.tree.map(lambda w, d: w - length * d, w, direction)
