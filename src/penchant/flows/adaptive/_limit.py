import dataclasses
import functools
import math
import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from penchant._checks import check_instance, check_number
from penchant._threads import one_blas_thread
from penchant._types import Parameters, Real, Scalar
from penchant.flows.adaptive._adaptive_flow import (
    Flow,
    ShortFlowWarning,
    adaptive_flow,
    check_gradient,
    last_step_size,
)
from penchant.flows.adaptive._cells import newton_in_cells, one_hidden_layer
from penchant.flows.adaptive._preconditioner import Preconditioner, log_memory
from penchant.flows.adaptive._tail import Tail, path_of
from penchant.margins import KKT, NotSeparatedError, kkt
from penchant.margins.geometry import is_spectral
from penchant.norms import (
    L2,
    AbstractLp,
    AbstractNorm,
    AbstractSchatten,
    Layerwise,
    Linf,
    Mahalanobis,
    Spectral,
)
from penchant.optimizers import (
    FIELDS,
    AbstractOptimizer,
    Evidence,
    GradientDescent,
    accumulated_norm,
)
from penchant.problems import AbstractClassification
from penchant.training import Trajectory

DEEP = -1000.0
"""The log-loss at which the flow hands over to its tail."""

TOLERANCE = 1e-6

TRIES, SOON = 1000, 120
"""Tries of a tail's step, and those after which cells are looked at if it goes on."""

CERTIFIED, NEAR = 1e-8, 1e-9
"""Residual from which a limit needs nothing more, and slack of margins in it."""

MOST_STEPS = 200_000
MOST_WORK = 1_000_000_000
"""Steps of the flow, and steps times samples times parameters, at most."""


class Stage(eqx.Module):
    """A stretch on the way to the limit: what was followed, from where to where.

    `steps` are updates of a run, records of a flow, steps of a tail. `turned` is the
    angle between the directions at its two ends, in radians; `residual` the KKT
    residual where it ended.
    """

    name: str = eqx.field(static=True)
    log_loss: float = eqx.field(static=True)
    log_norm: float = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    turned: float = eqx.field(static=True)
    residual: float = eqx.field(static=True)
    why: str = eqx.field(static=True)

    def __repr__(self) -> str:
        return (
            f"{self.name}: log-loss {self.log_loss:.4g}, log-norm {self.log_norm:.4g}, "
            f"{self.steps} steps, turned {self.turned:.2e}, "
            f"residual {self.residual:.1e} ({self.why})"
        )


class Limit(eqx.Module):
    r"""Where a run's direction goes at infinite time, with its certificate.

    `weights` have unit norm in `norm`, the geometry in which the limit is a KKT point;
    `margin` is $q_{\min}/\|w\|^L$ there and `margin_l2` with the plain Euclidean norm
    of all parameters. `kkt_residual` says how nearly the KKT conditions hold, `kkt`
    has all residuals. `log_norm` is the log of the norm reached, `stages` how: the
    run, the flow, the tail, and Newton's method where it was needed, each with where it
    handed over. `settled` is whether the direction had stopped turning, or Newton's
    method turned it no more than a step of the tail would; where it turned it further
    the point is certified, and not that the run goes to it rather than to another.
    `measured` names the parts of the rule's character that were read off its steps by
    [`identify`][penchant.identify] and not proved: which norm this is rests on them.

    The residual certifies the point; that *this* run goes there rests on the flows
    being near to the discrete steps, which they are to the extent that steps are small.
    """

    weights: Parameters
    margin: Scalar
    margin_l2: Scalar
    kkt_residual: Scalar
    log_norm: Scalar
    stages: tuple[Stage, ...]
    norm: AbstractNorm
    kkt: KKT
    settled: bool = eqx.field(static=True)
    measured: tuple[str, ...] = eqx.field(default=(), static=True)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the weights, in types that JSON has."""
        return {
            "norm": self.norm.label,
            "margin": float(self.margin),
            "margin_l2": float(self.margin_l2),
            "kkt_residual": float(self.kkt_residual),
            "gap": float(self.kkt.gap),
            "kinks": self.kkt.kinks,
            "log_norm": float(self.log_norm),
            "settled": self.settled,
            "measured": list(self.measured),
            "stages": [dataclasses.asdict(stage) for stage in self.stages],
        }

    def __repr__(self) -> str:
        settled = "settled" if self.settled else "still turning"
        lines = [
            f"Limit({self.norm.label} margin {float(self.margin):.7g}, KKT residual "
            f"{float(self.kkt_residual):.1e}, log-norm {float(self.log_norm):.4g}, "
            f"{settled})"
        ]
        if self.measured:
            lines.append(f"  of a rule whose {', '.join(self.measured)} were measured")
        return "\n".join([*lines, *(f"  {stage!r}" for stage in self.stages)])


def limit(
    problem: AbstractClassification,
    trajectory: Trajectory,
    *,
    log_norm: Real = 30.0,
    turn: Real = 0.02,
) -> Limit:
    r"""Continue a run to infinite time, and certify what its direction tends to.

    Training at a loss of $10^{-6}$ is far from any KKT point (residuals of .2 to .5),
    and gets nearer like $(\log t)^{-1/L}$ at best. So the run hands over, with its
    memory, to the flow it discretises (`adaptive_flow`, to a log-loss of -1000, or as
    far as some thousand steps go where the network is large), and that to the flow's
    tail (`tail_flow`, to `log_norm`). Where units of a network of one hidden layer of
    ReLUs still slide along their kinks there, Newton's method goes on, cell by cell,
    to the KKT point of more margin nearby, in ℓ2; it is taken where its residual is
    below $10^{-8}$, and else the last stage says how many kinks stay undecided.

    | optimizer | geometry of the limit |
    |---|---|
    | gradient descent, any momentum; RMSProp, Adam with ε > 0 | ℓ2 |
    | AdaGrad | ℓ2 weighted by its own accumulators, as they end in the flow |
    | RMSProp, Adam with ε = 0; sign descent, Signum | ℓ∞, without a flow between |
    | normalised or plain steepest descent in ℓ2 or ℓ∞ | that norm |
    | Muon with exact polar factors, spectral steepest descent | spectral, per layer |

    The first three lines are `wang2021adaptive`, which covers continuous time and
    small discrete steps of smooth networks; ReLU is outside its discrete part. Adam's
    first moment is dropped (`wang2022momentum` treats it for linear models). ℓ∞ with
    ε = 0 needs steps that shrink fast enough and a direction that converges. So does
    the spectral norm, which `fan2025spectral` has for linear problems; of networks it
    is the KKT point that the flow of least margins goes to, and no theorem. In both
    shortest steps are not unique, and parts of the weights that no least margin pulls
    at end where the steps taken put them: the margin is what is certified.

    Args:
        problem: What the run learned, with a degree of homogeneity.
        trajectory: A run that classifies every sample.
        log_norm: How far to follow: the log of the norm of all parameters.
        turn: The largest angle of one step of the tail; a smaller one follows the
            flow more closely.

    Raises:
        TypeError: If an argument is of the wrong kind, or the optimizer's geometry is
            none of these (Lion's, or that of a Muon whose polar factor is not exact).
        NotHomogeneousError: If the problem has no degree.
        ValueError: If `problem` is not the one the run was made on.
        NotSeparatedError: If the run has not classified every sample.
        ZeroGradientError: If nothing has a gradient, as when all units are dead.
    """
    check_instance(
        "problem",
        problem,
        AbstractClassification,
        "a LinearClassification or a NetworkClassification",
    )
    check_instance("trajectory", trajectory, Trajectory, "what train returned")
    trajectory.require_problem(problem)
    check_number("log_norm", log_norm)
    check_number("turn", turn, above=0.0, most=0.5)
    problem.require_degree()
    rule = trajectory.rule.optimizer
    geometry = geometry_at_infinity(rule)
    if isinstance(geometry, Layerwise) and len(jax.tree.leaves(problem.start)) == 1:
        geometry = geometry.norm
    w = trajectory.last
    check_gradient(problem, w)
    least = float(jnp.min(problem.margins(w)))
    if not least > 0:
        raise NotSeparatedError(problem, w)

    norm = geometry or _accumulated(problem, trajectory)
    log_loss = float(trajectory.log_loss[-1])
    steps = int(trajectory.steps[-1])
    stages = [_stage(problem, norm, "run", w, w, log_loss, steps, "as trained")]
    flow = None
    if not isinstance(norm, (Linf, Layerwise, Spectral)) and Preconditioner.describes(
        rule
    ):
        with warnings.catch_warnings():  # the stage says where it ended
            warnings.simplefilter("ignore", ShortFlowWarning)
            flow = _flow(problem, trajectory, log_loss)
    if flow is not None:
        if geometry is None:
            norm = flow.norm()
        why = "the run's own flow, with its memory"
        after = flow.last
        end = float(flow.log_loss[-1])
        if end > 0.99 * DEEP:
            why += ", as far as its steps went"
        stages.append(
            _stage(problem, norm, "flow", w, after, end, len(flow.log_loss), why)
        )
        w = after
    known = isinstance(norm, L2) and one_hidden_layer(problem)
    path = path_of(problem, w, norm)
    follow = functools.partial(path.follow, float(log_norm), float(turn))
    follow(SOON if known else TRIES)
    tail, better, stage = path.tail(), None, None
    if known and not tail.settled and path.ell < float(log_norm) - 1.0:
        # with hundreds of least margins a tail is long, and its cells may be at hand
        stage, better = _in_cells(problem, tail, kkt(problem, tail.weights, norm))
        if better is None:
            follow(TRIES - SOON)
            tail, stage = path.tail(), None
    weights, settled = tail.weights, tail.settled
    found = kkt(problem, weights, norm)
    if known and better is None and found.residual > CERTIFIED:
        stage, better = _in_cells(problem, tail, found)
    end, why = _log_loss_at(problem, tail), "least margins alone"
    stages.append(
        _stage(problem, norm, "tail", w, tail.weights, end, tail.steps, why, tail)
    )
    if stage is not None:
        stages.append(stage)
    if better is not None:
        weights, found = better
        settled = stages[-1].turned <= float(turn)
    flat = problem.flat(weights)
    euclidean = problem.unflat(flat / jnp.linalg.norm(flat))
    return Limit(
        weights=weights,
        margin=found.margin,
        margin_l2=jnp.min(problem.margins(euclidean)),
        kkt_residual=found.residual,
        log_norm=tail.log_norm,
        stages=tuple(stages),
        norm=norm,
        kkt=found,
        settled=settled,
        measured=_measured(rule),
    )


def _measured(rule: AbstractOptimizer) -> tuple[str, ...]:
    evidence = rule.character().evidence
    return tuple(f for f in FIELDS if evidence[f] == Evidence.MEASURED)


def _in_cells(
    problem: Any, tail: Tail, at_tail: KKT
) -> tuple[Stage | None, tuple[Parameters, KKT] | None]:
    """Newton's method from the tail's end, and its point if that is one.

    It is taken where its residual certifies it and its margin is no less.
    """
    first, second = tail.weights
    X, W = np.asarray(problem.X), np.asarray(first["W"])
    if "b" in first:
        X = np.column_stack([X, np.ones(len(X))])
        W = np.column_stack([W, np.asarray(first["b"])])
    y = np.asarray(problem.y).astype(np.intp)
    with one_blas_thread():
        ended = newton_in_cells(X, y, W, np.asarray(second["W"]))
    if ended is None:
        return None, None
    found, weights = at_tail, None
    if ended.converged:
        layers = [{"W": jnp.asarray(ended.W)}, {"W": jnp.asarray(ended.A)}]
        if "b" in first:
            inputs, biases = jnp.asarray(ended.W[:, :-1]), jnp.asarray(ended.W[:, -1])
            layers[0] = {"W": inputs, "b": biases}
        flat = problem.flat(layers)
        weights = problem.unflat(flat / jnp.linalg.norm(flat))
        if float(jnp.min(problem.margins(weights))) > 0:
            found = kkt(problem, weights, L2(), tol=NEAR, draws=4)
    rises = float(found.margin) >= float(at_tail.margin) * (1.0 - 1e-12)
    taken = rises and float(found.residual) <= CERTIFIED
    why = f"Newton's method, cell by cell: {ended.kinks} kinks hold"
    if not taken:
        why = f"Newton's method left {ended.undecided} kinks undecided: not taken"
    after = weights if taken else tail.weights
    stage = Stage(
        "cells",
        _log_loss_at(problem, tail),
        float(tail.log_norm),
        ended.rounds,
        _turned(problem, tail.weights, after),
        float(found.residual if taken else at_tail.residual),
        why,
    )
    return stage, (weights, found) if taken else None


def geometry_at_infinity(rule: AbstractOptimizer) -> AbstractNorm | None:
    """The norm of a rule's limit; None where the run itself has to tell (AdaGrad).

    Raises:
        TypeError: If no limit is known in a norm that can be followed.
    """
    what = rule.character()
    if what.adaptive is not None and what.adaptive.kind == "sum" and not what.decays:
        return None
    norm = what.limit_norm
    if isinstance(norm, (AbstractLp, AbstractSchatten)) and norm.p == 2.0:
        return L2()
    if isinstance(norm, AbstractLp) and norm.p == math.inf:
        return Linf()
    if is_spectral(norm):
        return Layerwise(Spectral())
    if is_spectral(what.steps) and not what.steepest and not what.decays:
        raise TypeError(
            f"{rule!r} steps along approximate polar factors, with singular values "
            "other than 1: no norm is known whose margin it maximises, and no limit "
            "can be followed. Muon(polar=ExactPolar()) has the spectral norm's."
        )
    raise TypeError(
        "the trajectory's optimizer must be GradientDescent, AdaGrad, RMSProp, Adam, "
        "SignDescent, Signum, Muon or SteepestDescent in ℓ2, ℓ∞ or the spectral norm, "
        "or a rule whose character is like theirs: no other limit can be followed; "
        f"got {type(rule).__name__}: {what!r}."
    )


def _accumulated(problem: AbstractClassification, run: Trajectory) -> AbstractNorm:
    """The norm that sums of squares weigh, as it stands at the end of a run."""
    rule = run.rule.optimizer
    log_v = jnp.asarray(log_memory(problem, rule, run.state.optimizer))
    return accumulated_norm(Preconditioner.of(rule).log_below(log_v, jnp.zeros(())))


def _flow(
    problem: AbstractClassification, run: Trajectory, log_loss: float
) -> Flow | None:
    if log_loss <= DEEP:
        return None
    rule = run.rule.optimizer
    pre = Preconditioner.of(rule)
    work = problem.samples * problem.parameters
    how = {"log_loss": DEEP, "record": 20, "tol": TOLERANCE}
    how["most_steps"] = int(min(MOST_STEPS, max(1000, MOST_WORK // work)))
    if pre.second is not None and pre.fades:
        log_v = jnp.asarray(log_memory(problem, rule, run.state.optimizer))
        if bool(jnp.all(pre.second.share_of_eps(log_v) > 1.0 - 1e-9)):
            # what divides is ε alone: gradient descent, which is not stiff
            return adaptive_flow(
                problem,
                GradientDescent(),
                init=run.last,
                step_size=last_step_size(run),
                **how,
            )
    return adaptive_flow(problem, trajectory=run, **how)


def _log_loss_at(problem: AbstractClassification, tail: Tail) -> float:
    r"""$-q_{\min}$ at the norm reached; $-\infty$ beyond what a float holds."""
    degree = problem.require_degree()
    log_q = math.log(float(tail.margins[-1])) + degree * float(tail.log_norm)
    return -math.exp(log_q) if log_q < 700.0 else -math.inf


def _stage(
    problem: AbstractClassification,
    norm: AbstractNorm,
    name: str,
    before: Parameters,
    after: Parameters,
    log_loss: float,
    steps: int,
    why: str,
    tail: Tail | None = None,
) -> Stage:
    b = problem.flat(after)
    turned = _turned(problem, before, after)
    if isinstance(norm, Mahalanobis):
        b = b.reshape(jnp.shape(norm.M))
    elif is_spectral(norm):
        b = after
    length = float(jnp.log(norm(b))) if tail is None else float(tail.log_norm)
    residual = float(kkt(problem, after, norm, draws=4).residual)
    return Stage(name, log_loss, length, steps, turned, residual, why)


def _turned(
    problem: AbstractClassification, before: Parameters, after: Parameters
) -> float:
    """The angle between two directions, in radians."""
    a, b = problem.flat(before), problem.flat(after)
    unit = lambda x: x / jnp.linalg.norm(x)
    return 2.0 * math.asin(min(1.0, 0.5 * float(jnp.linalg.norm(unit(a) - unit(b)))))
