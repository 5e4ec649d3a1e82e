"""Validation: train with the penalty and without the mechanism, and compare."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import numpy as np

from penchant import training
from penchant._arrays import numbers
from penchant._checks import check_count, check_instance
from penchant._types import Numbers
from penchant.estimators.matching._match import Match
from penchant.estimators.penalties import AbstractPenalty, Penalised, read
from penchant.problems import AbstractProblem
from penchant.training import Trajectory


def retrain(
    run: Trajectory,
    problem: AbstractProblem,
    penalties: Sequence[AbstractPenalty | Callable[..., Any]],
    found: Match | Numbers,
    *,
    steps: int | None = None,
) -> Trajectory:
    r"""Train again as a run did, on another loss with the penalties found written out.

    The rule, its step sizes, batches, start and seed are those of `run`; `problem` is
    the loss without the mechanism. If the penalties are what the mechanism amounts to,
    this ends where the run did; [`recovery`][penchant.estimators.recovery] says how
    far it gets.

    >>> import jax.numpy as jnp
    >>> import penchant as pn
    >>> model = lambda w, X: X @ w
    >>> loss = pn.Regression(model, jnp.zeros(2), jnp.eye(2), [1.0, 2.0])
    >>> rule = pn.optimizers.GradientDescent()
    >>> short = pn.train(loss, rule, steps=10, step_size=0.1)
    >>> ridge = [pn.penalties.Ridge()]
    >>> found = pn.estimators.match(loss, short.last, ridge)
    >>> long = pn.estimators.retrain(short, loss, ridge, found, steps=500)
    >>> bool(jnp.allclose(long.last, short.last))
    True

    Args:
        run: What is to be done again.
        problem: The loss without the mechanism.
        penalties: Those of the match; a free one at its value.
        found: A `Match`, or coefficients.
        steps: How many; None for as many as the run made.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If there is not one coefficient a penalty.
    """
    check_instance("run", run, Trajectory, "a Trajectory of penchant.train")
    values = found.coefficients if isinstance(found, Match) else found
    both = Penalised(problem, [read(p) for p in penalties], values)
    rule = run.rule
    return training.train(
        both,
        rule.optimizer,
        steps=int(run.state.step) if steps is None else check_count("steps", steps),
        step_size=rule.schedule,
        batching=rule.batching,
        init=run.initial,
        key=rule.key,
        progress=False,
    )


class Recovery(eqx.Module):
    r"""How much of what a mechanism does its penalty does too.

    `fraction` is $(m_P-m_0)/(m_M-m_0)$ of medians over seeds: with the penalty
    ($m_P$), with neither ($m_0$), with the mechanism ($m_M$). 1 is all of it; 0, or
    below, nothing. `interval` is 95 % by resampling seeds. `effect` is $m_M-m_0$, and
    `seen` whether it is larger than its own scatter: without an effect there is
    nothing to recover, and the fraction means nothing.
    """

    fraction: float = eqx.field(static=True)
    interval: tuple[float, float] = eqx.field(static=True)
    effect: float = eqx.field(static=True)
    seen: bool = eqx.field(static=True)
    seeds: int = eqx.field(static=True)

    def __repr__(self) -> str:
        low, high = self.interval
        if not self.seen:
            return (
                f"Recovery: the mechanism's effect, {self.effect:.3g}, is within the "
                f"scatter of {self.seeds} seeds; there is nothing to recover"
            )
        return (
            f"Recovery {self.fraction:.3g} ({low:.3g} to {high:.3g}) of an effect of "
            f"{self.effect:.3g}, {self.seeds} seeds"
        )


RESAMPLED = 2000


def recovery(
    mechanism: Numbers, neither: Numbers, penalty: Numbers, *, seed: int = 0
) -> Recovery:
    r"""The fraction of a mechanism's effect that its penalty recovers.

    Args:
        mechanism: `(s,)`, any number of each run with the mechanism: a norm of the
            weights, a loss on other data, a distance.
        neither: `(s,)`, of runs of the same seeds without it.
        penalty: `(s,)`, of runs with the penalty in its place.
        seed: Of the resampling.

    Raises:
        ValueError: If lengths differ, or entries are not finite.
    """
    parts = [
        np.atleast_1d(numbers(name, values))
        for name, values in (
            ("mechanism", mechanism),
            ("neither", neither),
            ("penalty", penalty),
        )
    ]
    count = len(parts[0])
    if any(part.shape != (count,) for part in parts) or not count:
        raise ValueError(
            "mechanism, neither and penalty must be one number a seed, of the same "
            f"seeds; got shapes {', '.join(str(p.shape) for p in parts)}."
        )
    if not all(np.isfinite(part).all() for part in parts):
        raise ValueError("mechanism, neither and penalty must be finite.")
    whole = np.stack(parts)
    fraction, effect = _fraction(whole)
    if count < 2:
        return Recovery(
            float(fraction), (-math.inf, math.inf), float(effect), bool(effect), 1
        )
    rng = np.random.default_rng(seed)
    rows = rng.integers(count, size=(RESAMPLED, count))
    fractions, effects = _fraction(whole[:, rows])
    low, high = np.quantile(fractions, [0.025, 0.975])
    ends = np.quantile(effects, [0.025, 0.975])
    return Recovery(
        fraction=float(fraction),
        interval=(float(low), float(high)),
        effect=float(effect),
        seen=bool(ends[0] > 0 or ends[1] < 0),
        seeds=count,
    )


def _fraction(parts: np.ndarray) -> Any:
    with_it, without, instead = np.median(parts, axis=-1)
    effect = with_it - without
    safe = np.where(effect == 0, np.nan, effect)
    fraction = (instead - without) / safe
    return np.nan_to_num(fraction, nan=0.0), effect
