"""Which norm's largest margin a run of a linear classifier is heading for."""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np

from penchant._interrupt import noticed_interrupts
from penchant._types import Weights
from penchant.diagnosis._asked import Asked
from penchant.diagnosis._cautions import Caution, cut_short, ended_early
from penchant.diagnosis._defaults import default_step_size
from penchant.diagnosis.linear import _cautions as cautions
from penchant.diagnosis.linear._catalogue import Catalogue, usual_norms
from penchant.diagnosis.linear._chosen import Chosen
from penchant.diagnosis.linear._diagnosis import Diagnosis, Table
from penchant.diagnosis.linear._held_out import HeldOut
from penchant.diagnosis.linear._measure import MarginPath, Row, certified, measure
from penchant.diagnosis.linear._minimiser import Minimiser, find_minimiser
from penchant.diagnosis.linear._next import next_steps, without_margin
from penchant.diagnosis.linear._progress import progress
from penchant.diagnosis.linear._tightness import Tightness
from penchant.diagnosis.linear._verdict import judge, leading, same, ties
from penchant.estimators import Imitation, fit_convergence, imitation
from penchant.margins import NoMarginError, NotSeparableError
from penchant.norms import L2, AbstractNorm, read
from penchant.problems import LinearClassification
from penchant.theory import Prediction, canonical, predict_from
from penchant.training import Outcome, Trajectory

RUN = "run"
"""What the weights of a run are called beside those of norms."""


def diagnose_linear(asked: Asked) -> Diagnosis:
    """The diagnosis of what was asked of a linear classifier."""
    asked, none = sized(asked)
    problem, catalogue = asked.problem, asked.catalogue
    chosen = _norms(problem, asked.norms)
    if none is None:
        catalogue.begin(chosen)
    run, settings = asked.train()
    proved = isinstance(none, NotSeparableError)
    with noticed_interrupts():
        early = (
            *ended_early(run, asked.steps),
            *cautions.frozen_coordinates(problem, run),
            *cautions.single_precision(problem),
        )
        if run.outcome is Outcome.DIVERGED:
            run = _while_finite(run)
        without = none is not None and (proved or not catalogue.separates(run))
        if not without:
            catalogue.improve(run)
    if none is not None and without:
        return _unseparable(asked, run, none, settings, early)

    try:
        prediction, missing = _foretold(asked, catalogue, run)
        rows, paths, left = _compare(
            problem, run, catalogue, chosen, prediction, asked.tell, cut=bool(missing)
        )
    except NoMarginError as error:  # decided in one norm, in another not
        return _unseparable(asked, run, error, settings, early)
    missing = [*missing, *left]
    seen = None
    if not missing:
        try:
            seen = _imitated(run, asked)
        except KeyboardInterrupt:
            missing = ["what the weights imitate"]
    if missing:
        early = (*early, cut_short(_listed(missing)))
    with noticed_interrupts():  # seconds of work, which a report needs
        optima = {row.label: catalogue.best(row.norm).weights for row in rows}
        several = tuple(_several(row.unique) for row in rows)
        chosen, held = _chosen(asked, run, optima, several)
        tightness = Tightness.of(problem, float(catalogue.best(L2()).margin))
        return _told(
            problem,
            run,
            rows,
            paths,
            prediction,
            seen,
            tightness,
            chosen,
            held,
            settings,
            early,
        )


def sized(asked: Asked) -> tuple[Asked, NoMarginError | None]:
    """With a catalogue, and the step size that suits; why there is no margin, if so."""
    problem = asked.problem
    catalogue = asked.catalogue or Catalogue(problem, asked.tell)
    none: NoMarginError | None = None
    margin = None
    try:
        margin = float(catalogue.best(L2()).margin)
    except NoMarginError as error:
        none = error
    step_size = asked.step_size
    if step_size is None:
        step_size = default_step_size(problem, asked.optimizer, asked.steps, margin)
    return dataclasses.replace(asked, catalogue=catalogue, step_size=step_size), none


def _several(unique: bool | None) -> bool | None:
    return None if unique is None else not unique


def _chosen(
    asked: Asked,
    run: Trajectory,
    others: dict[str, Weights],
    several: tuple[bool | None, ...],
) -> tuple[Chosen, HeldOut | None]:
    """The weights of the run beside others, and what they say of samples held out."""
    problem, held = asked.problem, asked.held
    weights = {RUN: run.weights[-1], **others}
    data = (asked.about or {}).get("data")
    what = f"{type(asked.optimizer).__name__}, {int(run.steps[-1]):,} steps"
    chosen = Chosen(
        names=tuple(weights),
        runs=1,
        weights=tuple(weights.values()),
        several=(None, *several),
        what=f"{what} on {data}" if data else what,
        problem=problem,
    )
    if held is None:
        return chosen, None
    seen = HeldOut.of(held.problem, held.rows, problem.samples, weights)
    return chosen, seen


def _told(
    problem: LinearClassification,
    run: Trajectory,
    rows: tuple[Row, ...],
    paths: dict[str, MarginPath],
    prediction: Prediction,
    seen: Imitation | None,
    tightness: Tightness,
    chosen: Chosen,
    held_out: HeldOut | None,
    settings: dict[str, Any],
    early: tuple[Caution, ...],
) -> Diagnosis:
    """What was measured, in words."""
    last = int(run.steps[-1])
    leader, close = leading(rows)
    fit = fit_convergence(
        np.asarray(run.steps),
        np.asarray(paths[leader.label].ratio),
        float(np.min(run.margins[-1])),
    )
    state = progress(run, leader, fit)
    verdict = judge(rows, prediction, run, state, fit, seen)
    eps = cautions.reached_eps(run, prediction)
    found = (
        *early,
        *cautions.not_separated(run, state, tightness),
        *cautions.stalled(run, leader, state),
        *cautions.alike(rows, ties(leader, close)),
        *eps,
        *cautions.precision_wall(run),
        *cautions.not_converged(leader, fit, state),
        *cautions.broken_assumptions(prediction),
        *cautions.loose_bounds(rows),
    )
    return Diagnosis(
        headline=verdict.headline,
        explanation=verdict.explanation,
        now=verdict.now,
        heading=verdict.heading,
        when=verdict.when,
        next=next_steps(
            settings["command"],
            run,
            state,
            fit,
            eps_decides=bool(eps),
            agrees=verdict.agrees,
            tightness=tightness,
            phase=prediction.at(last),
        ),
        imitation=seen,
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
        chosen=chosen,
        held_out=held_out,
        paths=paths,
        trajectory=run,
        settings=settings,
    )


def _foretold(
    asked: Asked, catalogue: Catalogue, run: Trajectory
) -> tuple[Prediction, list[str]]:
    """What theory says, and whether Ctrl-C has left that out."""
    second = asked.optimizer.character().adaptive
    sampled = asked.batching.covers(asked.problem.samples) is not True
    searched = sampled and asked.problem.binary and second is not None
    stage = "limits with these batches" if searched else "what theory foretells"
    try:
        asked.tell(stage)
        found = predict_from(
            catalogue.best,
            asked.problem,
            asked.optimizer,
            asked.batching,
            asked.step_size,
            run,
            asked.init,
        )
    except KeyboardInterrupt:
        why = "It was not asked: the diagnosis was interrupted before."
        return Prediction(None, None, None, "none", why, ()), ["what theory foretells"]
    return found, []


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
    *,
    cut: bool,
) -> tuple[tuple[Row, ...], dict[str, MarginPath], list[str]]:
    """A row and a path a norm, those that theory names among them.

    And in words what Ctrl-C has left out. One norm is measured at least; where it came
    before (`cut`), only those whose largest margin is known.
    """
    if cut:
        known = tuple(n for n in norms if n.fingerprint in catalogue.found) or (L2(),)
        left = [f"the {n.label} margin" for n in norms if n not in known]
        rows, paths, more = _rows(problem, run, catalogue, known, tell)
        return rows, paths, [*left, *more]
    foretold = [prediction.norm, prediction.at(int(run.steps[-1])).norm]
    foretold += [other.norm for other in prediction.alternatives]
    for norm in foretold:
        if norm is not None and not any(same(norm, n, problem) for n in norms):
            norms = (*norms, canonical(norm, problem))
    return _rows(problem, run, catalogue, norms, tell)


def _rows(
    problem: LinearClassification,
    run: Trajectory,
    catalogue: Catalogue,
    norms: tuple[AbstractNorm, ...],
    tell: Callable[[str], None],
) -> tuple[tuple[Row, ...], dict[str, MarginPath], list[str]]:
    """Rows, paths, and the margins that Ctrl-C has left out."""
    rows, paths = [], {}
    try:
        tell("upper bounds that the run proves")
        proved = certified(problem, run, norms)
    except KeyboardInterrupt:
        return _only_l2(problem, run, catalogue, norms)
    for i, norm in enumerate(norms):
        # two Mahalanobis norms are called the same
        count = 1 + sum(row.norm.label == norm.label for row in rows)
        label = norm.label if count == 1 else f"{norm.label} ({count})"
        try:
            catalogue.best(norm)
            tell(f"margins of the run, {label}")
            row, path = measure(catalogue, run, norm, label, proved[i])
        except KeyboardInterrupt:
            if not rows:
                return _only_l2(problem, run, catalogue, norms)
            had = [row.norm for row in rows]
            left = [n for n in norms[i:] if not any(same(n, h, problem) for h in had)]
            return tuple(rows), paths, [f"the {n.label} margin" for n in left]
        rows.append(row)
        paths[label] = path
    return tuple(rows), paths, []


def _only_l2(
    problem: LinearClassification,
    run: Trajectory,
    catalogue: Catalogue,
    norms: tuple[AbstractNorm, ...],
) -> tuple[tuple[Row, ...], dict[str, MarginPath], list[str]]:
    """The one norm that is known since before the run, and what is left out."""
    (proved,) = certified(problem, run, (L2(),))
    row, path = measure(catalogue, run, L2(), L2().label, proved)
    left = [n for n in norms if not same(n, row.norm, problem)]
    return (row,), {row.label: path}, [f"the {n.label} margin" for n in left]


def _listed(parts: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def _imitated(run: Trajectory, asked: Asked) -> Imitation | None:
    """What the weights imitate now; None of a run that made no steps or blew up."""
    if run.outcome is Outcome.DIVERGED or not int(run.steps[-1]):
        return None
    asked.tell("what the weights imitate")
    return imitation(run)


def _norms(
    problem: LinearClassification, norms: Iterable[AbstractNorm | str] | None
) -> tuple[AbstractNorm, ...]:
    if norms is None:
        return usual_norms(problem)
    chosen: list[AbstractNorm] = []
    for norm in norms:
        norm = read(norm)
        norm(jnp.zeros(problem.weight_shape))  # one that doesn't fit says so here
        if not any(same(norm, other, problem) for other in chosen):
            chosen.append(canonical(norm, problem))
    if not chosen:
        raise ValueError("norms must name at least one norm; got none.")
    return tuple(chosen)


def _unseparable(
    asked: Asked,
    run: Trajectory,
    none: NoMarginError,
    settings: dict[str, Any],
    early: tuple[Caution, ...],
) -> Diagnosis:
    problem, tell = asked.problem, asked.tell
    name = type(run.rule.optimizer).__name__
    proof = none if isinstance(none, NotSeparableError) else None
    if proof is None:
        headline = (
            f"{name} has not separated the data, and it is not decided whether any "
            "weights do."
        )
        explanation = f"{none} A run that separates them would tell."
        minimiser = None
    else:
        headline = "These data are not linearly separable: there is no margin to pick."
        try:
            tell("minimiser of the loss")
            minimiser = find_minimiser(problem, run, proof)
            explanation = _where_it_ends(minimiser, run, name)
        except KeyboardInterrupt:
            minimiser, explanation = None, "Where the loss is least was not found."
            early = (*early, cut_short("the minimiser of the loss"))
    others, several = {}, ()
    if minimiser is not None and minimiser.attained is not False:
        others = {"minimiser": minimiser.weights}
        several = (bool(minimiser.free),)
    chosen, held_out = _chosen(asked, run, others, several)
    return Diagnosis(
        headline=headline,
        explanation=explanation,
        now="",
        heading=explanation,
        when="",
        next=() if proof is None else without_margin(settings["command"], run),
        imitation=None,
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
        chosen=chosen,
        held_out=held_out,
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
