"""What the figures share: runs, directions, and how two of them are compared."""

from typing import Any

import jax.numpy as jnp
import numpy as np

import penchant as pn

Array = np.ndarray[Any, np.dtype[np.float64]]


def simulate(
    problem: pn.LinearClassification,
    optimizer: Any,
    batching: Any,
    steps: int,
    step_size: Any,
    *,
    seed: int = 0,
    init: Any = None,
) -> pn.Trajectory:
    """Train; part of a run proves nothing about its numbers."""
    run = pn.train(
        problem,
        optimizer,
        steps=steps,
        step_size=step_size,
        batching=batching,
        init=init,
        key=seed,
    )
    if run.outcome is not pn.training.Outcome.COMPLETE:
        raise KeyboardInterrupt
    return run


def gap(u: Any, v: Any) -> float:
    """1 - cosine, without cancellation: half the squared distance of unit vectors."""
    u, v = np.asarray(u), np.asarray(v)
    return float(0.5 * np.sum((u / np.linalg.norm(u) - v / np.linalg.norm(v)) ** 2))


def cosine(u: Any, v: Any) -> float:
    """The cosine of two directions."""
    return 1.0 - gap(u, v)


def increments(run: pn.Trajectory) -> tuple[Array, Array]:
    """Steps, and w_t - w_{t/2} at each record that has one."""
    steps = np.asarray(run.steps)
    weights = np.asarray(run.weights)
    at = np.searchsorted(steps, steps / 2.0)
    known = steps >= 2 * steps[0]
    return steps[known], (weights - weights[at])[known]


def share(problem: pn.LinearClassification, best: pn.MaxMargin, w: Any) -> float:
    """Of a norm's largest margin, that of `w`."""
    margin = float(np.asarray(problem.margins(w)).min())
    return margin / float(best.norm(jnp.asarray(w))) / float(best.margin)
