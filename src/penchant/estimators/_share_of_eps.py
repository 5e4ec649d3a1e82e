"""How much of what a run divides by is ε."""

import jax.numpy as jnp

from penchant._checks import check_instance
from penchant.flows.adaptive._preconditioner import Preconditioner, log_memory
from penchant.optimizers import Adam, RMSProp
from penchant.training import Trajectory


def share_of_eps(trajectory: Trajectory) -> float:
    r"""$\sum_i|g_i|\kappa_i/\sum_i|g_i|$ where a run of Adam or RMSProp ended.

    $\kappa_i=\varepsilon/(\sqrt{v_i}+\varepsilon)$, or $\varepsilon/(v_i+\varepsilon)$
    inside, is how much of what divides an entry is $\varepsilon$: 0 while steps are
    sign-like, 1 once they are gradient descent. It passes one half at the crossover.

    Raises:
        TypeError: If the run is of another optimizer.
    """
    check_instance("trajectory", trajectory, Trajectory, "what train returned")
    rule, problem = trajectory.rule.optimizer, trajectory.rule.problem
    check_instance("optimizer", rule, (Adam, RMSProp), "Adam or RMSProp")
    log_v = jnp.asarray(log_memory(problem, rule, trajectory.state.optimizer))
    share = Preconditioner.of(rule).share(log_v)
    w = trajectory.state.weights
    g = jnp.abs(problem.flat(problem.scaled_gradient(w).direction))
    return float(jnp.sum(g * share) / jnp.sum(g))
