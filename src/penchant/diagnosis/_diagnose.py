from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from penchant import optimizers
from penchant._checks import check_count, check_instance
from penchant._progress import Stages
from penchant._types import Key, StepSize, Tree
from penchant.diagnosis._asked import Asked
from penchant.diagnosis._defaults import default_steps
from penchant.diagnosis._hold_out import hold_out
from penchant.diagnosis._result import AbstractDiagnosis
from penchant.diagnosis.linear._diagnose import diagnose_linear
from penchant.diagnosis.network._diagnose import diagnose_network
from penchant.diagnosis.regression._diagnose import diagnose_regression
from penchant.diagnosis.state_space._diagnose import diagnose_state_space
from penchant.norms import AbstractNorm
from penchant.optimizers import AbstractOptimizer
from penchant.problems import (
    AbstractClassification,
    AbstractObjective,
    LinearClassification,
    sort_out,
)
from penchant.problems.losses import AbstractLoss
from penchant.problems.models import ssm
from penchant.training.batching import AbstractBatching, of_rule


def diagnose(
    problem: AbstractClassification | AbstractObjective | object,
    *given: object,
    optimizer: AbstractOptimizer | str | object | None = None,
    loss: AbstractLoss | str | None = None,
    bias: bool = False,
    classes: int | None = None,
    image: tuple[int, ...] | str | None = None,
    holdout: float | None = None,
    batching: AbstractBatching | None = None,
    steps: int | None = None,
    step_size: StepSize | None = None,
    norms: Iterable[AbstractNorm | str] | None = None,
    init: Tree | None = None,
    key: Key = 0,
    record: int = 200,
    progress: bool | Callable[[str], None] | None = None,
    checkpoint: str | Path | None = None,
    about: dict[str, Any] | None = None,
) -> AbstractDiagnosis:
    r"""Which solution the optimizer picks here, next to what theory says.

    Computes the largest margins in the usual norms with their certificates, predicts,
    trains, and compares: the norm in which the run has the largest share of the
    largest margin has won. Data that no weights separate are no error: the answer says
    so, proves it, and describes the minimiser that every run tends to instead.

    Ctrl-C is no error either: during training the diagnosis is of what was reached,
    after it of the norms that were measured so far. A second one is an error.

    For a network (`NetworkClassification`), or any other margins, the answer is a
    [`NetworkDiagnosis`][penchant.diagnosis.NetworkDiagnosis]: the run is continued to
    infinite time by [`limit`][penchant.limit], and KKT gaps in each norm say which
    margin problem its limit solves to first order. It needs a `step_size`; `norms`
    plays no part.

    For a `Regression` or an `Objective` it is a
    [`RegressionDiagnosis`][penchant.diagnosis.RegressionDiagnosis]: sharpness along the
    run, projected to its minimisers, against the slow clock, with what the slow flow
    foretells. It needs `steps` and `step_size`.

    For a state space model (`pn.ssm.regression`) it is a
    [`StateSpaceDiagnosis`][penchant.diagnosis.StateSpaceDiagnosis]: the error beyond
    the data along the run, beside gradient flow at the same loss and at its limit.

    >>> import numpy as np, penchant as pn
    >>> problem = pn.datasets.gaussian(10, 20, seed=0).problem()
    >>> says = pn.diagnose(problem, pn.optimizers.SignDescent(), steps=2_000)
    >>> says.winner, says.agrees
    (Linf(), True)

    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(6, 8))
    >>> pn.diagnose(X, ["no", "yes"] * 3, "sign", steps=2_000).winner
    Linf()

    Args:
        problem: Data, model and loss: a problem or a `Dataset`; or examples `X`, with
            `y` after them, as [`problems.read`][penchant.problems.read] takes them.
        *given: Labels where examples came first, then the rule.
        optimizer: The update rule, as `train` takes it; `adam` if there is none.
        loss: Of examples or a `Dataset`: a loss or its name, `logistic` by default.
        bias: Of examples or a `Dataset`: append a feature that is 1.
        classes: Of examples or a `Dataset`: 2 for two classes as two rows of weights.
        image: Of examples or a `Dataset`: the shape of the images that samples are,
            `(28, 28)` or `"28x28"`, for pictures of the weights.
        holdout: Of a linear classifier: the share of samples, such as .2, that no
            training sees, drawn class by class with `key`. `held_out` of the answer
            says on which of them the optima differ, and how often each is right.
        batching: Which samples an update sees; None for all, and for batches of 32
            where the rule is called `sgd`.
        steps: Number of updates; None for as many as a fixed amount of arithmetic
            allows, 3 000 to 300 000 by the size of the data.
        step_size: As `train` takes it; None for one that scaling the data does not
            change. With $R$ the longest row's dual norm in the rule's geometry and $T$
            steps: $\frac aR\sqrt{T/(t+2)}$, so that the last one moves no margin by
            more than $a$, .1 or what brings margins to some hundreds; for AdaGrad the
            constant $\frac aR\sqrt T$; for gradient descent
            [`loss_based`][penchant.schedules.loss_based], which grows as the loss falls
            and has the same limit as a constant step, sooner.
        norms: The norms to compare, or their names; None for ℓ1, ℓ2, ℓ∞, and for
            several classes spectral and nuclear. The predicted one always joins them.
        init: Initial weights; zeros if None.
        key: Seed for the order of samples.
        record: Number of records of the run.
        progress: True to print stages and a bar on stderr; None for that on a terminal
            or in a notebook only. A function gets the names of stages.
        checkpoint: A folder from which an unfinished run goes on, as in `train`.
        about: What else the report's settings should say, such as the data's name.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range.
    """
    problem, rest = sort_out(
        problem, given, loss=loss, bias=bias, classes=classes, image=image
    )
    optimizer = optimizers.only(rest, optimizer)
    check_instance(
        "problem",
        problem,
        (AbstractClassification, AbstractObjective),
        "a LinearClassification, NetworkClassification, Regression or Objective",
    )
    rule = optimizers.read(optimizer)
    problem, held = hold_out(problem, holdout, key)
    assert isinstance(problem, (AbstractClassification, AbstractObjective))
    if batching is None:
        batching = of_rule(optimizer, problem.samples)
    check_instance("batching", batching, AbstractBatching, "one of penchant.batching")
    batching.check(problem.samples)
    linear = isinstance(problem, LinearClassification)
    if steps is None:
        if isinstance(problem, AbstractObjective):
            raise TypeError(
                "steps must be given for a regression: how long the slow drift takes "
                "depends on the step size (penchant.predict(..., steps=) tells)."
            )
        steps = default_steps(problem, batching, rule)
    steps = check_count("steps", steps)
    if step_size is None and not linear:
        raise TypeError(
            "step_size must be given for a network or a regression: no step suits "
            "them all, and a first large one can end every unit."
        )
    with Stages(progress) as stages:
        asked = Asked(
            problem=problem,
            optimizer=rule,
            batching=batching,
            steps=steps,
            step_size=step_size,
            norms=norms,
            init=init,
            key=key,
            record=record,
            stages=stages,
            checkpoint=checkpoint,
            about=about,
            held=held,
        )
        if isinstance(problem, ssm.SequenceRegression):
            return diagnose_state_space(asked)
        if isinstance(problem, AbstractObjective):
            return diagnose_regression(asked)
        return diagnose_linear(asked) if linear else diagnose_network(asked)
