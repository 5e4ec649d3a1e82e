from typing import Any

import equinox as eqx

from penchant import flows, optimizers
from penchant._plain import plain
from penchant._types import Parameters, StepSize
from penchant.flows import Correction
from penchant.optimizers import AbstractOptimizer
from penchant.problems import AbstractProblem
from penchant.theory.modified._term import AddedTerm, added_term
from penchant.training import Trajectory
from penchant.training.schedules import Constant, LossBased, as_schedule


class FiniteStep(eqx.Module):
    """Which term a run's finite steps add to its loss, how large, and whether valid.

    `term` is the closed form, `correction` what it comes to at some weights, None where
    the rule's memory has to be replayed; `remedy` what takes it out, None where there
    is nothing to.
    """

    term: AddedTerm
    correction: Correction | None
    remedy: str | None = eqx.field(static=True)

    @property
    def valid(self) -> bool | None:
        """Whether the expansion is one there; None if it was not looked at."""
        return None if self.correction is None else self.correction.valid

    def to_dict(self) -> dict[str, Any]:
        """Everything but arrays, in types that JSON has."""
        seen = None if self.correction is None else self.correction.to_dict()
        return plain({
            "term": self.term.to_dict(),
            "correction": seen,
            "remedy": self.remedy,
        })

    def __repr__(self) -> str:
        lines = [f"finite steps: {self.term.statement}"]
        if self.correction is not None:
            lines.append(f"  here {self.correction.verdict}")
        if self.remedy is not None:
            lines.append(f"  {self.remedy}")
        return "\n".join(lines)


def foretell_step(
    problem: AbstractProblem,
    optimizer: AbstractOptimizer | str | object,
    *,
    step_size: StepSize,
    step: int | None = None,
    weights: Parameters | None = None,
) -> FiniteStep:
    r"""Which term finite steps and memory add to a run's loss, and what it is worth.

    The closed form in the limit of a full memory, and the
    [`correction`][penchant.correction] at the weights: of the loss over all samples,
    whatever the batches; the noise of these adds terms of its own.

    >>> import jax.numpy as jnp, penchant as pn
    >>> bowl = pn.Objective(lambda w, a: (a @ w) ** 2 / 2, jnp.ones(1), jnp.eye(1))
    >>> found = pn.theory.modified.foretell_step(bowl, "gd", step_size=0.1)
    >>> found.valid, round(found.correction.ratio, 3)
    (True, 0.05)

    Args:
        problem: What is trained.
        optimizer: The rule.
        step_size: $h$; of a schedule that at `step`, or at the first step.
        step: Updates made before; None for a memory that is full.
        weights: Where; None for the problem's start.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a number is out of its range.
    """
    rule = optimizers.read(optimizer)
    h = _size(step_size, step)
    term = added_term(rule, step_size=h)
    w = problem.start if weights is None else weights
    seen = None
    if flows.memory_ages(rule, step=step) is not None:
        seen = flows.correction(problem, rule, w, step_size=h, step=step)
    return FiniteStep(term, seen, _remedy(rule, term, seen))


class StepAt(eqx.Module):
    """A rule's finite step on a problem at some weights: what a prediction is asked of.

    `step` are the updates made before, None for a full memory.
    """

    problem: AbstractProblem
    optimizer: AbstractOptimizer
    step_size: Any
    step: int | None = eqx.field(static=True)
    weights: Parameters

    @classmethod
    def of(cls, run: Trajectory) -> "StepAt":
        """Where a run ended."""
        rule = run.rule
        step = int(run.state.step)
        return cls(rule.problem, rule.optimizer, rule.schedule, step, run.last)

    @property
    def statement(self) -> str | None:
        """Which term is added, without a look at the weights; None as for `answer`."""
        if isinstance(as_schedule(self.step_size), LossBased):
            return None
        h = _size(self.step_size, self.step)
        return added_term(self.optimizer, step_size=h).statement

    def answer(self) -> FiniteStep | None:
        """The term and its worth; None where step sizes depend on the loss."""
        if isinstance(as_schedule(self.step_size), LossBased):
            return None
        return foretell_step(
            self.problem,
            self.optimizer,
            step_size=self.step_size,
            step=self.step,
            weights=self.weights,
        )


def _size(step_size: StepSize, step: int | None) -> float:
    """The step size at a step, or at the first."""
    schedule = as_schedule(step_size)
    if isinstance(schedule, LossBased):
        raise TypeError("step_size must be a number or a function of the step.")
    if isinstance(schedule, Constant):
        return float(schedule.scale)
    return float(schedule(0 if step is None else step))


def _remedy(
    rule: AbstractOptimizer, term: AddedTerm, seen: Correction | None
) -> str | None:
    if not term.coefficient or seen is None:
        return None
    if not seen.valid:
        return (
            "No formula at first order describes what these steps do to the loss; a "
            "smaller step size or shorter memories bring it into its range."
        )
    if not term.memory:
        return "The term is that of the step size alone: a smaller one shrinks it."
    return (
        "To see whether memory's part matters, take it out: "
        f"penchant.flows.WithoutMemoryBias({rule!r})."
    )
