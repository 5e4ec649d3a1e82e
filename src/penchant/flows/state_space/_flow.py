"""Gradient flow of a model of sequences to its limit, past any plateau."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float

from penchant._checks import check_count, check_instance, check_number
from penchant.flows.state_space._rosenbrock import poles_path
from penchant.flows.state_space._systems import (
    AbstractSystem,
    LagSystem,
    TracedSystem,
)
from penchant.flows.state_space._tail import tail
from penchant.problems.models.ssm import (
    AbstractSequenceModel,
    AbstractStateSpace,
    SequenceRegression,
    StateSpace,
)

LAGS = 40
"""Lags over which the error of a model is said."""

EPS = (0.04, 0.02, 0.01)
"""Steps of ROS2 in units of the rate at which poles grow, each half of the last."""

RTOL, ATOL = 1e-11, 1e-18
"""Of LSODA. Gaps between poles of 1e-12 decide limits, so ATOL is far below them."""

NEAR = 1e-3
"""Share of the targets' size at which residuals are handed to the tail."""

MOST_STIFF = 50_000
"""Steps after which a stiff flow is given up."""

BEYOND = 1e-6
"""How far beyond 1 a pole must be to be said to grow."""

FLAT = 1e-8
"""Share of its own size at which a velocity counts as that of a stationary point."""


class StateSpaceFlow(eqx.Module):
    r"""Gradient flow $\dot w=-\nabla\mathcal L(w)$, recorded, and its limit.

    `times` `(r,)`, `weights` (leading axis r), `loss` `(r,)`, and `error` `(r,)`, the
    extrapolation error over 40 lags, absolute (NaN where there is no linear teacher).
    `limit` is the model at infinite time, `limit_loss` and `limit_error` are its own.

    `settled` says that both came to rest: `remaining` is how far the flow still had to
    go at the last record, $\|J^+\rho\|/\|w\|$ with residuals $\rho$ and their
    derivatives $J$, by which the limit is that much further on. Where it is False the
    limit is the last record, and no limit. `integration` estimates the integrator's own
    error in the limit, relative to $\|w\|$: the last change of an extrapolation where
    poles alone move, else the drift of what the flow conserves, $b_j^2-c_j^2$ (NaN
    where nothing is conserved). `notes` say what else one must know.
    """

    times: Float[Array, " r"]
    weights: Any
    loss: Float[Array, " r"]
    error: Float[Array, " r"]
    limit: Any
    limit_loss: float = eqx.field(static=True)
    limit_error: float = eqx.field(static=True)
    settled: bool = eqx.field(static=True)
    remaining: float = eqx.field(static=True)
    integration: float = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    how: str = eqx.field(static=True)
    notes: tuple[str, ...] = eqx.field(static=True)

    def error_at(self, loss: float) -> float:
        """The error when the loss first fell to a value; NaN if it never did.

        Between two records it is interpolated in logarithms.
        """
        check_number("loss", loss, above=0.0, finite=True)
        losses, errors = np.asarray(self.loss), np.asarray(self.error)
        below = np.flatnonzero(losses <= loss)
        if not below.size:
            return float("nan")
        i = int(below[0])
        if i == 0:
            return float(errors[0])
        x0, x1 = np.log(losses[i - 1]), np.log(max(losses[i], 1e-300))
        share = (np.log(loss) - x0) / (x1 - x0)
        with np.errstate(divide="ignore"):
            e0, e1 = np.log(errors[i - 1]), np.log(errors[i])
        return float(np.exp(e0 + share * (e1 - e0)))

    def __repr__(self) -> str:
        ends = "limit" if self.settled else "unsettled, reached"
        lines = [
            f"StateSpaceFlow({ends}: loss {self.limit_loss:.3g}, error over {LAGS} "
            f"lags {self.limit_error:.6g}; still to go {self.remaining:.1e}; "
            f"{self.how}, {self.steps:,} steps to time {float(self.times[-1]):.3g})"
        ]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def flow(
    problem: SequenceRegression,
    *,
    start: AbstractSequenceModel | None = None,
    time: float = 1e40,
    tolerance: float = 1e-8,
    record: int = 200,
) -> StateSpaceFlow:
    r"""Gradient flow to its limit: what the data, the start and nothing else decide.

    Where only the poles of a linear diagonal model move, by ROS2 with steps that follow
    the rate of growth, so that plateaus of $10^{12}$ take milliseconds; twice, at two
    accuracies, from which the limit is extrapolated. Else by LSODA with exact
    Jacobians. Linear problems are integrated by lags, at a cost without `n` in it.

    The flow ends when residuals and the extrapolation error are both at rest: on a
    plateau, where the loss stands still for most of the time, they are not, since the
    residuals are far from 0. A stationary point with a loss above 0 is a limit too,
    and is noted. Runs of gradient descent follow the flow as their steps get small.

    >>> from penchant import ssm
    >>> teacher = ssm.StateSpace([1.0, 0.0], [1.0, 1.0], [1.0, 1.0])
    >>> X = [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
    >>> problem = ssm.regression(teacher, X, a=[0.1, 0.09], trained="a")
    >>> clean = ssm.flow(problem)
    >>> bool(abs(clean.limit.a - ssm.baseline_limit([0.1, 0.09], 7)).max() < 1e-7)
    True
    >>> clean.settled
    True

    Args:
        problem: What [`regression`][penchant.ssm.regression] returns.
        start: The model at time 0; `problem.start` if None.
        time: When to give up.
        tolerance: How far, relative to the weights, the flow may still have to go.
        record: About how many records to keep.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range, or nothing that is trained enters the
            output: poles of sequences of length 1.
    """
    check_instance(
        "problem", problem, SequenceRegression, "what ssm.regression returns"
    )
    w = problem.start if start is None else problem.read(start, "start")
    check_number("time", time, above=0.0, finite=True)
    check_number("tolerance", tolerance, above=0.0, below=1.0)
    record = check_count("record", record, least=2)
    if problem.length == 1 and problem.trained == ("a",):
        raise ValueError(
            "problem must have sequences of length 2 or more where poles alone move: "
            "of length 1 the output has no pole in it."
        )
    by_lag = problem.linear and isinstance(w, StateSpace)
    if by_lag and problem.trained == ("a",) and problem.length >= 2:
        ran = _poles_alone(problem, w, float(time), record)
    else:
        system = LagSystem(problem, w) if by_lag else TracedSystem(problem, w)
        ran = _stiff(system, float(time), tolerance, record)
    return _told(problem, w, ran, tolerance)


class _Ran(NamedTuple):
    """What either integrator hands back."""

    system: AbstractSystem
    times: np.ndarray
    ys: np.ndarray
    end: np.ndarray
    integration: float
    steps: int
    flat: bool
    how: str


def _poles_alone(
    problem: SequenceRegression, w: StateSpace, time: float, record: int
) -> _Ran:
    system = LagSystem(problem, w)
    F, f = jnp.asarray(system.F), jnp.asarray(system.f)
    g, horizon = w.b * w.c, jnp.asarray(time)
    # one program for all three: they take turns at no cost of their own
    runs, path = poles_path(w.a, g, F, f, jnp.asarray(EPS), horizon, record)
    kept = int(path.filled)
    times, ys = np.asarray(path.times)[:kept], np.asarray(path.a)[:kept]
    ends, reached = np.asarray(runs.a), float(runs.time[-1])
    if reached > times[-1] and np.isfinite(ends[-1]).all():
        times, ys = np.append(times, reached), np.vstack([ys, ends[-1]])
    early = reached >= time
    ended = bool(runs.ended.all()) and not early and np.isfinite(ends).all()
    # errors are of second order and then third: ε² goes first, ε³ after it
    second = (4.0 * ends[1:] - ends[:-1]) / 3.0
    third = (8.0 * second[1] - second[0]) / 7.0
    size = max(float(np.linalg.norm(ys[-1])), 1e-300)
    return _Ran(
        system,
        times,
        ys,
        third if ended else ys[-1],
        float(np.linalg.norm(third - second[1])) / size if ended else float("nan"),
        int(runs.steps[-1]),
        bool(ended),
        "ROS2",
    )


def _stiff(system: AbstractSystem, time: float, tolerance: float, record: int) -> _Ran:
    solver = scipy.integrate.LSODA(
        system.velocity,
        0.0,
        system.start,
        time,
        rtol=RTOL,
        atol=ATOL,
        jac=system.jacobian,
    )
    times, ys, stride, steps = [0.0], [system.start], 1, 0
    flat = False
    while solver.status == "running" and steps < MOST_STIFF:
        message = solver.step()
        steps += 1
        if message is not None or not np.isfinite(solver.y).all():
            break
        if steps % stride == 0:
            times.append(float(solver.t))
            ys.append(solver.y.copy())
            if len(times) >= 2 * record:
                times, ys, stride = times[::2], ys[::2], 2 * stride
        if steps % 8 == 0:
            rho = float(np.linalg.norm(system.residual(solver.y)))
            if rho <= NEAR * system.scale:
                break
            if _stationary(system, solver.y):
                flat = True
                break
    if times[-1] != solver.t and np.isfinite(solver.y).all():
        times.append(float(solver.t))
        ys.append(solver.y.copy())
    last = ys[-1]
    if not flat and float(np.linalg.norm(system.residual(last))) <= NEAR * system.scale:
        ended = tail(
            system,
            times[-1],
            last,
            time,
            tolerance,
            lambda y: _stationary(system, y),
        )
        step = max(1, -(-len(ended.times) // record))
        keep = [i for i in range(len(ended.times)) if i % step == 0]
        if ended.times and keep[-1] != len(ended.times) - 1:
            keep.append(len(ended.times) - 1)
        times += [ended.times[i] for i in keep]
        ys += [ended.ys[i] for i in keep]
        steps += ended.steps
        flat = not ended.rests and _stationary(system, ys[-1])
    return _Ran(
        system, np.array(times), np.array(ys), ys[-1], np.nan, steps, flat, "LSODA"
    )


def _stationary(system: AbstractSystem, y: np.ndarray) -> bool:
    """Whether the gradient is 0 but for rounding, and no way leads down from there.

    On a plateau near the origin the gradient is small too, but none of its terms
    cancel.
    """
    J, rho = system.slopes(y), system.residual(y)
    terms = 2.0 * np.abs(J).T @ np.abs(rho)
    if np.abs(system.velocity(0.0, y)).max() > FLAT * max(terms.max(), 1e-300):
        return False
    curvature = np.linalg.eigvalsh(-system.jacobian(0.0, y))
    return bool(curvature[0] >= -1e-7 * max(curvature[-1], 1e-300))


def _told(
    problem: SequenceRegression, w: AbstractSequenceModel, ran: _Ran, tolerance: float
) -> StateSpaceFlow:
    system, ys = ran.system, ran.ys
    weights = system.models(ys)
    last = ran.end
    size = max(float(np.linalg.norm(last)), 1e-300)
    rho = float(np.linalg.norm(system.residual(last)))
    step = system.remaining(last)
    remaining = float(np.linalg.norm(step)) / size
    fitted = rho <= 1e-3 * system.scale and remaining <= 10.0 * tolerance
    settled = fitted or ran.flat
    if fitted:
        last = last - step
    elif not ran.flat:
        last = ys[-1]
    limit = jax.tree.map(lambda x: x[0], system.models(last[None]))
    losses = np.sum(system.residuals(ys) ** 2, axis=1)
    end_loss = float(np.sum(system.residual(last) ** 2))
    floor = system.floor if isinstance(system, LagSystem) else 0.0
    error, end_error = _errors(problem, weights, limit)
    integration = ran.integration
    balanced = isinstance(w, StateSpace) and {"b", "c"} <= set(problem.trained)
    if balanced and ran.how == "LSODA":
        assert isinstance(weights, StateSpace)
        kept = np.asarray(weights.b**2 - weights.c**2)
        large = max(float(np.max(np.asarray(weights.b**2 + weights.c**2)[-1])), 1e-300)
        integration = float(np.abs(kept - kept[0]).max()) / large
    return StateSpaceFlow(
        times=jnp.asarray(ran.times),
        weights=weights,
        loss=jnp.asarray(losses + floor),
        error=jnp.asarray(error),
        limit=limit,
        limit_loss=end_loss + floor,
        limit_error=end_error,
        settled=settled,
        remaining=remaining if not (ran.flat and not fitted) else 0.0,
        integration=integration,
        steps=ran.steps,
        how=ran.how,
        notes=_notes(problem, w, limit, settled, fitted, end_loss + floor),
    )


def _errors(
    problem: SequenceRegression,
    weights: AbstractSequenceModel,
    limit: AbstractSequenceModel,
) -> tuple[np.ndarray, float]:
    teacher = problem.teacher
    if not (
        isinstance(teacher, AbstractStateSpace)
        and isinstance(weights, AbstractStateSpace)
        and isinstance(limit, AbstractStateSpace)
    ):
        rows = jax.tree.leaves(weights)[0].shape[0]
        return np.full(rows, np.nan), float("nan")
    path = np.asarray(weights.extrapolation_error(teacher, LAGS))
    return path, float(limit.extrapolation_error(teacher, LAGS))


def _notes(
    problem: SequenceRegression,
    w: AbstractSequenceModel,
    limit: AbstractSequenceModel,
    settled: bool,
    fitted: bool,
    loss: float,
) -> tuple[str, ...]:
    notes = list(cautions(problem, w))
    if not settled:
        notes.append(
            "The flow was given up before it settled: what is called limit is where it "
            "was."
        )
    elif not fitted:
        notes.append(
            f"The limit is a stationary point with loss {loss:.3g}: it does not fit "
            "the data."
        )
    if isinstance(limit, StateSpace):
        largest = float(jnp.max(jnp.abs(limit.a)))
        if largest > 1.0 + BEYOND:
            notes.append(
                f"The largest pole of the limit is {largest:.6g}, beyond 1: it grows "
                f"by {largest ** (LAGS - 1):.3g} over {LAGS} lags."
            )
    return tuple(notes)


def cautions(
    problem: SequenceRegression, w: AbstractSequenceModel | None = None
) -> tuple[str, ...]:
    """What in a problem's data, teacher or start decides more than one may think.

    Args:
        problem: What [`regression`][penchant.ssm.regression] returns.
        w: The start, `problem.start` if None.
    """
    w = problem.start if w is None else w
    notes = []
    teacher = problem.teacher
    if teacher is None:
        notes.append("Without a teacher no error beyond the data is known.")
    elif problem.clean is False:
        notes.append("The labels are not the teacher's: the data are not clean.")
    linear = isinstance(teacher, AbstractStateSpace)
    if linear and isinstance(w, AbstractStateSpace) and teacher.size > w.size:
        notes.append(
            f"The teacher has {teacher.size} states, the student {w.size}: it may fit "
            "these lags and can't be the teacher."
        )
    if isinstance(w, StateSpace) and "a" in problem.trained and w.size > 1:
        a = np.sort(np.abs(np.asarray(w.a)))[::-1]
        gap = a[0] - a[1]
        moving = {"b", "c"} & set(problem.trained)
        if gap <= 4.0 * np.spacing(a[0]):
            why = (
                "only their b and c tell them apart"
                if moving
                else "the flow keeps them together"
            )
            notes.append(
                f"The two largest poles at the start are {gap:.2g} apart, which "
                f"float64 hardly resolves at {a[0]:.3g}: {why}."
            )
    return tuple(notes)
