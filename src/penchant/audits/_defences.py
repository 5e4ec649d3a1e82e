"""What helps against examples that undo the bias: defences side by side."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from penchant._checks import check_instance, check_number
from penchant._plain import plain
from penchant.audits._poisoning import poison_scores, taken
from penchant.flows.state_space import StateSpaceFlow, flow
from penchant.problems.models import ssm


class Defence(eqx.Module):
    """One way to train: its name, the loss on all data, and the error over 40 lags.

    `settled` says whether these are the limit's, `what` what was done.
    """

    name: str = eqx.field(static=True)
    loss: float = eqx.field(static=True)
    error: float = eqx.field(static=True)
    settled: bool = eqx.field(static=True)
    what: str = eqx.field(static=True)


class Defences(eqx.Module):
    """Defences side by side: a row each, the first two without any.

    `rows["drop"]` and its like by name, or iterate.
    """

    rows: tuple[Defence, ...]

    def __getitem__(self, name: str) -> Defence:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no row {name!r}; have: {', '.join(r.name for r in self.rows)}")

    @property
    def best(self) -> Defence:
        """The row of the least error."""
        known = [row for row in self.rows if not math.isnan(row.error)]
        return min(known, key=lambda row: row.error)

    def to_dict(self) -> dict[str, Any]:
        """The rows, in types that JSON has."""
        return plain({
            row.name: {
                "loss": row.loss,
                "error": row.error,
                "settled": row.settled,
                "what": row.what,
            }
            for row in self.rows
        })

    def __repr__(self) -> str:
        lines = [f"Defences(least error: {self.best.name}, {self.best.error:.4g})"]
        for row in self.rows:
            ends = "" if row.settled else ", not settled"
            lines.append(
                f"  {row.name:<10} error {row.error:<10.4g} loss {row.loss:<9.2e} "
                f"{row.what}{ends}"
            )
        return "\n".join(lines)


def defences(
    problem: ssm.SequenceRegression,
    *,
    stop: float = 1e-3,
    share: float = 0.9,
    weight: float = 1e-2,
    decay: float = 1e-4,
) -> Defences:
    r"""What dropping, reweighting, decay, bounded poles and patience do, side by side.

    Each row is a limit of gradient flow, but for `stopped`, the same flow when its loss
    first fell to `stop` times the mean square of the labels:

    | row | what |
    |---|---|
    | `stopped` | nothing done, stopped early |
    | `longer` | nothing done, trained to the limit |
    | `drop` | the fewest examples that hold `share` of the pull at lag 1 are left out |
    | `reweight` | their squared residuals count `weight` times |
    | `decay` | the penalty `decay`·(‖a‖² + ‖b‖² + ‖c‖²) over what is trained |
    | `bounded` | the model is started at the same poles with $\lvert a\rvert<1$ by construction |

    Losses are those on all data, without weights or penalties. Which row wins hangs on
    the problem: on many, training longer is the best defence.

    >>> import penchant as pn
    >>> teacher = pn.ssm.StateSpace([1.0, 0.0], [1.0, 2.0], [1.0, 1.0])
    >>> X = [[1.0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1.0, 0]]
    >>> problem = pn.ssm.regression(teacher, X, a=[1e-3, 1e-3 - 1e-8, 5e-4], trained="a")
    >>> found = pn.audits.defences(problem)
    >>> bool(found["drop"].error < found["longer"].error)
    True

    Args:
        problem: What [`regression`][penchant.ssm.regression] returns, of a diagonal
            model with a linear teacher.
        stop: Share of the labels' mean square at which `stopped` is read off.
        share: Of the pull at lag 1 that is dropped or reweighted.
        weight: Of those examples in `reweight`.
        decay: Of the penalty in `decay`.

    Raises:
        TypeError: If the problem is of another kind.
        ValueError: If a number is out of its range.
    """  # noqa: E501
    check_instance(
        "problem", problem, ssm.SequenceRegression, "what ssm.regression returns"
    )
    if not isinstance(problem.teacher, ssm.AbstractStateSpace) or not isinstance(
        problem.params, ssm.StateSpace
    ):
        raise TypeError(
            "problem must have a linear teacher and a diagonal student; got "
            f"{problem!r}."
        )
    check_number("stop", stop, above=0.0, below=1.0)
    check_number("share", share, above=0.0, most=1.0)
    check_number("weight", weight, above=0.0, most=1.0)
    check_number("decay", decay, above=0.0, finite=True)
    plain_flow = flow(problem)
    scale = float(jnp.mean(problem.y**2))
    rows = [
        Defence(
            "stopped",
            stop * scale,
            plain_flow.error_at(stop * scale),
            False,
            f"the flow at {stop:g} of the labels' mean square",
        ),
        _row(problem, "longer", plain_flow, "the same flow to its limit"),
    ]
    scores = poison_scores(problem)
    order = np.argsort(-scores)
    few = int(np.searchsorted(np.cumsum(scores[order]), share - 1e-12) + 1)
    high = order[:few] if scores.any() else order[:0]
    kept = np.setdiff1d(np.arange(problem.samples), high)
    if high.size and kept.size and bool(jnp.any(problem.X[kept] != 0)):
        what = f"{few} of {problem.samples} examples left out"
        rows.append(_row(problem, "drop", flow(taken(problem, kept)), what))
        factor = np.ones(problem.samples)
        factor[high] = weight**0.5
        lighter = _reweighted(problem, factor)
        what = f"{few} of {problem.samples} examples count {weight:g} times"
        rows.append(_row(problem, "reweight", flow(lighter), what))
    rows.append(_decayed(problem, decay))
    rows.append(_bounded(problem))
    return Defences(tuple(rows))


def _row(
    problem: ssm.SequenceRegression, name: str, went: StateSpaceFlow, what: str
) -> Defence:
    loss = float(problem.loss(went.limit)) if went.settled else math.nan
    if not math.isfinite(loss):
        loss = went.limit_loss
    return Defence(name, loss, went.limit_error, went.settled, what)


def _reweighted(
    problem: ssm.SequenceRegression, factor: np.ndarray
) -> ssm.SequenceRegression:
    """Sequences and labels scaled: squared residuals of a linear model with weights."""
    if problem.head is not None:
        raise TypeError("problem must be without a head to be reweighted.")
    X, y = problem.data
    scaled = (X * jnp.asarray(factor)[:, None], y * jnp.asarray(factor))
    return eqx.tree_at(lambda p: p.data, problem, scaled)


def _decayed(problem: ssm.SequenceRegression, decay: float) -> Defence:
    """Gradient flow on the penalised loss, by LSODA, to where it stands still."""
    from scipy.integrate import solve_ivp

    from penchant.flows.state_space import lag_system

    system = lag_system(problem)
    velocity = lambda t, y: system.velocity(t, y) - 2.0 * decay * y
    jacobian = lambda t, y: system.jacobian(t, y) - 2.0 * decay * np.eye(len(y))

    def still(t: float, y: np.ndarray) -> float:
        v = np.linalg.norm(velocity(t, y))
        return float(v - 1e-9 * 2.0 * decay * np.linalg.norm(y))

    still.terminal = True  # type: ignore[attr-defined]
    ran = solve_ivp(
        velocity,
        (0.0, 1e4 / decay),
        system.start,
        method="LSODA",
        jac=jacobian,
        rtol=1e-9,
        atol=1e-16,
        events=still,
    )
    end = ran.y[:, -1]
    model = system.models(end)
    assert isinstance(model, ssm.StateSpace)
    assert isinstance(problem.teacher, ssm.AbstractStateSpace)
    speed = float(np.linalg.norm(velocity(0.0, end)))
    size = 2.0 * decay * float(np.linalg.norm(end))
    return Defence(
        "decay",
        float(problem.loss(model)),
        float(model.extrapolation_error(problem.teacher, 40)),
        bool(ran.success and (speed <= 1e-4 * size or size <= 1e-10 * decay)),
        f"decay {decay:g}",
    )


def _bounded(problem: ssm.SequenceRegression) -> Defence:
    """The same start with poles exp(-exp ν); those below 1e-300 stay out."""
    w = problem.params
    assert isinstance(w, ssm.StateSpace)
    a = np.asarray(w.a)
    if not ((a > 0) & (a < 1)).all():
        return Defence(
            "bounded",
            math.nan,
            math.nan,
            False,
            "has no poles outside (0, 1), where the start has some",
        )
    model = ssm.BoundedStateSpace.of(a, w.b, w.c)
    names = [{"a": "log_rate"}.get(name, name) for name in problem.trained]
    bounded = ssm.regression(
        problem.teacher,
        problem.X,
        model=model,
        trained=names,
        head=problem.head,
        y=problem.y,
    )
    went = flow(bounded)
    return _row(bounded, "bounded", went, "poles exp(−exp ν)")
