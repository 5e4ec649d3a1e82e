"""How much of what a run divides by is ε."""

import jax.numpy as jnp

from penchant._checks import check_instance
from penchant.training import Trajectory


def share_of_eps(trajectory: Trajectory) -> float:
    r"""$\sum_i|g_i|\kappa_i/\sum_i|g_i|$ where a run of Adam or RMSProp ended.

    $\kappa_i=\varepsilon/(\sqrt{v_i}+\varepsilon)$, or $\varepsilon/(v_i+\varepsilon)$
    inside, is how much of what divides an entry is $\varepsilon$: 0 while steps are
    sign-like, 1 once they are gradient descent. It passes one half at the crossover.
    NaN where the run has no gradient, or has diverged.

    Raises:
        TypeError: If the run's rule divides by no running moment of squares, as its
            character has it.
    """
    check_instance("trajectory", trajectory, Trajectory, "what train returned")
    rule, problem = trajectory.rule.optimizer, trajectory.rule.problem
    second = rule.character().adaptive
    log_v = rule.log_second(trajectory.state.optimizer)
    if second is None or second.kind != "mean" or log_v is None:
        raise TypeError(
            "the trajectory's optimizer must be Adam or RMSProp, or divide by a "
            f"running mean of squares as they do; got {rule!r}."
        )
    share = second.share_of_eps(problem.flat(log_v))
    w = trajectory.state.weights
    g = jnp.abs(problem.flat(problem.scaled_gradient(w).direction))
    weighed = jnp.sum(jnp.where(g > 0, g * share, 0.0))
    return float(weighed / jnp.sum(g))
