"""Predictions for homogeneous networks: which KKT point, not which maximum."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from penchant.flows.adaptive._preconditioner import Preconditioner, log_memory
from penchant.norms import L2, AbstractNorm, Linf, Mahalanobis
from penchant.optimizers import (
    AbstractOptimizer,
    AdaGrad,
    Adam,
    GradientDescent,
    RMSProp,
    SignDescent,
    Signum,
    SteepestDescent,
)
from penchant.problems import NetworkClassification
from penchant.theory._prediction import Assumption, Prediction, Regime, Verdict
from penchant.theory.descent._rules import as_descent
from penchant.theory.regimes._run_geometry import run_geometry, step_condition
from penchant.training import Trajectory
from penchant.training.batching import AbstractBatching

HOLDS, FAILS, UNKNOWN = Verdict.HOLDS, Verdict.FAILS, Verdict.UNKNOWN
CONVERGES = Assumption("the direction converges", UNKNOWN, "the theorem assumes it")
WANG, LYU = "wang2021adaptive", "lyu2020gradient; ji2020directional"


def network_prediction(
    problem: NetworkClassification,
    optimizer: AbstractOptimizer,
    batching: AbstractBatching,
    step_size: Any,
    trajectory: Trajectory | None,
) -> Prediction:
    """The geometry of whose margin problem the direction tends to a KKT point."""
    common = (
        _homogeneous(problem),
        _full_batches(problem, batching),
        _separated(problem, trajectory),
        Assumption("the loss has an exponential tail", HOLDS, repr(problem.loss)),
    )
    eps = float(np.asarray(getattr(optimizer, "eps", 0.0)))
    if isinstance(optimizer, GradientDescent):
        return _kkt(L2(), LYU, "Gradient descent", common)
    if isinstance(optimizer, AdaGrad):
        return _adagrad(problem, optimizer, trajectory, common)
    if isinstance(optimizer, (Adam, RMSProp)):
        regimes = _regimes(problem, optimizer, step_size, trajectory)
        if eps > 0:
            rest = (
                Assumption("ε is positive", HOLDS, f"ε = {eps:g}"),
                *_plain(optimizer),
            )
            why = "Gradients fall below ε, after which it is gradient descent:"
            return _kkt(L2(), WANG, why, (*common, *rest), regimes)
        rest = (step_condition(step_size, problem.degree or 1.0), CONVERGES)
        name = type(optimizer).__name__
        return _kkt(Linf(), "gronich2026adam", name, (*common, *rest), regimes)
    descent = as_descent(optimizer)
    if isinstance(optimizer, (SignDescent, Signum, SteepestDescent)) or descent:
        norm = Linf() if isinstance(optimizer, (SignDescent, Signum)) else None
        if isinstance(optimizer, SteepestDescent):
            norm = optimizer.norm
        if norm is not None and getattr(norm, "p", 0.0) in (2.0, math.inf):
            rest = (
                step_condition(step_size, problem.degree or 1.0),
                Assumption(
                    "the direction converges", UNKNOWN, "assumed by the theorem"
                ),
            )
            name = type(optimizer).__name__
            return _kkt(norm, "gronich2026adam", name, (*common, *rest))
    return Prediction(
        None,
        None,
        None,
        "none",
        f"No theorem here says to which KKT point {type(optimizer).__name__} takes a "
        "network.",
        common,
    )


def _kkt(
    norm: AbstractNorm,
    source: str,
    who: str,
    assumptions: tuple[Assumption, ...],
    regimes: tuple[Regime, ...] = (),
) -> Prediction:
    weighed = isinstance(norm, Mahalanobis)
    label = "ℓ2 (weighted by its accumulators)" if weighed else norm.label
    tends = "its direction tends" if who.endswith(":") else "tends in direction"
    return Prediction(
        norm,
        None,
        None,
        source,
        f"{who} {tends} to a KKT point of the {label} margin problem of all "
        "parameters: a first-order statement, no largest margin. penchant.limit finds "
        "the point.",
        assumptions,
        regimes,
    )


def _adagrad(
    problem: NetworkClassification,
    optimizer: AdaGrad,
    trajectory: Trajectory | None,
    common: tuple[Assumption, ...],
) -> Prediction:
    if trajectory is None:
        return Prediction(
            None,
            None,
            None,
            WANG,
            "AdaGrad tends to a KKT point of a Euclidean margin problem that its own "
            "accumulated gradients weigh: give a trajectory to fill them in.",
            common,
        )
    pre = Preconditioner.of(optimizer)
    log_v = jnp.asarray(log_memory(problem, optimizer, trajectory.state.optimizer))
    below = np.asarray(pre.log_below(log_v, jnp.zeros(())))
    M = np.exp(below - below.max())
    if not (M > 0).all():
        return Prediction(
            None,
            None,
            None,
            WANG,
            "An accumulator is 0: with ε = 0 its parameter never moves, and the norm "
            "that AdaGrad weighs is not defined.",
            common,
        )
    return _kkt(Mahalanobis(jnp.asarray(M)), WANG, "AdaGrad", common)


def _plain(optimizer: AbstractOptimizer) -> tuple[Assumption, ...]:
    b1 = float(np.asarray(getattr(optimizer, "b1", 0.0)))
    if b1 == 0:
        return ()
    why = f"b1 = {b1:g}; with momentum the theorem is for linear models"
    return (Assumption("there is no momentum", FAILS, why),)


def _homogeneous(problem: NetworkClassification) -> Assumption:
    statement = "outputs scale with a power of the parameters"
    found = problem.homogeneity
    if found.degree is None:
        return Assumption(statement, FAILS, f"relative deviation {found.error:.2g}")
    why = f"degree {found.degree:g} measured at random parameters, to {found.error:.0e}"
    return Assumption(statement, HOLDS, why)


def _full_batches(
    problem: NetworkClassification, batching: AbstractBatching
) -> Assumption:
    size = getattr(batching, "size", problem.samples)
    full = size >= problem.samples and type(batching).__name__ != "WithReplacement"
    return Assumption(
        "every update sees every sample", HOLDS if full else FAILS, repr(batching)
    )


def _separated(
    problem: NetworkClassification, trajectory: Trajectory | None
) -> Assumption:
    statement = "the loss falls below that of one sample on the wrong side"
    if trajectory is None:
        return Assumption(statement, UNKNOWN, "no run was given")
    # the theorems' threshold, for a sum of losses: that of a single margin of 0
    at_zero = float(problem.loss.log_losses(jnp.zeros((1, 1)))[0])
    threshold = at_zero - math.log(problem.samples)
    seen = float(trajectory.log_loss[-1])
    return Assumption(
        statement,
        HOLDS if seen < threshold else FAILS,
        f"log-loss {seen:.4g} after {int(trajectory.steps[-1])} steps, "
        f"threshold {threshold:.4g}",
    )


def _regimes(
    problem: NetworkClassification,
    optimizer: Adam | RMSProp,
    step_size: Any,
    trajectory: Trajectory | None,
) -> tuple[Regime, ...]:
    """The geometry a run is in at its end, and what may come; needs the run."""
    if trajectory is None or step_size is None or problem.degree is None:
        return ()
    q = float(jnp.min(trajectory.margins[-1]))
    w = problem.flat(trajectory.state.weights)
    if not q > 0:
        return ()
    gamma = q / float(jnp.max(jnp.abs(w))) ** problem.degree
    steps = int(trajectory.steps[-1])
    gradient = problem.scaled_gradient(trajectory.state.weights)
    F = trajectory.log_loss[-1]
    G = problem.flat(gradient.direction) * jnp.exp(gradient.log_scale - F)
    entry = float(jnp.sqrt(jnp.mean(G**2)))
    b1 = float(np.asarray(getattr(optimizer, "b1", 0.0)))
    if b1**2 >= float(np.asarray(optimizer.b2)):
        return ()
    seen = run_geometry(
        optimizer,
        step_size=step_size,
        steps=10 * steps,
        gamma=gamma,
        degree=problem.degree,
        entry=entry,
        nats=0.1,
    )
    first = run_geometry(
        optimizer,
        step_size=step_size,
        steps=steps,
        gamma=gamma,
        degree=problem.degree,
        entry=entry,
        nats=0.1,
    )
    end = min(seen.crossover, math.inf)
    regimes = []
    if end > 0:
        name = first.name if first.name != "gradient descent" else "sign-like"
        norm = first.norm if first.name != "gradient descent" else Linf()
        regimes.append(Regime(name, norm, 0.0, end, first.why))
    if float(np.asarray(optimizer.eps)) > 0:
        why = "gradients below ε: gradient descent with step η/ε"
        regimes.append(Regime("below ε", L2(), end, math.inf, why))
    return tuple(regimes)
