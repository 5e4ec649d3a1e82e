"""From what the tests found to a character."""

from penchant.estimators.identification._box import AbstractBox
from penchant.estimators.identification._findings import Findings
from penchant.estimators.identification._laws import AGREES
from penchant.estimators.identification._memories import Replay, rounded
from penchant.estimators.identification._norm import in_blocks, norm_of
from penchant.estimators.identification._result import Identification
from penchant.estimators.identification._tightness import Tightness, tightness
from penchant.estimators.identification._told import nearest, tell
from penchant.optimizers import FIELDS, Character, Evidence, Grades

MEASURED, UNKNOWN = Evidence.MEASURED, Evidence.UNKNOWN

LOOSE = {
    "length": "steps are as long as the weights are",
    "path": "steps depend on where the weights have been",
    "other": "steps depend on the weights in no way known here",
}
"""Ways to depend on weights that leave open what steps are at others."""


def read(box: AbstractBox, name: str, found: Findings, seed: int) -> Identification:
    """The character that the findings amount to, unknown where they disagree."""
    if found.coupling is None:
        return _unreadable(box, name, found)
    degree = found.degree.degree
    normalised = None if degree is None else abs(degree) < 1e-6
    steps, between = norm_of(box, found, normalised, seed)
    replay = Replay(box, found, steps, seed)
    norm = in_blocks(found) if steps is None and normalised else steps
    tight = None if norm is None else tightness(box, norm, found.scale, seed)
    steepest = _steepest(replay, tight)
    if replay.second is not None and replay.second.over == "blocks":
        steps = None  # each block has its own length
    factor = _factor(replay, tight, normalised)
    unit = factor
    if box.declares or (replay.second is None and not steepest):
        unit = box.declared  # a length that is none exactly is no step size
    decay, coupled, decay_grade = _decay(
        found, unit if replay.known or box.declares else None
    )
    uphill = tight is not None and tight.median < 0
    grades, why = _grades(found, replay, normalised, decay_grade, uphill=uphill)
    known = lambda field, value: value if grades[field] == MEASURED else None
    told = tell(
        found, norm, between, tight, normalised, steepest, replay, decay, coupled
    )
    return Identification(
        known("steps", steps),
        known("normalised", normalised),
        known("first", replay.first),
        known("second", replay.second),
        decay,
        steepest and grades["second"] == MEASURED,
        grades,
        name=name,
        family=found.family,
        tightness=tight,
        between=between,
        step_size=factor,
        replayed=replay.misfit,
        coupled=coupled,
        form=replay.form if replay.agrees else None,
        law=replay.law,
        constants=replay.constants(),
        norm=norm,
        why=why,
        told=told,
        findings=found,
        rule=box.rule,
    )


def _steepest(replay: Replay, tight: Tightness | None) -> bool:
    return (
        replay.agrees
        and replay.second is None
        and not replay.odd_eps
        and tight is not None
        and tight.worst >= 1.0 - AGREES
        and not replay.divided_first
    )


def _factor(
    replay: Replay, tight: Tightness | None, normalised: bool | None
) -> float | None:
    """What unit steps are multiplied by, where a form or law makes the steps."""
    if not replay.known:
        return None
    if replay.factor is not None or tight is None:
        return replay.factor
    if normalised:
        return tight.length if tight.spread < 0.5 else None
    return tight.gain if normalised is False else None


def _grades(
    found: Findings,
    replay: Replay,
    normalised: bool | None,
    decay: Evidence,
    *,
    uphill: bool,
) -> tuple[Grades, dict[str, str]]:
    """The evidence of every field, and for the unknown ones the reason."""
    loose = "" if found.weights is None else LOOSE.get(found.weights.kind, "")
    if found.drift >= AGREES:
        loose = loose or "it moves weights whose gradients are 0"
    if uphill:
        loose = loose or "it steps up the gradient"
    memories = loose or _memories(found, replay)
    first = memories
    if replay.first is not None and (replay.law is not None or replay.odd_eps):
        first = loose  # its mean of gradients is one that a character can say
    why = {
        "steps": loose or ("" if found.family != "unknown" else "no family fits"),
        "normalised": loose or ("" if normalised is not None else "no degree is one"),
        "first": first,
        "second": memories,
        "decay": "" if decay == MEASURED else loose or "the step size is unknown",
    }
    grades = Grades(*(UNKNOWN if why[field] else MEASURED for field in FIELDS))
    return grades, {field: reason for field, reason in why.items() if reason}


def _memories(found: Findings, replay: Replay) -> str:
    """Why a character can't say the memories; empty where it can."""
    if replay.law is not None:
        return f"it {replay.law.law.form}, which a character has no field for"
    if not replay.agrees:
        return f"no form known here makes the steps: {nearest(replay)}"
    if replay.odd_eps:
        return "ε enters its steps in no way known here"
    if replay.divided_first:
        return "gradients are divided before they are remembered"
    if found.warm:
        return "its first steps are of another kind than those after them"
    return ""


def _unreadable(box: AbstractBox, name: str, found: Findings) -> Identification:
    bare = Character.unknown()
    if found.spread > 0:
        reason = "its steps are random"
        told = (
            f"Its steps are random: fresh starts differ by {found.spread:.2g} of "
            "their length, and no test reads through that.",
        )
    else:
        reason = "its first step does not move the weights"
        told = ("Its first step does not move the weights; no test reads it.",)
    return Identification(
        evidence=bare.evidence,
        name=name,
        family=found.family,
        why=dict.fromkeys(FIELDS, reason),
        told=told,
        findings=found,
        rule=box.rule,
    )


def _decay(
    found: Findings, factor: float | None
) -> tuple[float | None, float | None, Evidence]:
    """Decay beside the step, decay through the gradient, and what that is worth."""
    of = found.weights
    if of is None or of.kind in LOOSE:
        return None, None, UNKNOWN
    if of.kind == "none":
        return None, None, MEASURED
    if of.kind == "coupled":
        return None, rounded(of.rate), MEASURED
    through = rounded(of.through) if of.kind == "both" else None
    if factor is None or not factor > 0:
        return None, through, UNKNOWN
    return rounded(of.rate / factor), through, MEASURED
