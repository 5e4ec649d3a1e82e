"""Step sizes and lengths of runs for those who have not chosen any."""

import math
from typing import Any

import jax.numpy as jnp

from penchant.norms import L2, AbstractNorm, Linf, Spectral
from penchant.optimizers import (
    AbstractOptimizer,
    FromOptax,
    GradientDescent,
    Muon,
    Shampoo,
    SteepestDescent,
    WeightDecay,
)
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
    steepest descent the constant $1/(R_*^2L)$, $L$ the loss at 0. For optax rules 1,
    since they bring their own.

    Raises:
        ValueError: If the data are so large, or small, that none is a float.
    """
    if isinstance(optimizer, FromOptax):
        return 1.0
    # data that are all 0 have no scale, and gradients of 0: any step size will do
    norm = geometry(optimizer)
    R = longest_row(problem, norm) or 1.0
    if _shrinks(optimizer):
        first = math.exp(float(problem.log_loss(jnp.zeros(problem.weight_shape))))
        step_size = float(f"{1.0 / R / R / first:.3g}")
        if not 0.0 < step_size < math.inf:
            raise ValueError(
                f"The longest sample is {R:.3g} long, and no step size suits its "
                "square: rescale the features, or give a step_size."
            )
        return step_size
    c = 4.0 if isinstance(norm, Linf) else 16.0
    return schedules.power(float(f"{c / R:.3g}"), 0.5)


def default_steps(problem: AbstractClassification, batching: AbstractBatching) -> int:
    """As many steps as a fixed amount of arithmetic allows, by the size of the data.

    Never by the clock: a result must not depend on the machine's speed.
    """
    batch = min(getattr(batching, "size", problem.samples), problem.samples)
    steps = min(max(WORK / (batch * problem.parameters), FEWEST), MOST)
    return int(float(f"{steps:.1g}"))


def geometry(optimizer: AbstractOptimizer) -> AbstractNorm:
    """The norm in which an optimizer's steps have the length of its step size."""
    if isinstance(optimizer, SteepestDescent):
        return optimizer.norm
    if isinstance(optimizer, GradientDescent):
        return L2()
    if isinstance(optimizer, WeightDecay):
        return geometry(optimizer.rule)
    return Spectral() if isinstance(optimizer, (Muon, Shampoo)) else Linf()


def _shrinks(optimizer: AbstractOptimizer) -> bool:
    """Whether steps are multiples of the gradient."""
    if isinstance(optimizer, WeightDecay):
        return _shrinks(optimizer.rule)
    return isinstance(optimizer, GradientDescent) or (
        isinstance(optimizer, SteepestDescent) and not optimizer.normalized
    )
