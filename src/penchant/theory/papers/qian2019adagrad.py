"""Qian and Qian (2019): AdaGrad weighs its own Euclidean norm."""

import jax.numpy as jnp
import numpy as np

from penchant.norms import Mahalanobis
from penchant.optimizers import accumulated_norm
from penchant.theory._prediction import Assumption, Prediction, Verdict
from penchant.theory._setting import Setting
from penchant.theory.papers.lyu2020gradient import network_assumptions


def adagrad(setting: Setting) -> Prediction:
    r"""The max margin in a Euclidean norm that accumulated gradients weigh.

    $$\min\tfrac12\|h_\infty^{-1/2}\odot w\|^2\ \text{ s.t. }q_i(w)\ge1,\qquad
    h_\infty^{-1}=\sqrt{\textstyle\sum_\tau g_\tau^2}+\varepsilon$$

    For linear models its solution; for homogeneous networks a KKT point
    (`wang2021adaptive`). The weights are sums over the run, fixed by its first steps:
    they depend on step size and start, and are read from a trajectory. A parameter that
    never had a gradient never moves, and its weight decides nothing
    (`accumulated_norm`).
    """
    source = "qian2019adagrad; wang2021adaptive"
    norm = weighed(setting)
    if norm is None:
        what = "a KKT point of" if setting.network else "the max margin of"
        return setting.unknown(
            f"{setting.name} tends to {what} a Euclidean norm that its own accumulated "
            "gradients weigh: give a trajectory to fill them in.",
            source,
        )
    if setting.network:
        return setting.stationary(
            norm, source, setting.name, network_assumptions(setting)
        )
    smallest, largest = float(jnp.min(norm.M)), float(jnp.max(norm.M))
    return setting.predict(
        norm,
        source,
        f"{setting.name}'s accumulated gradients weigh a Euclidean norm, whose max "
        f"margin it tends to; weights differ by up to {largest / smallest:.3g}.",
        (
            setting.separable(),
            setting.every_sample(),
            setting.exponential_tail(),
            _settled(setting),
        ),
    )


def weighed(setting: Setting) -> Mahalanobis | None:
    """The norm of the sums at the end of the run; None without one."""
    second = setting.character.second
    log_v = _log_sums(setting)
    if log_v is None or second is None:
        return None
    return accumulated_norm(second.log_below(log_v))


def _log_sums(setting: Setting) -> jnp.ndarray | None:
    """The log of sums of squares: of the weights' shape, flat for a network."""
    run = setting.trajectory
    if run is None:
        return None
    log_v = setting.optimizer.log_second(run.state.optimizer)
    if log_v is None:
        return None
    return setting.problem.flat(log_v) if setting.network else jnp.asarray(log_v)


def _settled(setting: Setting) -> Assumption:
    """Accumulators change no more: what the rest of the run can add is its loss."""
    trajectory, log_v = setting.trajectory, _log_sums(setting)
    statement = "the accumulators have settled"
    if trajectory is None or log_v is None:
        return Assumption(statement, Verdict.UNKNOWN, "no run was given")
    gradient = setting.problem.scaled_gradient(trajectory.weights[-1])
    log_g = jnp.log(jnp.abs(gradient.direction)) + gradient.log_scale
    steps = float(trajectory.steps[-1])
    # g falls at least like 1/t: sum over the rest of g^2 is below about t g^2
    shares = jnp.exp(jnp.log(steps) + 2.0 * log_g - log_v)
    share = float(jnp.max(jnp.where(gradient.direction != 0, shares, 0.0)))
    return Assumption(
        statement,
        Verdict.HOLDS if share < 1e-3 else Verdict.FAILS,
        f"the rest of the run adds up to about {np.minimum(share, 9.99):.1e} of them",
    )
