"""What data, start and teacher lead a state space model to, before it is trained."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from penchant import pages
from penchant._checks import check_instance
from penchant._plain import plain
from penchant.flows.state_space import LAGS, StateSpaceFlow, cautions, flow
from penchant.optimizers import AbstractOptimizer
from penchant.problems.models import ssm
from penchant.theory._prediction import Assumption, Verdict
from penchant.theory.state_space._excitation import Excitation, excitation

GOOD = 0.1
"""Share of the teacher's largest response beyond lag 0 below which a model counts as
the teacher."""

LOSSES = (1e-2, 1e-3, 1e-4, 1e-6, 1e-8)
"""Losses, as shares of the mean square of the labels, at which a run may be stopped."""


class EarlyStop(eqx.Module):
    """The extrapolation error of gradient flow when the loss first fell to a value."""

    loss: float = eqx.field(static=True)
    error: float = eqx.field(static=True)

    def __repr__(self) -> str:
        return f"loss {self.loss:.1e}: error {self.error:.4g}"


class StateSpacePrediction(eqx.Module):
    r"""Where gradient flow takes a state space model, and whether that generalises.

    `excitation` says which lags the data excite, `flow` is gradient flow to its limit,
    and `generalises` whether the limit's error over 40 lags is below a tenth of the
    teacher's largest response beyond lag 0 (None where the limit or the teacher is
    unknown). `stops` are the errors at losses on the way: where they are far above the
    limit's, a failure is one of early stopping. `greedy` is the share of the pull on
    the start's largest pole that is *not* at lag 1: 1 where nothing but the bias to few
    poles acts.

    `assumptions` say how far this holds for the rule asked about. That gradient flow
    ends there is computed, and no theorem; `source` is where the mechanism is proved.
    """

    excitation: Excitation
    flow: StateSpaceFlow
    generalises: bool | None = eqx.field(static=True)
    greedy: float = eqx.field(static=True)
    stops: tuple[EarlyStop, ...]
    source: str = eqx.field(static=True)
    statement: str = eqx.field(static=True)
    assumptions: tuple[Assumption, ...]

    @property
    def holds(self) -> bool:
        """Whether no assumption is known to fail."""
        return all(a.verdict is not Verdict.FAILS for a in self.assumptions)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the weights, in types that JSON has."""
        return plain({
            "source": self.source,
            "statement": self.statement,
            "generalises": self.generalises,
            "greedy": self.greedy,
            "limit_loss": self.flow.limit_loss,
            "limit_error": self.flow.limit_error,
            "settled": self.flow.settled,
            "stops": [{"loss": s.loss, "error": s.error} for s in self.stops],
            "excitation": self.excitation.to_dict(),
            "assumptions": [
                {"statement": a.statement, "verdict": a.verdict.value, "why": a.why}
                for a in self.assumptions
            ],
            "notes": list(self.flow.notes),
        })

    def plot(self, *, size: tuple[float, float] = (6.0, 3.4), ax: Any = None) -> Any:
        """The error over 40 lags against the training loss, along the flow.

        Args:
            size: Of a new figure, in inches.
            ax: Draw here instead.

        Raises:
            ValueError: If no error is known.
        """
        from penchant import plotting

        loss, error = np.asarray(self.flow.loss), np.asarray(self.flow.error)
        keep = (loss > 0) & np.isfinite(error) & (error > 0)
        if not keep.any():
            raise ValueError("nothing to draw: no error is known without a teacher.")
        ax = plotting.curves(
            {"gradient flow": (loss[keep], error[keep])},
            xlabel="training loss",
            ylabel=f"error over {LAGS} lags",
            logy=True,
            size=size,
            ax=ax,
        )
        ax.invert_xaxis()
        return ax

    def _repr_html_(self) -> str:
        first, _, rest = repr(self).partition("\n")
        return pages.card(first, self.statement, rest, self.plot)

    def __repr__(self) -> str:
        ends = "unknown"
        if self.generalises is not None:
            ends = "generalises" if self.generalises else "does not generalise"
        lines = [
            f"StateSpacePrediction(the limit of gradient flow {ends}; {self.source})",
            f"  {self.statement}",
            f"  {self.excitation!r}",
            *(f"  stopped at {stop!r}" for stop in self.stops),
            *(f"  {assumption!r}" for assumption in self.assumptions),
            *(f"  note: {note}" for note in self.flow.notes),
        ]
        return "\n".join(lines)


def foretell_state_space(
    problem: ssm.SequenceRegression,
    optimizer: AbstractOptimizer,
    *,
    full_batch: bool = True,
    start: ssm.AbstractSequenceModel | None = None,
) -> StateSpacePrediction:
    r"""Where a state space model goes on these data, as `penchant.predict` says it.

    >>> import penchant as pn
    >>> teacher = pn.ssm.StateSpace([1.0, 0.0], [1.0, 1.0], [1.0, 1.0])
    >>> X = [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
    >>> problem = pn.ssm.regression(teacher, X, a=[0.1, 0.02], trained="a")
    >>> told = pn.predict(problem, "gd")
    >>> told.generalises, told.greedy
    (True, 1.0)

    Args:
        problem: What [`regression`][penchant.ssm.regression] returns.
        optimizer: The rule, which the assumptions are about.
        full_batch: Whether every update sees every example.
        start: Where it starts, `problem.start` if None.

    Raises:
        TypeError: If an argument is of the wrong kind.
    """
    check_instance("problem", problem, ssm.SequenceRegression, "one of ssm.regression")
    check_instance("optimizer", optimizer, AbstractOptimizer, "one of pn.optimizers")
    w = problem.start if start is None else problem.read(start, "start")
    seen = excitation(problem)
    went = flow(problem, start=w)
    generalises = None
    if went.settled and not math.isnan(went.limit_error):
        assert isinstance(problem.teacher, ssm.AbstractStateSpace)
        response = np.abs(np.asarray(problem.teacher.impulse(LAGS)))
        # lag 0 may be as large as the number of states, and hide a failure beyond
        size = float(response[1:].max()) or float(response[0])
        generalises = bool(went.limit_error <= GOOD * size)
    scale = float(jnp.mean(problem.y**2))
    stops = (
        tuple(
            EarlyStop(share * scale, went.error_at(share * scale))
            for share in LOSSES
            if math.isfinite(went.error_at(share * scale))
        )
        if scale > 0
        else ()
    )
    return StateSpacePrediction(
        excitation=seen,
        flow=went,
        generalises=generalises,
        greedy=greedy_share(problem, w),
        stops=stops,
        source="slutzky2025poisoned",
        statement=_statement(problem, went, generalises, stops),
        assumptions=_assumptions(problem, w, optimizer, full_batch, seen),
    )


def greedy_share(
    problem: ssm.SequenceRegression, w: ssm.AbstractSequenceModel
) -> float:
    r"""The share of the pull on the largest pole that is beyond lag 1.

    $1-|\gamma^{(0)}|/\sum_l|\gamma^{(l)}|a^l$ with the largest pole $a$. 1 where lag 1
    pulls at no pole, so that large poles outrun small ones; NaN where the model is not
    diagonal or nothing pulls.

    >>> import penchant as pn
    >>> teacher = pn.ssm.StateSpace([1.0], [1.0], [1.0])
    >>> problem = pn.ssm.regression(teacher, [[0.0, 1.0, 0.0]], a=[0.5, 0.1])
    >>> pn.theory.state_space.greedy_share(problem, problem.start)
    0.0
    """
    if not isinstance(w, ssm.StateSpace) or problem.length < 2:
        return math.nan
    largest = float(np.max(np.abs(np.asarray(w.a))))
    powers = largest ** np.arange(float(problem.length - 1))
    pulls = np.abs(np.asarray(ssm.gamma(problem, w))) * powers
    total = float(pulls.sum())
    return 1.0 - float(pulls[0]) / total if total > 0 else math.nan


def _statement(
    problem: ssm.SequenceRegression,
    went: StateSpaceFlow,
    generalises: bool | None,
    stops: tuple[EarlyStop, ...],
) -> str:
    if not went.settled:
        return "Gradient flow was given up before it settled; its limit is not known."
    if not math.isfinite(went.limit_error) and not math.isinf(went.limit_error):
        return (
            f"Gradient flow ends at a loss of {went.limit_loss:.3g}; without a linear "
            "teacher its error beyond the data is not known."
        )
    ends = "generalises" if generalises else "does not generalise"
    text = (
        f"Gradient flow ends at a loss of {went.limit_loss:.3g} with an error of "
        f"{went.limit_error:.4g} over {LAGS} lags: its limit {ends}."
    )
    worst = max(stops, key=lambda stop: stop.error, default=None)
    if worst is not None and worst.error > 10.0 * went.limit_error:
        text += (
            f" Stopped early the error is larger: {worst.error:.3g} at a loss of "
            f"{worst.loss:.1e}."
        )
    best = min(stops, key=lambda stop: stop.error, default=None)
    if best is not None and best.error < 0.1 * went.limit_error:
        text += (
            f" Stopped early it is smaller: {best.error:.3g} at a loss of "
            f"{best.loss:.1e}."
        )
    return text


def _assumptions(
    problem: ssm.SequenceRegression,
    w: ssm.AbstractSequenceModel,
    optimizer: AbstractOptimizer,
    full_batch: bool,
    seen: Excitation,
) -> tuple[Assumption, ...]:
    holds, fails, unknown = Verdict.HOLDS, Verdict.FAILS, Verdict.UNKNOWN
    what = optimizer.character()
    name = type(optimizer).__name__
    if what.adaptive is not None or what.normalised or what.decay is not None:
        follows = Assumption(
            "the rule follows gradient flow as its steps get small",
            fails,
            f"{name} divides, normalises or decays: for poles of small gradients that "
            "changes the limit",
        )
    elif what.steps is not None and what.known:
        follows = Assumption(
            "the rule follows gradient flow as its steps get small",
            holds if full_batch else unknown,
            f"{name}, {'full batch' if full_batch else 'batches of part of the data'}",
        )
    else:
        follows = Assumption(
            "the rule follows gradient flow as its steps get small",
            unknown,
            f"{name} does not say what it is",
        )
    clean = {
        None: Assumption("labels are the teacher's", unknown, "there is no teacher"),
        True: Assumption("labels are the teacher's", holds, "compared"),
        False: Assumption("labels are the teacher's", fails, "compared"),
    }[problem.clean]
    told = cautions(problem, w)
    gap = Assumption(
        "the largest pole of the start stands out in float64",
        fails if any("apart" in text for text in told) else holds,
        "gap of the two largest, against their spacing",
    )
    decided = Assumption(
        "the data decide the response at all training lags",
        holds if seen.free == 0 else fails,
        f"rank {seen.rank} of {len(seen.energy)}",
    )
    return follows, clean, gap, decided
