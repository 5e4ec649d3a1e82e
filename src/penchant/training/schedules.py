r"""Step sizes $\eta_t$, $t=0,1,2,\dots$: numbers, power laws, or any optax schedule."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from penchant._checks import as_numbers, check_count, check_instance, check_number
from penchant._leaves import as_leaf
from penchant._pretty import pretty
from penchant._types import Real, StepSize, Tree
from penchant._words import read_number
from penchant.norms import L2

Schedule: TypeAlias = Callable[[Any], Any]


class Constant(eqx.Module):
    r"""$\eta_t=$ `scale`."""

    scale: Real = eqx.field(converter=as_leaf)

    def __check_init__(self):
        check_number("step_size", self.scale, above=0.0, finite=True)

    def __call__(self, t: Real) -> Real:
        return self.scale * jnp.ones_like(t, dtype=float)

    def __repr__(self) -> str:
        return pretty(self)


class Power(eqx.Module):
    r"""$\eta_t = \text{scale}\cdot(t+\text{offset})^{-\text{exponent}}$."""

    scale: Real = eqx.field(converter=as_leaf)
    exponent: Real = eqx.field(converter=as_leaf)
    offset: Real = eqx.field(default=2.0, converter=as_leaf)

    def __check_init__(self):
        check_number("scale", self.scale, above=0.0, finite=True)
        check_number("exponent", self.exponent, least=0.0, finite=True)
        check_number("offset", self.offset, above=0.0, finite=True)

    def __call__(self, t: Real) -> Real:
        return self.scale * (jnp.asarray(t, float) + self.offset) ** -self.exponent

    def __repr__(self) -> str:
        return pretty(self)


class Later(eqx.Module):
    r"""$\eta_t$ of another schedule, `begin` steps later."""

    schedule: Schedule
    begin: Int[Array, ""] = eqx.field(converter=jnp.asarray)

    def __call__(self, t: Real) -> Any:
        t = jnp.asarray(t)
        return self.schedule(t + self.begin.astype(t.dtype))

    def __repr__(self) -> str:
        return pretty(self)


class LossBased(eqx.Module):
    r"""$\eta_t=\alpha_t/\mathcal L(w_{t-1})$ with a rate $\alpha_t$ that is found.

    See [`loss_based`][penchant.schedules.loss_based].
    """

    scale: Real = eqx.field(converter=as_leaf)
    grow: Real = eqx.field(converter=as_leaf)
    shrink: Real = eqx.field(converter=as_leaf)
    largest: Real = eqx.field(default=math.inf, converter=as_leaf)

    def __check_init__(self):
        check_number("scale", self.scale, above=0.0, finite=True)
        check_number("largest", self.largest, above=0.0)
        check_number("grow", self.grow, above=1.0, finite=True)
        check_number("shrink", self.shrink, above=1.0, finite=True)

    def __call__(self, t: Real) -> Real:
        # what the loop multiplies the gradient of the *log* loss with is a state of
        # the run; this factor of it is 1
        return jnp.ones_like(t, dtype=float)

    def check(self, optimizer: Any) -> None:
        """Refuse rules whose steps do not shrink with the loss.

        Raises:
            TypeError: If the rule is no gradient descent.
        """
        what = optimizer.character()
        plain = what.steepest and what.normalised is False and what.second is None
        if not plain or what.steps is None or not what.steps.same(L2()):
            raise TypeError(
                "loss-based step sizes are for GradientDescent, whose steps shrink "
                f"with the loss; got {type(optimizer).__name__}."
            )

    def __repr__(self) -> str:
        return pretty(self)


def loss_based(
    scale: Real = 0.1,
    *,
    grow: Real = 2.0**0.2,
    shrink: Real = 2.0**0.1,
    largest: Real = math.inf,
) -> LossBased:
    r"""Steps $\eta_t=\alpha_t/\mathcal L$ of `lyu2020gradient`, for gradient descent.

    Such steps are gradient descent on $\log\mathcal L$: they keep pace with a loss
    that falls, where constant ones all but stop. The rate
    $\alpha$ starts at `scale`. After each epoch the full loss is taken: if it fell,
    the epoch stands and $\alpha$ is multiplied by `grow`; if not, it is undone and
    tried again with $\alpha$ divided by `shrink`, momentum starting from 0. Steps
    undone count as steps. Once the
    direction has settled every larger rate will do, and the loss falls ever faster; at
    $e^{-10^{12}}$, where float64 can't tell support vectors from others, a run rests.

    Args:
        scale: $\alpha_0>0$.
        grow: $>1$.
        shrink: $>1$.
        largest: The rate grows no further than this. Without an end it outruns the
            direction on data that are easily separated. A batch then counts no more
            than if all of the loss were its own.

    Raises:
        ValueError: If an argument is out of its range.
    """
    return LossBased(scale, grow, shrink, largest)


def constant(scale: Real) -> Constant:
    r"""$\eta_t=$ `scale`, the same as giving the number itself.

    Raises:
        ValueError: If `scale` is not positive.
    """
    return Constant(scale)


def power(scale: Real, exponent: Real, offset: Real = 2.0) -> Power:
    r"""A power law: scale times $(t+\text{offset})^{-\text{exponent}}$, $t=0,1,\dots$.

    >>> import penchant as pn
    >>> float(pn.schedules.power(0.1, 0.5, offset=1)(3.0))
    0.05

    Args:
        scale: $>0$.
        exponent: $\ge0$. The theorems need $\eta_t\to0$ and $\sum\eta_t=\infty$, so
            one in (0, 1].
        offset: $>0$. `offset=1` is the $\eta_0t^{-a}$, $t=1,2,\dots$ of
            `fan2025spectral`; 2 that of `zhang2024adam` and `baek2026persample`.

    Raises:
        ValueError: If an argument is out of its range.
    """
    return Power(scale, exponent, offset)


def later(schedule: StepSize, begin: int) -> Schedule:
    r"""A schedule as it goes on after `begin` steps: $\eta_{t+\text{begin}}$.

    A loss-based one finds its rate anew, and is what it was.

    >>> import penchant as pn
    >>> float(pn.schedules.later(pn.schedules.power(0.1, 0.5, offset=1), 3)(0.0))
    0.05

    Args:
        schedule: As `train` takes it for `step_size`.
        begin: Steps made before.

    Raises:
        TypeError: If `schedule` is no schedule.
        ValueError: If `begin` is negative.
    """
    found, begin = as_schedule(schedule), check_count("begin", begin, least=0)
    if isinstance(found, (Constant, LossBased)):
        return found
    if isinstance(found, Power):
        return Power(found.scale, found.exponent, found.offset + begin)
    return Later(found, begin)


def as_schedule(step_size: StepSize) -> Schedule:
    """A schedule from what a user may give for `step_size`.

    Raises:
        TypeError: If it is neither a number nor a function of the step.
        ValueError: If the number is not positive.
    """
    if isinstance(step_size, (Constant, Power, LossBased)):
        return step_size
    if callable(step_size):
        return step_size
    try:
        number = Constant(step_size)
    except TypeError:
        number = None
    if number is None or jnp.ndim(number.scale) != 0:
        raise TypeError(
            "step_size must be a positive number, penchant.schedules.power(...) or a "
            f"function of the step such as an optax schedule; got {step_size!r}."
        )
    return number


def values(schedule: Schedule, t: jax.Array) -> jax.Array:
    r"""$\eta_t$ at each of the whole numbers `t`.

    Raises:
        TypeError: If `t` holds no numbers.
    """
    t = as_numbers("t", t) if not isinstance(t, jax.Array) else t
    if isinstance(schedule, Constant):
        return jnp.broadcast_to(jnp.asarray(schedule.scale), t.shape)
    if isinstance(schedule, Power):
        return jnp.asarray(schedule(t.astype(float)))
    return jax.vmap(lambda s: jnp.asarray(schedule(s), dtype=float))(t)


def host_values(schedule: Schedule, t: np.ndarray) -> np.ndarray:
    r"""$\eta_t$ at each of the whole numbers `t`, on the host.

    Constants and power laws compile nothing; other schedules, which JAX evaluates, are
    asked at numbers of steps that are powers of 2, so that few programs serve all.

    Args:
        schedule: As `as_schedule` gives it.
        t: Whole numbers `(k,)`.

    Raises:
        TypeError: If `t` holds no numbers.
    """
    if not (isinstance(t, np.ndarray) and t.dtype.kind in "biuf"):
        t = np.asarray(as_numbers("t", t))
    if isinstance(schedule, Constant):
        return np.full(t.shape, float(np.asarray(schedule.scale)))
    if isinstance(schedule, Power):
        scale, exponent, offset = (
            float(np.asarray(v))
            for v in (schedule.scale, schedule.exponent, schedule.offset)
        )
        return scale * (t.astype(float) + offset) ** -exponent
    if not t.size:
        return np.zeros(t.shape)
    short = (1 << (t.size - 1).bit_length()) - t.size
    filled = np.concatenate([t, np.full(short, t[-1])])
    return np.asarray(values(schedule, jnp.asarray(filled)))[: t.size]


def table(schedule: Schedule, start: Tree, length: int) -> jax.Array:
    r"""$\eta_t$ for `length` steps from `start`."""
    as_numbers("start", start)
    length = check_count("length", length)
    return values(schedule, start + jnp.arange(length))


def cumulative(step_size: StepSize, steps: np.ndarray) -> np.ndarray:
    r"""$\sum_{s<t}\eta_s$ at each `t` in ascending `steps`, on the host.

    Closed form for constants; sums in blocks else, so that memory stays small.
    """
    schedule = as_schedule(step_size)
    check_number("steps", steps, least=0.0, below=2.0**63)
    steps = np.asarray(steps, dtype=np.int64)
    if isinstance(schedule, Constant):
        return float(np.asarray(schedule.scale)) * steps.astype(float)
    total, done, out = 0.0, 0, np.empty(len(steps))
    block = 1 << 16
    for i, t in enumerate(steps):
        while done < t:
            count = int(min(block, t - done))
            etas = np.asarray(table(schedule, jnp.asarray(done), block))
            total += float(etas[:count].sum())
            done += count
        out[i] = total
    return out


def read(text: str) -> Schedule:
    """A number, or `SCALE*t^-EXPONENT` as in `0.1*t^-0.5`.

    Raises:
        ValueError: If it is neither.
    """
    check_instance("step_size", text, str, "text such as 0.1*t^-0.5")
    scale, star, exponent = text.replace(" ", "").partition("*t^-")
    if not star:
        return constant(read_number("step size", scale))
    return power(
        read_number("step size", scale),
        read_number("step size's exponent", exponent),
    )
