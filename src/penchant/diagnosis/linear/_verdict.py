"""From the table to a sentence: which norm won, and whether theory said so."""

import math

import equinox as eqx

from penchant.diagnosis.linear._measure import Row
from penchant.norms import AbstractNorm
from penchant.pages import percent
from penchant.problems import LinearClassification
from penchant.theory import Prediction, canonical

REACHED = 0.98
"""A ratio from which a margin counts as reached."""

NEAR = 0.85
"""A ratio from which a norm can win, if every other gap is twice its own."""


class Judgement(eqx.Module):
    """The winner, whether theory agrees, and the sentences that say it.

    `rivals` are norms whose gap is below twice the winner's: the data, or the run, do
    not tell them apart.
    """

    winner: AbstractNorm | None
    expected: AbstractNorm | None
    rivals: tuple[AbstractNorm, ...]
    agrees: bool | None = eqx.field(static=True)
    headline: str = eqx.field(static=True)
    explanation: str = eqx.field(static=True)


def judge(
    problem: LinearClassification,
    rows: tuple[Row, ...],
    prediction: Prediction | None,
    name: str,
    steps: int,
) -> Judgement:
    """Name the winner, and compare it with what theory expects after so many steps."""
    ranked = sorted(rows, key=lambda row: -row.reading)
    first, others = ranked[0], ranked[1:]
    gap = 1.0 - first.reading
    close = tuple(r for r in others if 1.0 - r.reading < max(2.0 * gap, 1e-6))
    won = first.reading >= REACHED or (first.reading >= NEAR and not close)
    rivals = tuple(row.norm for row in close) if won else ()
    expected = None if prediction is None else prediction.at(steps).norm
    agrees = None
    if won and expected is not None:
        named = (first.norm, *rivals)
        agrees = any(same(expected, norm, problem) for norm in named)
    return Judgement(
        first.norm if won else None,
        expected,
        rivals,
        agrees,
        _headline(name, first, others, close if won else None),
        _explanation(prediction, steps, agrees, won, problem),
    )


def same(a: AbstractNorm, b: AbstractNorm, problem: LinearClassification) -> bool:
    """Whether two norms are one on weights of this shape."""
    a, b = canonical(a, problem), canonical(b, problem)
    return bool(eqx.tree_equal(a, b))


def _headline(
    name: str, first: Row, others: list[Row], close: tuple[Row, ...] | None
) -> str:
    if first.reading <= 0:
        return f"{name} has not separated the data yet, so no margin is reached."
    if close is None:
        return (
            f"{name} is near no norm's largest margin: the closest is "
            f"{first.label}, of which it has {percent(first.reading)}."
        )
    verb = "picks" if first.reading >= REACHED else "is heading for"
    text = (
        f"{name} {verb} the {first.label} margin: it has {percent(first.reading)} of "
        "the largest there is"
    )
    if close:
        listing = " and ".join(f"{row.label} ({percent(row.reading)})" for row in close)
        return f"{text}. {listing} can't be told apart from it here."
    if others:
        next_ = others[0]
        return f"{text}, and at most {percent(max(next_.reading, 0))} in other norms."
    return f"{text}."


def _explanation(
    prediction: Prediction | None,
    steps: int,
    agrees: bool | None,
    won: bool,
    problem: LinearClassification,
) -> str:
    if prediction is None:
        return "Theory was not asked: the diagnosis was interrupted before."
    if prediction.norm is None:
        return f"Theory gives no limit here. {prediction.statement}"
    now = prediction.at(steps)
    limit = f"Theory foretells the {prediction.norm.label} margin"
    if now.norm is None:
        return (
            f"{limit} in the limit, but puts step {steps:,} in a phase that is "
            f"{now.name}{_until(now.end)}: {now.why}."
        )
    if not same(now.norm, prediction.norm, problem):
        text = (
            f"{limit} in the limit, and on the way, {now.name}{_until(now.end)}, the "
            f"{now.norm.label} one"
        )
    else:
        text = limit
    if agrees is None:
        return f"{text}." + (
            "" if won else " The run has not gone far enough to confirm or refute it."
        )
    return f"{text}: {'the run confirms it' if agrees else 'the run says otherwise'}."


def _until(end: float) -> str:
    return "" if math.isinf(end) else f" until about step {end:,.0f}"
