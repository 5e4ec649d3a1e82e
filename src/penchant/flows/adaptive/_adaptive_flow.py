import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from penchant._checks import check_count, check_instance, check_number
from penchant._types import Parameters, Real, Scalar
from penchant.flows.adaptive._integrate import Point, integrate
from penchant.flows.adaptive._preconditioner import Preconditioner, log_memory
from penchant.norms import L2, AbstractNorm
from penchant.optimizers import AbstractOptimizer, accumulated_norm
from penchant.problems import AbstractClassification
from penchant.training import Trajectory
from penchant.training.schedules import Constant

FIRST_NATS = 1e-3


class ZeroGradientError(ValueError):
    """No parameter has a gradient, so nothing moves: every unit may be dead."""


class ShortFlowWarning(UserWarning):
    """A flow that ends before the log-loss asked for."""


class Flow(eqx.Module):
    r"""A continuous-time run, recorded at log-losses on the way down.

    `log_loss` `(r,)` is that of the mean loss, `weights` have a leading axis `r`,
    `log_time` `(r,)` is the log of time in steps of size `step_size`, and
    `preconditioner` `(r, p)` is $h$ in $\dot w=-\eta\,h\odot g$, parameters flattened.
    `log_memory` `(r, p)` is the log of the accumulated squared gradients.
    """

    log_loss: Float[Array, " r"]
    weights: Parameters
    log_time: Float[Array, " r"]
    log_memory: Float[Array, "r p"]
    optimizer: AbstractOptimizer
    step_size: Scalar
    problem: AbstractClassification

    @property
    def last(self) -> Parameters:
        """The weights at the end."""
        return jax.tree.map(lambda w: w[-1], self.weights)

    @property
    def margins(self) -> Float[Array, "r n"]:
        """Margins of every sample at every record."""
        return jax.lax.map(self.problem.margins, self.weights)

    @property
    def log_preconditioner(self) -> Float[Array, "r p"]:
        r"""$\log h$, $+\infty$ where $h$ divides by 0."""
        pre = Preconditioner.of(self.optimizer)
        below = jax.vmap(pre.log_below)(self.log_memory, self.log_time)
        return jnp.log(pre.gain) - below

    def norm(self) -> AbstractNorm:
        r"""The norm in whose margin problem this flow's limit is to first order.

        $\sqrt{\sum_jw_j^2/h_j}$ with the $h$ it ends with where squares add up
        (AdaGrad); else $\ell_2$ with an $\varepsilon$ or without preconditioner, and
        $\ell_\infty$ for a fading memory alone.
        """
        if Preconditioner.of(self.optimizer).sums:
            return accumulated_norm(-self.log_preconditioner[-1])
        norm = self.optimizer.character().limit_norm
        return L2() if norm is None else norm

    def invariant(self) -> Float[Array, " r"]:
        r"""AdaGrad's conserved quantity at every record: constant, whatever the model.

        $\mathcal L+\eta\sum_i\phi(v_i)$ with $\phi'=h$, for $\varepsilon$ inside
        $\mathcal L+2\eta\sum_i\sqrt{\varepsilon+v_i}$. It shows at once why $h_\infty$
        exists, and how well the flow was integrated. Derived; no paper's.

        Raises:
            TypeError: If the flow is not AdaGrad's.
        """
        second = Preconditioner.of(self.optimizer).second
        if second is None or second.kind != "sum":
            raise TypeError(
                f"the invariant is AdaGrad's; this is {type(self.optimizer).__name__}."
            )
        potential = jax.vmap(lambda log_v: second.potential(jnp.exp(log_v)))
        return jnp.exp(self.log_loss) + self.step_size * potential(self.log_memory)

    def __repr__(self) -> str:
        return (
            f"Flow({type(self.optimizer).__name__}, "
            f"log_loss={float(self.log_loss[-1]):.6g}, "
            f"log_time={float(self.log_time[-1]):.6g}, records={len(self.log_loss)})"
        )


def adaptive_flow(
    problem: AbstractClassification,
    optimizer: AbstractOptimizer | None = None,
    *,
    log_loss: Real = -1000.0,
    step_size: Real = 1.0,
    init: Parameters | None = None,
    trajectory: Trajectory | None = None,
    record: int = 100,
    tol: Real = 1e-9,
    most_steps: int = 1_000_000,
) -> Flow:
    r"""Follow $\dot w=-\eta\,h\odot\nabla\mathcal L(w)$ down to a log-loss.

    $h$ is 1 for gradient descent; for AdaGrad (`duchi2011adagrad`) and RMSProp it
    divides by the root of accumulated $g^2$, whose sum or running mean is
    carried in continuous time: $\dot v=g^2$, or $\dot v=(1-\beta_2)(g^2-v)$. Adam is
    RMSProp here: against changes that slow, its first moment has no memory.

    The variable is $-\log\mathcal L$ in place of time, so a loss of $e^{-1000}$, at a
    time near $e^{1000}$, is a thousand units away. Flows without a fading memory go by
    an adaptive fifth-order method to `tol`; a fading memory is stiff and goes by an
    exponential midpoint rule of second order, to $\sqrt{\text{tol}}$.

    Args:
        problem: Data, model and loss; smooth or not, homogeneous or not.
        optimizer: GradientDescent, AdaGrad, RMSProp or Adam; None for that of the
            trajectory.
        log_loss: Where to end: the log of the mean loss.
        step_size: $\eta$. It matters where memory fades or a sum of $g^2$ has not
            settled; else it only rescales time. With a trajectory that of its last
            step is taken.
        init: Where to start; None for the problem's own start. Memory starts empty.
        trajectory: A run to go on from, with its memory, in place of `init`.
        record: Number of records, denser at the start.
        tol: Relative tolerance of a step.
        most_steps: Stop after so many steps; records not reached are left out, and a
            `ShortFlowWarning` says where the flow ends.

    Raises:
        TypeError: If an argument is of the wrong kind, or no such flow is known for
            the optimizer.
        ValueError: If one is out of its range, or the start has this loss already.
        ZeroGradientError: If no parameter has a gradient where the flow starts.
    """
    check_instance(
        "problem", problem, AbstractClassification, "a LinearClassification or Network"
    )
    check_number("log_loss", log_loss, most=0.0)
    check_number("tol", tol, above=0.0, below=0.1)
    record = check_count("record", record, least=2)
    most_steps = check_count("most_steps", most_steps)
    if trajectory is not None:
        check_instance("trajectory", trajectory, Trajectory, "what train returned")
        trajectory.require_problem(problem)
        optimizer = trajectory.rule.optimizer if optimizer is None else optimizer
        step_size = last_step_size(trajectory)
        w = trajectory.last
        log_v = log_memory(problem, optimizer, trajectory.state.optimizer)
        log_time = float(np.log(int(trajectory.steps[-1])))
    else:
        if optimizer is None:
            raise TypeError("optimizer must be given where no trajectory is.")
        check_instance("optimizer", optimizer, AbstractOptimizer, "an optimizer")
        check_number("step_size", step_size, above=0.0)
        w = problem.start if init is None else problem.read(init, "init")
        state = optimizer.init(w)
        log_v, log_time = log_memory(problem, optimizer, state), -np.inf
    pre = Preconditioner.of(optimizer)
    now = float(problem.log_loss(w))
    check_gradient(problem, w)
    if not log_loss < now:
        raise ValueError(
            f"log_loss must be below that of the start, {now:.6g}; got {log_loss:g}."
        )
    nats = np.geomspace(FIRST_NATS, now - log_loss, record - 1)
    begin = Point(
        problem.flat(w), jnp.asarray(log_v), jnp.asarray(log_time), jnp.asarray(now)
    )
    eta = jnp.asarray(step_size, dtype=float)
    path = integrate(problem, pre, eta, begin, nats, float(tol), most_steps)
    reached = float(path.log_loss[-1])
    if len(path.log_loss) < record:
        warnings.warn(
            f"The flow ends at a log-loss of {reached:.6g}, above the {log_loss:g} "
            f"asked for, within {most_steps:,} steps. Units at a kink make steps "
            "short; more steps or a larger tol may help, and limit goes on from there.",
            ShortFlowWarning,
            stacklevel=2,
        )
    return Flow(
        log_loss=path.log_loss,
        weights=jax.vmap(problem.unflat)(path.w),
        log_time=path.log_time,
        log_memory=path.log_v,
        optimizer=optimizer,
        step_size=eta,
        problem=problem,
    )


def last_step_size(trajectory: Trajectory) -> float:
    """The step size with which a run ended."""
    schedule: Any = trajectory.rule.schedule
    if isinstance(schedule, Constant):
        return float(schedule.scale)
    return float(schedule(jnp.asarray(int(trajectory.steps[-1]) - 1)))


def check_gradient(problem: AbstractClassification, w: Parameters) -> None:
    """Refuse parameters from which nothing moves.

    Raises:
        ZeroGradientError: If the gradient is 0 in every parameter.
    """
    direction = problem.flat(problem.scaled_gradient(w).direction)
    if not bool(jnp.any(direction != 0)):
        raise ZeroGradientError(
            "the gradient is 0 in every parameter, so nothing moves: every unit may be "
            "dead, or all parameters 0. Start elsewhere, or take smaller first steps."
        )
