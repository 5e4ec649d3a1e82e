r"""Weights that separate many samples, along the path of a shrinking ridge.

$w(\lambda)=\arg\min\tfrac\lambda2\|w\|^2+\log\sum_{ic}e^{-m_{ic}(w)}$ comes to separate
whatever is separable as $\lambda$ falls, and its direction to the largest $\ell_2$
margin (`rosset2003margin`). L-BFGS follows it from one $\lambda$ to the next
(`liu1989lbfgs`). On 10,000 images of MNIST it separates where the saddle-point method
of the same cost still misclassifies some; that it does so elsewhere is not promised.
"""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from penchant._types import Scalar, Weights
from penchant.problems import LinearClassification

Array = NDArray[np.float64]

FIRST = 1e-6
"""The first ridge, where the longest sample has length 1."""

FACTOR = 3.0

STAGES = 9
ITERATIONS = 60
MEMORY = 20

ENOUGH = 1.5
"""A stage that brings less than this multiple of the margin is the last one."""


def separating(problem: LinearClassification) -> Array | None:
    """Weights of unit length with a positive margin, or None if none were met."""
    from scipy.optimize import minimize  # slow to import

    length = float(jnp.sqrt(jnp.max(jnp.sum(problem.X**2, axis=1))))
    if not (0.0 < length < math.inf):
        return None
    unit = eqx.tree_at(lambda p: p.X, problem, problem.X / length)
    shape = problem.weight_shape
    best, reached = None, 0.0
    w, ridge = np.zeros(math.prod(shape)), FIRST
    for _ in range(STAGES):

        def objective(w: Array, ridge: float = ridge) -> tuple[float, Array]:
            value, slope, _ = _smoothed(unit, jnp.asarray(w.reshape(shape)), ridge)
            return float(value), np.asarray(slope, dtype=float).ravel()

        w = minimize(
            objective,
            w,
            jac=True,
            method="L-BFGS-B",
            options={
                "maxiter": ITERATIONS,
                "maxfun": 2 * ITERATIONS,
                "maxcor": MEMORY,
                "ftol": 0.0,
                "gtol": 0.0,
            },
        ).x
        size = float(np.linalg.norm(w))
        least = float(_smoothed(unit, jnp.asarray(w.reshape(shape)), ridge)[2])
        if not (math.isfinite(size) and size > 0.0):
            break
        if least / size > reached:
            before, reached, best = reached, least / size, w / size
            if reached < ENOUGH * before:
                break
        w, ridge = w * math.sqrt(FACTOR), ridge / FACTOR
    return None if best is None else best.reshape(shape)


@eqx.filter_jit
def _smoothed(
    problem: LinearClassification, w: Weights, ridge: Scalar | float
) -> tuple[Scalar, Weights, Scalar]:
    """The objective, its gradient and the least margin."""
    margins = problem.pair_margins(w)
    least = jnp.min(margins)
    E = jnp.exp(least - margins)
    total = jnp.sum(E)
    value = 0.5 * ridge * jnp.sum(w**2) + jnp.log(total) - least
    return value, ridge * w - problem.pull(E / total), least
