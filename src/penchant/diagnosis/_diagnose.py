import dataclasses
import math
from collections.abc import Callable, Iterable
from pathlib import Path as FilePath
from typing import Any, overload

import jax.numpy as jnp
import numpy as np

from penchant._checks import check_count, check_instance
from penchant.diagnosis import _cautions as cautions
from penchant.diagnosis._about import settings_of
from penchant.diagnosis._defaults import default_step_size, default_steps
from penchant.diagnosis._diagnosis import Diagnosis, Table
from penchant.diagnosis._verdict import judge, same
from penchant.diagnosis.linear._catalogue import Catalogue, usual_norms
from penchant.diagnosis.linear._measure import Path, Row, measure
from penchant.diagnosis.linear._minimiser import Minimiser, find_minimiser
from penchant.diagnosis.network._network import NetworkDiagnosis, diagnose_run
from penchant.estimators import fit_convergence
from penchant.margins import NotSeparableError
from penchant.norms import L2, AbstractNorm
from penchant.optimizers import AbstractOptimizer
from penchant.problems import LinearClassification, NetworkClassification
from penchant.theory import Prediction, canonical, predict
from penchant.theory._predict import predict_from
from penchant.training import Outcome, Trajectory, train
from penchant.training.batching import AbstractBatching, FullBatch


@overload
def diagnose(
    problem: LinearClassification,
    optimizer: AbstractOptimizer,
    *,
    batching: AbstractBatching = ...,
    steps: int | None = None,
    step_size: Any = None,
    norms: Iterable[AbstractNorm] | None = None,
    init: Any = None,
    key: Any = 0,
    record: int = 200,
    progress: bool | Callable[[str], None] = False,
    checkpoint: str | FilePath | None = None,
    about: dict[str, Any] | None = None,
) -> Diagnosis: ...


@overload
def diagnose(
    problem: NetworkClassification,
    optimizer: AbstractOptimizer,
    *,
    batching: AbstractBatching = ...,
    steps: int | None = None,
    step_size: Any = None,
    norms: Iterable[AbstractNorm] | None = None,
    init: Any = None,
    key: Any = 0,
    record: int = 200,
    progress: bool | Callable[[str], None] = False,
    checkpoint: str | FilePath | None = None,
    about: dict[str, Any] | None = None,
) -> NetworkDiagnosis: ...


def diagnose(
    problem: Any,
    optimizer: AbstractOptimizer,
    *,
    batching: AbstractBatching = FullBatch(),
    steps: int | None = None,
    step_size: Any = None,
    norms: Iterable[AbstractNorm] | None = None,
    init: Any = None,
    key: Any = 0,
    record: int = 200,
    progress: bool | Callable[[str], None] = False,
    checkpoint: str | FilePath | None = None,
    about: dict[str, Any] | None = None,
) -> Any:
    r"""Which solution the optimizer picks here, next to what theory says.

    Computes the largest margins in the usual norms with their certificates, predicts,
    trains, and compares: the norm in which the run has the largest share of the
    largest margin has won. Data that no weights separate are no error: the answer says
    so, proves it, and describes the minimiser that every run tends to instead.

    Ctrl-C during training is no error either: the diagnosis is of what was reached.

    For a network (`NetworkClassification`) the answer is a
    [`NetworkDiagnosis`][penchant.diagnosis.NetworkDiagnosis]: the run is continued to
    infinite time by [`limit`][penchant.limit], and KKT gaps in each norm say which
    margin problem its limit solves to first order. It needs a `step_size`; `norms`
    plays no part.

    >>> import penchant as pn
    >>> problem = pn.datasets.gaussian(10, 20, seed=0).problem()
    >>> says = pn.diagnose(problem, pn.optimizers.SignDescent(), steps=2_000)
    >>> says.winner, says.agrees
    (Linf(), True)

    Args:
        problem: Data, model and loss.
        optimizer: The update rule.
        batching: Which samples an update sees.
        steps: Number of updates; None for as many as a fixed amount of arithmetic
            allows, 3 000 to 300 000 by the size of the data.
        step_size: As `train` takes it; None for one that scaling the data does not
            change: proportional to $(t+2)^{-1/2}/R$ with `R` the longest row's dual
            norm in the rule's geometry, or for gradient descent a constant $1/(R^2L)$.
        norms: The norms to compare; None for ℓ1, ℓ2, ℓ∞, and for several classes
            spectral and nuclear. The predicted one always joins them.
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
        (LinearClassification, NetworkClassification),
        "a LinearClassification or a NetworkClassification",
    )
    check_instance(
        "optimizer", optimizer, AbstractOptimizer, "one of penchant.optimizers"
    )
    check_instance("batching", batching, AbstractBatching, "one of penchant.batching")
    batching.check(problem.samples)
    steps = (
        default_steps(problem, batching)
        if steps is None
        else check_count("steps", steps)
    )
    tell = _teller(progress)

    def trained() -> tuple[Trajectory, dict[str, Any]]:
        tell(f"training, {steps:,} steps")
        run = train(
            problem,
            optimizer,
            steps=steps,
            step_size=step_size,
            batching=batching,
            init=init,
            key=key,
            record=record,
            progress=progress is True,
            checkpoint=checkpoint,
        )
        return run, settings_of(
            problem, optimizer, batching, step_size, steps, key, about
        )

    if isinstance(problem, NetworkClassification):
        if step_size is None:
            raise TypeError(
                "step_size must be given for a network: no step suits them all, and a "
                "first large one can end every unit."
            )
        run, settings = trained()
        told = predict(
            problem, optimizer, batching=batching, step_size=step_size, trajectory=run
        )
        return diagnose_run(problem, run, told, settings, tell)
    if step_size is None:
        step_size = default_step_size(problem, optimizer)
    chosen = _norms(problem, norms)
    catalogue = Catalogue(problem, tell)
    proof: NotSeparableError | None = None
    try:
        catalogue.best(L2())
    except NotSeparableError as error:
        proof = error
    run, settings = trained()
    early = (
        *cautions.ended_early(run, steps),
        *cautions.frozen_coordinates(problem, run),
        *cautions.single_precision(problem),
    )
    if run.outcome is Outcome.DIVERGED:
        run = _while_finite(run)
    if proof is None:
        catalogue.improve(run)
    if proof is not None or float(catalogue.best(L2()).margin) <= 0:
        tell("minimiser of the loss")
        return _unseparable(problem, run, proof, catalogue, settings, early)

    last = int(run.steps[-1])
    try:
        prediction = predict_from(
            catalogue.best, problem, optimizer, batching, step_size, run
        )
        rows, paths = _compare(problem, run, catalogue, chosen, prediction, tell)
    except NotSeparableError as error:  # by a hair in one norm, in another not
        return _unseparable(problem, run, error, catalogue, settings, early)
    verdict = judge(problem, rows, prediction, type(optimizer).__name__, last)
    leader = max(rows, key=lambda row: row.reading)
    fit = fit_convergence(
        np.asarray(run.steps),
        np.asarray(paths[leader.label].ratio),
        float(np.min(run.margins[-1])),
    )
    found = (
        *early,
        *cautions.step_too_large(run, leader, fit),
        *cautions.reached_eps(run, prediction),
        *cautions.precision_wall(run),
        *cautions.not_converged(leader, fit),
        *cautions.broken_assumptions(prediction),
        *cautions.loose_bounds(rows),
    )
    return Diagnosis(
        headline=verdict.headline,
        explanation=verdict.explanation,
        separable=True,
        table=Table(rows),
        winner=verdict.winner,
        predicted=verdict.expected,
        agrees=verdict.agrees,
        regime=prediction.at(last).name,
        warnings=found,
        prediction=prediction,
        convergence=fit,
        minimiser=None,
        paths=paths,
        trajectory=run,
        settings=settings,
    )


def _while_finite(run: Trajectory) -> Trajectory:
    """The records before weights, or margins, overflow; the start if none."""
    # lengths are roots of sums of squares: what is left must have squares
    within = lambda x: (np.abs(np.asarray(x)) < 1e150).all(axis=tuple(range(1, x.ndim)))
    broken = np.flatnonzero(~(within(run.weights) & within(run.margins)))
    kept = int(broken[0]) if broken.size else len(run.steps)
    if kept == 0:
        start = run.rule.problem.log_loss(run.initial)
        return dataclasses.replace(
            run,
            steps=jnp.zeros_like(run.steps[:1]),
            weights=run.initial[None],
            recorded=start[None],
        )
    return dataclasses.replace(
        run,
        steps=run.steps[:kept],
        weights=run.weights[:kept],
        recorded=run.recorded[:kept],
    )


def _compare(
    problem: LinearClassification,
    run: Trajectory,
    catalogue: Catalogue,
    norms: tuple[AbstractNorm, ...],
    prediction: Prediction,
    tell: Callable[[str], None],
) -> tuple[tuple[Row, ...], dict[str, Path]]:
    """A row and a path a norm, those that theory names among them."""
    for norm in (prediction.norm, prediction.at(int(run.steps[-1])).norm):
        if norm is not None and not any(same(norm, n, problem) for n in norms):
            norms = (*norms, canonical(norm, problem))
    rows, paths = [], {}
    for norm in norms:
        # two Mahalanobis norms are called the same
        count = 1 + sum(row.norm.label == norm.label for row in rows)
        label = norm.label if count == 1 else f"{norm.label} ({count})"
        tell(f"margins of the run, {label}")
        row, path = measure(problem, run, catalogue.best(norm), label)
        rows.append(row)
        paths[label] = path
    return tuple(rows), paths


def _norms(
    problem: LinearClassification, norms: Iterable[AbstractNorm] | None
) -> tuple[AbstractNorm, ...]:
    if norms is None:
        return usual_norms(problem)
    chosen: list[AbstractNorm] = []
    for norm in norms:
        check_instance("norms", norm, AbstractNorm, "a sequence of penchant.norms")
        norm(jnp.zeros(problem.weight_shape))  # one that doesn't fit says so here
        if not any(same(norm, other, problem) for other in chosen):
            chosen.append(canonical(norm, problem))
    if not chosen:
        raise ValueError("norms must name at least one norm; got none.")
    return tuple(chosen)


def _teller(progress: bool | Callable[[str], None]) -> Callable[[str], None]:
    if callable(progress):
        return progress
    if not progress:
        return lambda text: None
    from rich.console import Console

    console = Console(stderr=True)
    return lambda text: console.print(f"[dim]{text} …[/dim]")


def _unseparable(
    problem: LinearClassification,
    run: Trajectory,
    proof: NotSeparableError | None,
    catalogue: Catalogue,
    settings: dict[str, Any],
    early: tuple[cautions.Caution, ...],
) -> Diagnosis:
    name = type(run.rule.optimizer).__name__
    if proof is None:
        best = catalogue.best(L2())
        headline = (
            f"{name} has not separated the data, and it is not decided whether any "
            "weights do."
        )
        explanation = (
            f"The largest ℓ2 margin lies in [{float(best.margin):.3g}, "
            f"{float(best.upper_bound):.3g}]. More steps may tell."
        )
        minimiser = None
    else:
        minimiser = find_minimiser(problem, run, proof)
        headline = "These data are not linearly separable: there is no margin to pick."
        explanation = _where_it_ends(minimiser, run, name)
    return Diagnosis(
        headline=headline,
        explanation=explanation,
        separable=None if proof is None else False,
        table=Table(()),
        winner=None,
        predicted=None,
        agrees=None,
        regime="not separable" if proof else "undecided",
        warnings=(*early, *cautions.without_bias(problem)),
        prediction=None,
        convergence=None,
        minimiser=minimiser,
        paths={},
        trajectory=run,
        settings=settings,
    )


def _where_it_ends(minimiser: Minimiser, run: Trajectory, name: str) -> str:
    if minimiser.attained is False:
        which = (
            "Some samples can be pushed away without end, though not all, so the loss "
            "has no minimiser: weights grow for ever along those directions"
        )
    elif minimiser.free:
        which = (
            f"The loss has many minimisers: {minimiser.free} directions of the weights "
            "change no margin, and there the start and the algorithm choose. All make "
            "the same predictions on these samples"
        )
    elif minimiser.attained is None:
        which = (
            "Whether the loss has a minimiser was not decided (too many samples); if "
            "so it is the only one"
        )
    else:
        which = (
            "The loss has one minimiser, and every algorithm that converges ends "
            "there: none has a choice"
        )
    return (
        f"{which}. It misclassifies {minimiser.misclassified} of "
        f"{run.rule.problem.samples} samples. {name} ends "
        f"{float(minimiser.excess[-1]):.2g} above the least loss, "
        f"{math.exp(minimiser.log_loss):.4g}."
    )
