"""What was found, in sentences."""

import math

import numpy as np

from penchant.estimators.identification._degree import SCALES
from penchant.estimators.identification._findings import Findings
from penchant.estimators.identification._laws import AGREES, LawFit
from penchant.estimators.identification._memories import EXACT, Replay, rounded
from penchant.estimators.identification._tightness import Tightness
from penchant.norms import L2, AbstractNorm
from penchant.optimizers import Character


def tell(
    found: Findings,
    steps: AbstractNorm | None,
    between: tuple[float, float] | None,
    tight: Tightness | None,
    normalised: bool | None,
    steepest: bool,
    replay: Replay,
    decay: float | None,
    coupled: float | None,
) -> tuple[str, ...]:
    """What was found, a sentence each; the first says what the rule is."""
    head = [_geometry(found, steps, between, tight, normalised, replay)]
    if replay.law is not None:
        head += _law(replay.law)
    elif replay.agrees:
        head += _memories(replay)
    else:
        head.append("memories in no form known here")
    limit = found.threshold
    if limit is not None and limit.kind == "eps":
        head.append(f"ε matters below |g| = {limit.scale:.1g}")
    elif limit is not None and limit.kind == "floor":
        head.append(f"its divisor has a floor at |g| = {limit.scale:.1g}")
    elif limit is not None:
        what = "gradients" if limit.kind == "clip" else "steps"
        head.append(f"clips {what} above |g| = {limit.scale:.3g}")
    if decay is not None:
        head.append(f"decoupled decay {decay:.6g}")
    if coupled is not None:
        head.append(f"decay {coupled:.6g} through the gradient")
    first = ", ".join(head)
    told = [first[:1].upper() + first[1:] + "."]
    power = found.power
    apart = between is not None and between[0] < between[1]
    if power is not None and not power.exact and between is not None and apart:
        what = "singular values" if found.matrix else "entries"
        low, high = between
        told.append(
            f"As a map of {what} it lies between the exponents {_number(low)} and "
            f"{_number(high)} (95 %), and is a power of neither."
        )
    if tight is not None and tight.worst < 1.0 - AGREES:
        told.append(
            f"First steps reach {tight.worst:.4f} of the steepest at worst, "
            f"{tight.median:.4f} in the median."
        )
    if not replay.known:
        told.append(f"No combination of memories makes its steps: {nearest(replay)}.")
    of = found.weights
    if of is not None and of.kind == "length":
        told.append("Steps are as long as the weights are.")
        if of.rate > 0:
            told.append(f"Each step takes {of.rate:.4g} of the weights away.")
    elif of is not None and of.kind == "other":
        told.append("Steps depend on the weights, in no way known here.")
    elif of is not None and of.kind == "path":
        told.append("Steps depend on where the weights have been since the start.")
    elif of is not None and of.kind == "decoupled" and decay is None:
        told.append(f"Each step takes {of.rate:.4g} of the weights away.")
    elif of is not None and of.kind == "both":
        told.append("Decay is applied twice: beside the step and through the gradient.")
    if found.drift >= AGREES:
        told.append(
            f"It moves weights whose gradients are 0, by {found.drift:.2g} of a step "
            "for gradients of size 1: noise, or a drift."
        )
    if found.warm:
        told.append("Its first steps are of another kind than those after them.")
    if found.degree.breaks is not None:
        told.append(_break(found))
    told += _elsewhere(found)
    if found.dead == "moves":
        told.append("A coordinate whose gradient is always 0 moves.")
    elif found.dead.startswith("is not"):
        told.append("A coordinate whose gradient is always 0 gets 0/0.")
    if found.rounding > 0:
        told.append(
            "It computes in few digits, or makes rounding large: steps are smooth to "
            f"{found.rounding:.1g}."
        )
    told += _coupled(found)
    for form in found.formats:
        if form.why:
            told.append(f"In {form.name} it can't step: {form.why}")
        elif math.isnan(form.low):
            told.append(f"In {form.name} its steps are others at every scale.")
        elif form.low > 2.0 * SCALES[0]:
            told.append(
                f"In {form.name} steps are others below |g| = {form.low:.0g}: numbers "
                "in it underflow."
            )
    return tuple(told)


def _coupled(found: Findings) -> list[str]:
    """What the arrays of a model have to do with each other."""
    seen = found.trees
    if seen is None or seen.why or not seen.coupled:
        return []
    words = {"length": "lengths", "direction": "directions"}
    told = []
    if seen.gradients != "nothing":
        told.append(f"gradients of one array change the {words[seen.gradients]} of")
    elif seen.loud != "nothing":
        told.append(f"large gradients of one array change the {words[seen.loud]} of")
    if seen.weights != "nothing":
        told.append(f"weights of one array change the {words[seen.weights]} of")
    return [f"Arrays are coupled: {' and '.join(told)} steps of the others."]


def _elsewhere(found: Findings) -> list[str]:
    """Where lengths leave the line of their degree, with no ε or clip that says so."""
    seen = found.degree
    if found.threshold is not None or seen.breaks is not None:
        return []
    if seen.degree is None:
        return ["Lengths of steps are of no one degree at gradients of size 1."]
    told = []
    for word, low in (("Below", True), ("Above", False)):
        end = seen.leaves(low=low)
        if end is not None:
            told.append(f"{word} about |g| = {end:.1g} steps are others")
    if seen.below is not None and told and told[0].startswith("Below"):
        told[0] += f", of degree {seen.below:.3g} in the gradient"
    return [f"{line}." for line in told]


def _break(found: Findings) -> str:
    """What changes where lengths leave one straight part for another."""
    at = found.degree.breaks
    above = found.above
    told = f"Above |g| = {at:.2g} it is another rule"
    if above is not None:
        free = [n for n in ("row scales", "column scales") if above.holds(n)]
        if free:
            what = " and ".join(name.split()[0] for name in free)
            told += f": the lengths of {what}s no longer count, as if they were clipped"
    return told + "."


def _geometry(
    found: Findings,
    steps: AbstractNorm | None,
    between: tuple[float, float] | None,
    tight: Tightness | None,
    normalised: bool | None,
    replay: Replay,
) -> str:
    descent = "ascent" if tight is not None and tight.median < 0 else "descent"
    if steps is None:
        degree = found.degree.degree
        size = "" if degree is None else f", of degree {degree:.4g} in the gradient"
        family = found.family
        steps_of = f"{family} steps"
        if family == "unknown":
            steps_of = "steps of no family known here,"
        if between is not None and between[0] == between[1] < math.inf:
            kind = "Schatten-" if found.matrix else "ℓ"
            return f"{steps_of} along the steepest of {kind}{between[0]:.4g}{size}"
        return f"{steps_of} in no norm that has a name{size}"
    if isinstance(steps, L2) and not normalised:
        if replay.agrees:
            return f"gradient {descent}"
        way = "along" if descent == "descent" else "up"
        return f"first steps {way} the gradient"
    gap = math.nan if tight is None else 1.0 - tight.worst
    if tight is not None and descent == "ascent":
        gap = 1.0 + tight.median
    exact = "exactly" if gap < EXACT else f"to {gap:.1g}"
    kind = f"{steps.label} steepest {descent} ({exact})"
    if not replay.agrees:
        kind = f"first steps as of {kind}"
    elif replay.second is not None or replay.odd_eps:
        kind = f"{steps.label} steps as long as the step size, not steepest"
    return kind if normalised else f"{kind}, as long as the gradient"


def nearest(replay: Replay) -> str:
    """How near the nearest form comes."""
    if replay.form is None:
        return "none was found"
    return f"the nearest is off by {replay.misfit:.2g} of a step"


def _law(fit: LawFit) -> list[str]:
    numbers = [f"{name} {rounded(x):.6g}" for name, x in fit.constants.items()]
    return [f"{fit.law.form} ({', '.join(numbers)})"]


def _memories(replay: Replay) -> list[str]:
    told = []
    first, second = replay.first, replay.second
    if first is None:
        told.append("no memory of gradients")
    else:
        decay = float(np.asarray(first.decay))
        told.append(f"memory {1.0 / (1.0 - decay):.3g} steps (decay {decay:.6g})")
        if not first.plain:
            told.append(
                "looking ahead" if first.nesterov else "mixed with the gradient"
            )
    if replay.divided_first:
        told.append("gradients being normalised before they are remembered")
    if second is not None:
        whole = Character(second=second).told_second
        told.append(whole.split(", ")[0])
    if replay.odd_eps and replay.form is not None:
        told.append(
            f"divides by a {replay.form.kind} of squares, with an ε of no kind known"
        )
    return told


def _number(p: float) -> str:
    return "∞" if math.isinf(p) else f"{p:.4g}"
