from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from penchant import optimizers
from penchant._checks import check_count, check_instance
from penchant._types import Key, StepSize, Tree
from penchant.diagnosis._asked import Asked
from penchant.diagnosis._defaults import default_step_size, default_steps
from penchant.diagnosis._result import AbstractDiagnosis
from penchant.diagnosis.linear._diagnose import diagnose_linear
from penchant.diagnosis.network._diagnose import diagnose_network
from penchant.diagnosis.regression._diagnose import diagnose_regression
from penchant.norms import AbstractNorm
from penchant.optimizers import AbstractOptimizer
from penchant.problems import (
    AbstractClassification,
    AbstractObjective,
    LinearClassification,
)
from penchant.training.batching import AbstractBatching, FullBatch


def diagnose(
    problem: AbstractClassification | AbstractObjective,
    optimizer: AbstractOptimizer | str | object,
    *,
    batching: AbstractBatching = FullBatch(),
    steps: int | None = None,
    step_size: StepSize | None = None,
    norms: Iterable[AbstractNorm | str] | None = None,
    init: Tree | None = None,
    key: Key = 0,
    record: int = 200,
    progress: bool | Callable[[str], None] = False,
    checkpoint: str | Path | None = None,
    about: dict[str, Any] | None = None,
) -> AbstractDiagnosis:
    r"""Which solution the optimizer picks here, next to what theory says.

    Computes the largest margins in the usual norms with their certificates, predicts,
    trains, and compares: the norm in which the run has the largest share of the
    largest margin has won. Data that no weights separate are no error: the answer says
    so, proves it, and describes the minimiser that every run tends to instead.

    Ctrl-C during training is no error either: the diagnosis is of what was reached.

    For a network (`NetworkClassification`), or any other margins, the answer is a
    [`NetworkDiagnosis`][penchant.diagnosis.NetworkDiagnosis]: the run is continued to
    infinite time by [`limit`][penchant.limit], and KKT gaps in each norm say which
    margin problem its limit solves to first order. It needs a `step_size`; `norms`
    plays no part.

    For a `Regression` or an `Objective` it is a
    [`RegressionDiagnosis`][penchant.diagnosis.RegressionDiagnosis]: sharpness along the
    run, projected to its minimisers, against the slow clock, with what the slow flow
    foretells. It needs `steps` and `step_size`.

    >>> import penchant as pn
    >>> problem = pn.datasets.gaussian(10, 20, seed=0).problem()
    >>> says = pn.diagnose(problem, pn.optimizers.SignDescent(), steps=2_000)
    >>> says.winner, says.agrees
    (Linf(), True)

    Args:
        problem: Data, model and loss.
        optimizer: The update rule, as `train` takes it.
        batching: Which samples an update sees.
        steps: Number of updates; None for as many as a fixed amount of arithmetic
            allows, 3 000 to 300 000 by the size of the data.
        step_size: As `train` takes it; None for one that scaling the data does not
            change: proportional to $(t+2)^{-1/2}/R$ with `R` the longest row's dual
            norm in the rule's geometry, or for gradient descent a constant $1/(R^2L)$.
        norms: The norms to compare, or their names; None for ℓ1, ℓ2, ℓ∞, and for
            several classes spectral and nuclear. The predicted one always joins them.
        init: Initial weights; zeros if None.
        key: Seed for the order of samples.
        record: Number of records of the run.
        progress: True to print stages and a bar on stderr; a function gets the stages.
        checkpoint: A folder from which an unfinished run goes on, as in `train`.
        about: What else the report's settings should say, such as the data's name.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range.
    """
    check_instance(
        "problem",
        problem,
        (AbstractClassification, AbstractObjective),
        "a LinearClassification, NetworkClassification, Regression or Objective",
    )
    rule = optimizers.read(optimizer)
    check_instance("batching", batching, AbstractBatching, "one of penchant.batching")
    batching.check(problem.samples)
    linear = isinstance(problem, LinearClassification)
    if step_size is None:
        if not isinstance(problem, LinearClassification):
            raise TypeError(
                "step_size must be given for a network or a regression: no step suits "
                "them all, and a first large one can end every unit."
            )
        step_size = default_step_size(problem, rule)
    if steps is None:
        if isinstance(problem, AbstractObjective):
            raise TypeError(
                "steps must be given for a regression: how long the slow drift takes "
                "depends on the step size (penchant.predict(..., steps=) tells)."
            )
        steps = default_steps(problem, batching)
    asked = Asked(
        problem=problem,
        optimizer=rule,
        batching=batching,
        steps=check_count("steps", steps),
        step_size=step_size,
        norms=norms,
        init=init,
        key=key,
        record=record,
        bar=progress is True,
        checkpoint=checkpoint,
        about=about,
        tell=_teller(progress),
    )
    if isinstance(problem, AbstractObjective):
        return diagnose_regression(asked)
    return diagnose_linear(asked) if linear else diagnose_network(asked)


def _teller(progress: bool | Callable[[str], None]) -> Callable[[str], None]:
    if callable(progress):
        return progress
    if not progress:
        return lambda text: None
    from rich.console import Console

    console = Console(stderr=True)
    return lambda text: console.print(f"[dim]{text} …[/dim]")
