"""Step sizes and lengths of runs for those who have not chosen any."""

import math
from typing import Any

import jax.numpy as jnp

from penchant.norms import Linf
from penchant.optimizers import AbstractOptimizer
from penchant.problems import AbstractClassification, LinearClassification
from penchant.theory import longest_row
from penchant.training import schedules
from penchant.training.batching import AbstractBatching

WORK = 2e10
"""Multiplications of data and weights that a default run makes."""

FEWEST, MOST = 3_000, 300_000


def default_step_size(
    problem: LinearClassification, optimizer: AbstractOptimizer
) -> Any:
    r"""A step size that no rescaling of the data changes the meaning of.

    $\eta_t=\frac{c}{R_*}(t+2)^{-1/2}$ for rules with steps of a fixed length, $R_*$
    being the longest row's dual norm in the rule's geometry, $c=4$ for steps in the
    max norm and 16 in others: what came furthest on scikit-learn's digits, whose
    margin is 1 or 2 % of the longest row. For gradient descent and unnormalised
    steepest descent the constant $1/(R_*^2L)$, $L$ the loss at 0. For rules that do
    not say in which norm they step, optax's among them, 1: they bring their own.

    Raises:
        ValueError: If the data are so large, or small, that none is a float.
    """
    what = optimizer.character()
    if what.steps is None:
        return 1.0  # an optax rule, or a stranger's, that brings its own
    # data that are all 0 have no scale, and gradients of 0: any step size will do
    R = longest_row(problem, what.steps) or 1.0
    if not what.normalised:
        first = math.exp(float(problem.log_loss(jnp.zeros(problem.weight_shape))))
        step_size = float(f"{1.0 / R / R / first:.3g}")
        if not 0.0 < step_size < math.inf:
            raise ValueError(
                f"The longest sample is {R:.3g} long, and no step size suits its "
                "square: rescale the features, or give a step_size."
            )
        return step_size
    c = 4.0 if isinstance(what.steps, Linf) else 16.0
    return schedules.power(float(f"{c / R:.3g}"), 0.5)


def default_steps(problem: AbstractClassification, batching: AbstractBatching) -> int:
    """As many steps as a fixed amount of arithmetic allows, by the size of the data.

    Never by the clock: a result must not depend on the machine's speed.
    """
    batch = min(batching.size_of(problem.samples), problem.samples)
    steps = min(max(WORK / (batch * problem.parameters), FEWEST), MOST)
    return int(float(f"{steps:.1g}"))
