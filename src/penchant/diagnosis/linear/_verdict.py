"""From the table to sentences: which norm won, what theory says to it, and when."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import equinox as eqx
import numpy as np

from penchant._words import count, raised
from penchant.diagnosis.linear._measure import Row
from penchant.diagnosis.linear._progress import Progress
from penchant.estimators import Convergence, Imitation
from penchant.norms import AbstractNorm
from penchant.pages import percent
from penchant.problems import LinearClassification
from penchant.theory import Prediction, Verdict, canonical
from penchant.training import Trajectory

R = TypeVar("R")

REACHED = 0.98
"""A ratio from which a margin counts as reached."""

NEAR = 0.85
"""A ratio from which a norm can win, if every other gap is twice its own."""

ALIKE = 0.95
"""A ratio from which all norms together have solutions too alike to matter."""

LEVEL = 0.02
"""Shares apart by less are as good as the same, far from every optimum too."""

IMITATES, FAINT = 0.85, 0.6
"""Alignments from which a norm is imitated, and below which none is."""

NEVER = 1e12
"""Steps that nobody makes."""


class Judgement(eqx.Module):
    """The winner, whether theory agrees, and the sentences that say it.

    `rivals` are norms that neither the weights nor what the second half of the run
    added tell apart from the one with the largest share; with rivals nothing has won.
    """

    winner: AbstractNorm | None
    expected: AbstractNorm | None
    rivals: tuple[AbstractNorm, ...]
    agrees: bool | None = eqx.field(static=True)
    headline: str = eqx.field(static=True)
    now: str = eqx.field(static=True)
    heading: str = eqx.field(static=True)
    when: str = eqx.field(static=True)

    @property
    def explanation(self) -> str:
        """What follows the headline, in one paragraph."""
        return " ".join(part for part in (self.heading, self.when, self.now) if part)


def judge(
    rows: tuple[Row, ...],
    prediction: Prediction,
    run: Trajectory,
    state: Progress,
    fit: Convergence,
    seen: Imitation | None,
) -> Judgement:
    """Name the winner, and compare it with what theory expects after so many steps."""
    problem = run.rule.problem
    name = type(run.rule.optimizer).__name__
    first, close = leading(rows)
    standing = first.reached > 0
    strong = max(first.ratio, first.increment_ratio) >= NEAR
    won = standing and strong and not close and len(rows) > 1
    expected = prediction.at(int(run.steps[-1])).norm
    failed = any(a.verdict is Verdict.FAILS for a in prediction.assumptions)
    agrees = None
    if won and expected is not None and not failed and state is not Progress.STOPPED:
        agrees = same(expected, first.norm, problem)
    now = _now(name, seen)
    if not standing:
        headline = _not_separated(name, run, seen)
    else:
        does = "" if won or len(rows) == 1 else _does(seen)
        who = "It" if does else name
        headline = _headline(who, first, close, rows, won, state)
        if does:
            headline = f"{name} so far {does}. {headline}"
    return Judgement(
        winner=first.norm if won else None,
        expected=expected,
        rivals=tuple(row.norm for row in close),
        agrees=agrees,
        headline=headline,
        now=now,
        heading=_heading(prediction, run, agrees, won, state, failed, len(rows)),
        when=_when(first, prediction, run, state, fit),
    )


def leading(rows: tuple[Row, ...]) -> tuple[Row, tuple[Row, ...]]:
    """The norm that leads, and those not to be told apart from it.

    That of the largest share leads, and a gap below twice the smallest does not tell
    norms apart. Where all samples are classified, what the second half of the run added
    may do so: what stays bounded in the weights has dropped out of it.
    """
    first = max(rows, key=lambda row: row.ratio)
    close = not_told_apart(first, rows, lambda row: row.ratio)
    if close and first.reached > 0:
        ahead = max(rows, key=lambda row: row.increment_ratio)
        clear = not not_told_apart(ahead, rows, lambda row: row.increment_ratio)
        if ahead.increment_ratio >= NEAR and clear and ahead in (first, *close):
            return ahead, ()
    return first, close


def ties(first: Row, close: tuple[Row, ...]) -> tuple[Row, ...]:
    """Of norms not to be told apart from the first, those that are worth naming.

    Far from every optimum twice the smallest gap takes in all of them: there it is
    those whose share is as good as the same.
    """
    if first.ratio >= NEAR:
        return close
    return tuple(row for row in close if first.ratio - row.ratio < LEVEL)


def not_told_apart(
    first: R, rows: Sequence[R], share: Callable[[R], float]
) -> tuple[R, ...]:
    """Rows whose gap is below twice that of the first, by a share of theirs."""
    allowed = max(2.0 * (1.0 - share(first)), 1e-6)
    return tuple(r for r in rows if r is not first and 1.0 - share(r) < allowed)


def same(a: AbstractNorm, b: AbstractNorm, problem: LinearClassification) -> bool:
    """Whether two norms are one on weights of this shape."""
    a, b = canonical(a, problem), canonical(b, problem)
    return bool(eqx.tree_equal(a, b))


def _headline(
    name: str,
    first: Row,
    close: tuple[Row, ...],
    rows: tuple[Row, ...],
    won: bool,
    state: Progress,
) -> str:
    share = percent(first.ratio)
    if len(rows) == 1:
        return (
            f"{name}'s weights have {share} of the largest {first.label} margin; no "
            "other norm was compared."
        )
    level = ties(first, close)
    if level:
        shares = [f"{row.label} ({percent(row.ratio)})" for row in (first, *level)]
        listing = f"{', '.join(shares[:-1])} and {shares[-1]}"
        if first.ratio >= NEAR:
            where = f"is near the largest margins in {listing}"
        else:
            where = f"is near no norm's largest margin; closest are {listing}"
        return f"{name} {where}, which can't be told apart here."
    if not won:
        stays = ", and stays there" if state is Progress.STALLED else ""
        return (
            f"{name} is near no norm's largest margin: the closest is "
            f"{first.label}, of which it has {share}{stays}."
        )
    arrived = max(first.ratio, first.increment_ratio) >= REACHED
    if arrived:
        verb = "picks"
    elif state in (Progress.STALLED, Progress.STOPPED):
        verb = "comes closest to"
    else:
        verb = "is heading for"
    rest = [row for row in rows if row is not first]
    text = (
        f"{name} {verb} the {first.label} margin: it has {share} of the largest "
        "there is"
    )
    if not_told_apart(first, rows, lambda row: row.ratio):
        most = max(row.increment_ratio for row in rest)
        return (
            f"{text}, and what the second half of the run added has "
            f"{percent(first.increment_ratio)}, against at most "
            f"{percent(max(most, 0.0))} in other norms."
        )
    most = max(row.ratio for row in rest)
    return f"{text}, and at most {percent(max(most, 0.0))} in other norms."


def _not_separated(name: str, run: Trajectory, seen: Imitation | None) -> str:
    wrong = int(np.sum(np.asarray(run.margins[-1]) <= 0))
    text = (
        f"{name} has not separated the data yet ({wrong:,} of "
        f"{run.rule.problem.samples:,} samples {'is' if wrong == 1 else 'are'} "
        "misclassified), so no margin is reached"
    )
    does = _does(seen)
    return f"{text}; so far it {does}." if does else f"{text}."


def _does(seen: Imitation | None) -> str:
    """What the weights do at the moment, as a penalty that would do it; or nothing."""
    if seen is None:
        return ""
    best = _imitated(seen)
    if best is not None:
        return f"does what a penalty on the {best} norm would"
    own = seen.own
    if own is not None and own.alignment >= IMITATES:
        return (
            "does what a penalty on no usual norm would, but one on the Euclidean norm "
            "with each feature weighed by the rule's own divisor"
        )
    return ""


def _imitated(seen: Imitation) -> str | None:
    """The label of the one norm that the weights imitate, if there is one."""
    rows = [row for row in seen.rows if math.isfinite(row.alignment)]
    if not rows:
        return None
    first = max(rows, key=lambda row: row.alignment)
    gap = 1.0 - first.alignment
    rivals = [r for r in rows if r is not first and 1.0 - r.alignment < 2.0 * gap]
    return first.norm.label if first.alignment >= IMITATES and not rivals else None


def _now(name: str, seen: Imitation | None) -> str:
    """Which regulariser the weights imitate at the moment."""
    if seen is None:
        return ""
    rows = sorted(
        (row for row in seen.rows if math.isfinite(row.alignment)),
        key=lambda row: -row.alignment,
    )
    if not rows:
        return ""
    first = rows[0]
    others = ", ".join(f"{row.norm.label} {row.alignment:z.2f}" for row in rows[1:])
    shown = f"alignment {first.alignment:z.2f}" + (f"; {others}" if others else "")
    best = _imitated(seen)
    if best is not None:
        return (
            f"Now its weights are nearly those of least loss for their size in {best} "
            f"({shown})."
        )
    if first.alignment >= IMITATES:
        return (
            "Now its weights are nearly those of least loss for their size in several "
            f"norms, which can't be told apart ({first.norm.label} {shown})."
        )
    own = seen.own
    if own is not None and own.alignment >= max(FAINT, first.alignment):
        how = "nearly" if own.alignment >= IMITATES else "partly"
        return (
            f"Now its weights are those of no usual norm ({first.norm.label} {shown}), "
            f"but {how} those of least loss for their size in the Euclidean norm that "
            f"its own divisor weighs (alignment {own.alignment:z.2f}; read off the "
            "run)."
        )
    if first.alignment >= FAINT:
        between = seen.entries
        fits = ""
        if between.alignment >= IMITATES:
            fits = (
                f", and best in ℓp with p = {between.p:.2g} ({between.alignment:z.2f})"
            )
        return (
            "Now its weights are partly those of least loss for their size in "
            f"{first.norm.label} ({shown}){fits}."
        )
    return (
        f"Now its weights are those of least loss for their size in no norm "
        f"({first.norm.label} {shown}). That is so where steps are too large, where a "
        "step sees too few samples, and where weights still hold what the much larger "
        "gradients of early steps made."
    )


def _heading(
    prediction: Prediction,
    run: Trajectory,
    agrees: bool | None,
    won: bool,
    state: Progress,
    failed: bool,
    compared: int,
) -> str:
    """What theory says of the limit, and what the run says to that."""
    if prediction.norm is None:
        return f"Theory gives no limit here. {prediction.statement}"
    problem, steps = run.rule.problem, int(run.steps[-1])
    if failed:
        broken = [a for a in prediction.assumptions if a.verdict is Verdict.FAILS]
        number = "an assumption" if len(broken) == 1 else f"{len(broken)} assumptions"
        fails = "fails" if len(broken) == 1 else "fail"
        listing = "; ".join(a.statement for a in broken)
        return (
            f"The {prediction.norm.label} margin is what theory names under "
            f"assumptions, of which {number} {fails} here ({listing}): this run can "
            "neither confirm nor refute it."
        )
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
    if agrees is not None:
        said = "the run confirms it" if agrees else "the run says otherwise"
        return f"{text}: {said}."
    if state is Progress.STOPPED:
        return f"{text}. A run that diverged says nothing about it."
    if won:
        return f"{text}."
    if state is Progress.STALLED:
        return f"{text}. The run has stalled before it could confirm or refute it."
    if state in (Progress.SWINGING, Progress.SHORT):
        return f"{text}. Until the data are separated, the run has no say in it."
    if compared == 1:
        return f"{text}. With no other norm compared, the run can't confirm it."
    if state is Progress.ARRIVED:
        return f"{text}. Margins alike in several norms neither confirm nor refute it."
    return f"{text}. The run has not gone far enough to confirm or refute it."


def _when(
    first: Row,
    prediction: Prediction,
    run: Trajectory,
    state: Progress,
    fit: Convergence,
) -> str:
    """In how many steps, by the fitted rate or the law of the regime."""
    phases = [r for r in prediction.regimes if math.isfinite(r.start)]
    last = int(run.steps[-1])
    later = next((r for r in phases if r.start > last and r.norm is not None), None)
    text = ""
    if later is not None and later.norm is not None:
        text = f"The {later.norm.label} phase begins near step {count(later.start)}"
        text += ": never in practice." if later.start > NEVER else "."
    if state is not Progress.RISING:
        return text
    goal = f"{100 * (1 - fit.target):g} % of the {first.label} margin"
    if fit.needed < NEVER:
        rate = f"At the rate of its last decade of steps it has {goal} near step "
        return f"{rate}{count(fit.needed)}. {text}".strip()
    # where weights grow like log t, gaps fall like 1 / log t
    if _only_logs(run):
        power = math.log(last) * fit.gap / fit.target
        return (
            f"Its weights grow like the logarithm of steps, so that {goal} takes about "
            f"e{raised(round(power))} steps: never in practice. {text}"
        ).strip()
    return text


def _only_logs(run: Trajectory) -> bool:
    what = run.rule.optimizer.character()
    return what.known and not what.normalised and what.second is None


def _until(end: float) -> str:
    return "" if math.isinf(end) else f" until about step {end:,.0f}"
