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


SETTLED, UNSETTLED = 1e-3, 2e-2
"""Shares of an accumulator below which it is fixed, and above which it still grows."""


def _settled(setting: Setting) -> Assumption:
    """Accumulators change no more: nine tenths of the run added next to nothing."""
    trajectory, log_v = setting.trajectory, _log_sums(setting)
    statement = "the accumulators have settled"
    if trajectory is None or log_v is None:
        return Assumption(statement, Verdict.UNKNOWN, "no run was given")
    steps = np.asarray(trajectory.steps, dtype=float)
    late = np.flatnonzero(steps >= steps[-1] / 10.0)
    if late.size < 2:
        return Assumption(statement, Verdict.UNKNOWN, "the run has too few records")
    squares = []
    for i in late:
        gradient = setting.problem.scaled_gradient(trajectory.weights[i])
        log_g = jnp.log(jnp.abs(gradient.direction)) + gradient.log_scale
        squares.append(np.exp(np.asarray(2.0 * log_g - log_v)))
    # what came since a tenth of the run, by the trapezoid rule over its records
    since = np.trapezoid(np.nan_to_num(np.stack(squares)), steps[late], axis=0)
    share = float(np.minimum(since, 1.0).max())
    verdict = (
        Verdict.HOLDS
        if share < SETTLED
        else Verdict.FAILS
        if share > UNSETTLED
        else Verdict.UNKNOWN
    )
    return Assumption(
        statement,
        verdict,
        f"the last nine tenths of the run added up to {100 * share:.2g} % of them",
    )
