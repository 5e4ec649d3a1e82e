"""Training as if every step were the mean step: AdamProxy as an algorithm."""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from penchant._checks import check_count, check_instance
from penchant._types import StepSize, Tree
from penchant.theory.per_sample._mean_step import AbstractMeanStep
from penchant.training import record_steps
from penchant.training.schedules import Schedule, as_schedule


def follow(
    step: AbstractMeanStep,
    *,
    steps: int,
    step_size: StepSize,
    init: Tree | None = None,
    record: int = 200,
) -> tuple[Int[Array, " r"], Float[Array, "r ..."]]:
    r"""Iterate $w_{t+1}=w_t+\eta_t\,\delta(c_t)$, $c_{t,i}\propto e^{-q_i(w_t)}$.

    With `adam_proxy` this is AdamProxy of `baek2026persample` (Definition 4.2) under
    the exponential loss. Only weights' differences enter, so that it goes on unchanged
    however small the loss.

    >>> import penchant as pn
    >>> problem = pn.datasets.bistable(6, 2, 1).problem()
    >>> step = pn.theory.per_sample.adam_proxy(problem)
    >>> steps, w = pn.theory.per_sample.follow(step, steps=100, step_size=0.1, record=3)
    >>> w.shape
    (3, 3)

    Args:
        step: The mean step.
        steps: Number of steps.
        step_size: As `train` takes it.
        init: Initial weights, `(d,)`, or `(b, d)` for `b` runs at once; zeros if None.
        record: Number of records, at log-spaced steps with `steps // 2`.

    Returns:
        Steps `(r,)` and weights `(r, d)` or `(r, b, d)`.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range.
    """
    check_instance("step", step, AbstractMeanStep, "a mean step, such as adam_proxy()")
    steps, record = check_count("steps", steps), check_count("record", record)
    schedule = as_schedule(step_size)
    d = step.rows.shape[1]
    w = jnp.zeros(d) if init is None else jnp.asarray(init, dtype=float)
    if w.ndim not in (1, 2) or w.shape[-1] != d or not bool(jnp.isfinite(w).all()):
        raise ValueError(
            f"init must be finite weights of shape ({d},) or (b, {d}); got {w.shape}."
        )
    at = record_steps(steps, record)
    found = []
    for start, end in itertools.pairwise([0, *at.tolist()]):
        w = _advance(step, schedule, w, jnp.asarray(start), jnp.asarray(end))
        found.append(w)
    return jnp.asarray(at), jnp.stack(found)


@eqx.filter_jit
def _advance(
    step: AbstractMeanStep,
    schedule: Schedule,
    w: Float[Array, "... d"],
    start: Int[Array, ""],
    end: Int[Array, ""],
) -> Float[Array, "... d"]:
    def once(t: Int[Array, ""], w: Tree) -> Any:
        return w + schedule(t) * step(-(step.rows @ w))

    run = lambda w: jax.lax.fori_loop(start, end, once, w)
    return run(w) if w.ndim == 1 else jax.vmap(run)(w)
