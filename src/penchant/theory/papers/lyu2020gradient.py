"""Lyu and Li (2020), Ji and Telgarsky (2020): gradient descent on networks."""

import math

import jax.numpy as jnp

from penchant.norms import L2
from penchant.theory._prediction import Assumption, Prediction, Verdict
from penchant.theory._setting import Setting

HOLDS, FAILS, UNKNOWN = Verdict.HOLDS, Verdict.FAILS, Verdict.UNKNOWN


def gradient_descent(setting: Setting) -> Prediction:
    r"""On homogeneous networks: a KKT point of the $\ell_2$ margin problem.

    $$\min\tfrac12\|w\|^2\ \text{ s.t. }q_i(w)\ge1$$

    once the loss is below that of one sample on the wrong side (`lyu2020gradient`); the
    direction converges (`ji2020directional`). A first-order statement: networks have
    many such points, and margins at them differ.
    """
    return setting.stationary(
        L2(),
        "lyu2020gradient; ji2020directional",
        "Gradient descent",
        network_assumptions(setting),
    )


def network_assumptions(setting: Setting) -> tuple[Assumption, ...]:
    """What all theorems on homogeneous networks ask for."""
    return (
        homogeneous(setting),
        setting.every_sample(),
        separated(setting),
        setting.exponential_tail(),
    )


def homogeneous(setting: Setting) -> Assumption:
    """Outputs scale with a power of the parameters, as measured."""
    statement = "outputs scale with a power of the parameters"
    found = getattr(setting.problem, "homogeneity", None)
    if found is None:
        degree = setting.problem.degree
        if degree is None:
            return Assumption(
                statement, FAILS, "the problem says that it has no degree"
            )
        why = f"degree {degree:g} as the problem says, not measured"
        return Assumption(statement, UNKNOWN, why)
    if found.degree is None:
        return Assumption(statement, FAILS, f"relative deviation {found.error:.2g}")
    why = f"degree {found.degree:g} measured at random parameters, to {found.error:.0e}"
    return Assumption(statement, HOLDS, why)


def separated(setting: Setting) -> Assumption:
    """The theorems' threshold, for a sum of losses: that of a single margin of 0."""
    statement = "the loss falls below that of one sample on the wrong side"
    problem, run = setting.problem, setting.trajectory
    if run is None:
        return Assumption(statement, UNKNOWN, "no run was given")
    at_zero = float(problem.loss.log_losses(jnp.zeros((1, 1)))[0])
    threshold = at_zero - math.log(problem.samples)
    seen = float(run.log_loss[-1])
    return Assumption(
        statement,
        HOLDS if seen < threshold else FAILS,
        f"log-loss {seen:.4g} after {int(run.steps[-1])} steps, "
        f"threshold {threshold:.4g}",
    )
