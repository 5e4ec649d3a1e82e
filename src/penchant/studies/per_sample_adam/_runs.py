"""What the figures share: runs, directions, and how two of them are compared."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._runs import finished

Array = np.ndarray[Any, np.dtype[np.float64]]


def simulate(
    problem: pn.LinearClassification,
    optimizer: pn.optimizers.AbstractOptimizer,
    batching: pn.batching.AbstractBatching,
    steps: int,
    step_size: Any,
    *,
    seed: int = 0,
    init: Any = None,
) -> pn.Trajectory:
    """Train to the end.

    A number is a power law that does not fall: one loop is compiled for both.
    """
    if isinstance(step_size, float):
        step_size = pn.schedules.power(step_size, 0.0)
    return finished(
        pn.train(
            problem,
            optimizer,
            steps=steps,
            step_size=step_size,
            batching=batching,
            init=init,
            key=seed,
        )
    )


def gap(u: jax.Array | np.ndarray, v: jax.Array | np.ndarray) -> float:
    """1 - cosine, without cancellation: half the squared distance of unit vectors."""
    u, v = np.asarray(u), np.asarray(v)
    return float(0.5 * np.sum((u / np.linalg.norm(u) - v / np.linalg.norm(v)) ** 2))


def cosine(u: jax.Array | np.ndarray, v: jax.Array | np.ndarray) -> float:
    """The cosine of two directions."""
    return 1.0 - gap(u, v)


def increments(run: pn.Trajectory) -> tuple[np.ndarray, Array]:
    """Steps, and w_t - w_{t/2} at each record that has one."""
    steps = np.asarray(run.steps)
    weights = np.asarray(run.weights)
    at = np.searchsorted(steps, steps / 2.0)
    known = steps >= 2 * steps[0]
    return steps[known], (weights - weights[at])[known]


def share(
    problem: pn.LinearClassification, best: pn.MaxMargin, w: jax.Array | np.ndarray
) -> float:
    """Of a norm's largest margin, that of `w`."""
    margin = float(np.asarray(problem.margins(w)).min())
    return margin / float(best.norm(jnp.asarray(w))) / float(best.margin)


HUES = {
    "full batch": "#d55e00",
    "in turn": "#0072b2",
    "reshuffled": "#009e73",
    "with replacement": "#cc79a7",
}
"""One colour an order of samples in every picture."""


def rate_of(limit: pn.theory.AdamLimit) -> float:
    """How fast runs forget their start, per unit of Σ η: no disturbance is slower."""
    if limit.rate is None:
        raise RuntimeError(f"{limit!r}: data of the study's sizes have their rates")
    return limit.rate


def transient(run: pn.Trajectory, rate: float, pace: float) -> float:
    """What half a run leaves of 1 - cosine by its predicted rate, e^(-2 rate s)."""
    least = np.asarray(run.margins).min(axis=1)
    half = int(np.searchsorted(np.asarray(run.steps), int(run.steps[-1]) // 2))
    return float(np.exp(-2.0 * rate * max(least[half], 0.0) / pace))


def enough_steps(rate: float, step_size: float, most: int) -> int:
    """Steps after whose half a disturbance is e^-10, of at least 400 000."""
    wanted = 20.0 / rate / step_size
    return int(np.clip(np.ceil(wanted / 20.0) * 20, 400_000, most))
