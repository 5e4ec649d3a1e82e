"""What a run did that its author did not ask for, by thresholds that are derived.

Each rule looks at one group's records (or the whole run's) and gives a finding or
nothing. Severities order them and say nothing else.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np

from penchant._plain import plain
from penchant.diagnosis._cautions import Kind
from penchant.diagnosis.probe._recording import Line, Recording
from penchant.estimators import rounding
from penchant.measures import Bracket, Estimate

MANY = 0.1
"""Share of coordinates above which lost steps, or those below ε, are a finding."""

LOST = 0.01
"""Share of the way that weights were asked to go, from which what stays is a loss."""

OFF = 0.02
"""A decay that is off by more than this is not the one asked for."""

ROSE = 2.0
"""Times the loss of the first probe, above which a rise is a finding."""

REMEMBERS = 0.5
"""Of the signal of pure noise: below it the second moment is of larger gradients."""

AT_THE_EDGE, FELT = 0.8, 0.3
"""Of the largest stable curvature."""

STALE = 0.5

CERTAIN = 3.0
"""Standard errors by which a difference is one."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One finding: a sentence, its number with the error, and what to do about it.

    `group` is the parameter group, None for the whole run; `readout` the place on the
    page that it is read off.
    """

    kind: Kind
    headline: str
    todo: str
    number: Estimate | None
    group: str | None
    readout: str
    severity: float

    def __str__(self) -> str:
        where = "" if self.group is None else f" [{self.group}]"
        return f"{self.headline}{where} {self.todo}".strip()

    def to_dict(self) -> Line:
        """In types that JSON has."""
        number = self.number
        return plain({
            "kind": str(self.kind),
            "headline": self.headline,
            "todo": self.todo,
            "number": None if number is None else [number.value, number.error],
            "group": self.group,
            "readout": self.readout,
        })


def findings(seen: Recording) -> list[Finding]:
    """All of a run's, the worst first."""
    found: list[Finding] = []
    told = {group["name"]: group for group in seen.run.get("groups", ())}
    for name in seen.groups:
        about = told.get(name, {})
        for rule in OF_GROUPS:
            found += rule(seen, name, about)
    for side in seen.run.get("sides", [None]):
        for rule in OF_RUNS:
            found += rule(seen, side)
    found += _changes(seen)
    found += _shared(seen)
    found += _orphans(seen)
    return sorted(found, key=lambda one: -one.severity)


def bracket_of(value: object) -> Bracket | None:
    """The bracket of a record."""
    if not isinstance(value, dict) or value.get("lower") is None:
        return None
    return Bracket(float(value["lower"]), float(value["upper"]))


def _broken(seen: Recording, name: str, about: Line) -> Iterator[Finding]:
    bad = seen.late("nonfinite", name)
    if bad is not None and bad.value > 0:
        yield Finding(
            Kind.DIVERGED,
            f"{bad.value:.0%} of the sampled weights moved by inf or nan.",
            "Nothing else in this report can be relied on for them; look at the "
            "records before the first such step.",
            bad,
            name,
            "rounding",
            100.0,
        )


def rounds(kept: Estimate, applied: Estimate, nominal: float) -> bool:
    """Whether steps shrink weights otherwise than decay as stored does.

    In a coarse format a step is rounded to whole spacings, which are half as wide below
    a power of 2 as above it: that too has a part along the weights.
    """
    off = abs(applied.value - kept.value * nominal)
    return off > 4 * applied.error + OFF * nominal


def _decay(seen: Recording, name: str, about: Line) -> Iterator[Finding]:
    kept, applied = seen.late("kept_decay", name), seen.late("applied_decay", name)
    nominal, lr = seen.last("decay", name) or 0.0, seen.last("lr", name) or 0.0
    stored = about.get("weights") or "the weights' format"
    off = 0.0 if kept is None else abs(kept.value - 1)
    # decay that is added to the step is rounded by chance, and known to an error
    if kept is not None and off > max(OFF, 3 * kept.error):
        rate = f"ηλ = {lr * nominal:.2g}"
        measured = ""
        if applied is not None and nominal and not rounds(kept, applied, nominal):
            measured = f"; the steps measured have {applied.value / nominal:.3g} of it"
        if kept.value < 0.5:
            yield Finding(
                Kind.DECAY,
                f"Weight decay is lost to rounding: {rate} in {stored} applies "
                f"{kept.value:.2g} of what was asked for{measured}.",
                "Keep the weights in float32, take a larger decay, or apply it every k "
                "steps k times as strongly.",
                kept,
                name,
                "rounding",
                90.0,
            )
            return
        yield Finding(
            Kind.DECAY,
            f"Weight decay is distorted by rounding: {rate} in {stored} applies "
            f"{kept.value:.3g} times what was asked for{measured}.",
            "The decay to report is the applied one; a larger ηλ is kept better.",
            kept,
            name,
            "rounding",
            45.0 + 10.0 * min(abs(math.log(kept.value)), 1.0),
        )
        return
    if applied is None or not applied.valid or not math.isfinite(applied.value):
        return
    if about.get("known") in ("unknown", "measured", "Muon", "Adafactor"):
        return
    off = abs(applied.value - nominal)
    if off > 4 * applied.error and off > 0.05 * max(nominal, 1e-4):
        yield Finding(
            Kind.DECAY,
            f"The weight decay applied is {applied.value:.4g} ± {applied.error:.1g}, "
            f"where the optimizer's is {nominal:.4g}.",
            "Look for a second penalty in the loss, a decay applied twice, or "
            "gradients that were changed before the step.",
            applied,
            name,
            "rounding",
            60.0,
        )


def _swallowed(seen: Recording, name: str, about: Line) -> Iterator[Finding]:
    share, way = seen.late("swallowed", name), seen.late("swallowed_length", name)
    if share is None or not share.value > MANY:
        return
    # weights that are dead, and were to move by next to nothing, are no loss
    if way is not None and not way.value > LOST:
        return
    stored = about.get("weights") or "their format"
    lost = "" if way is None else f", {way.value:.0%} of the way all were to go"
    coarse = stored in ("bfloat16", "float16")
    yield Finding(
        Kind.SWALLOWED,
        f"Steps are swallowed: {share.value:.0%} of the weights asked to move stay "
        f"where they are, since the step is below half the spacing of {stored}{lost}.",
        "Keep float32 master weights, or round stochastically."
        if coarse
        else "Larger steps are kept; so are small ones by a compensated (Kahan) sum.",
        share,
        name,
        "rounding",
        50.0 + 40.0 * share.value,
    )


def _second_moment(seen: Recording, name: str, about: Line) -> Iterator[Finding]:
    stored, b2 = about.get("state"), about.get("second")
    if not stored or b2 is None or stored not in rounding.FORMATS:
        return
    if rounding.never_forgets(b2, stored):
        yield Finding(
            Kind.SECOND_MOMENT,
            f"The second moment can't forget: in {stored}, 1 − β₂ = {1 - b2:.2g} of it "
            "is below its last digit, so that it only rises.",
            "The largest gradient ever seen sets the step for good. Keep the state in "
            "float32, or take a smaller β₂.",
            None,
            name,
            "rounding",
            95.0,
        )
    dead = seen.late("dead", name)
    if stored == "float16" and dead is not None and dead.value > MANY:
        yield Finding(
            Kind.SECOND_MOMENT,
            f"The second moment is lost: it is 0 for {dead.value:.0%} of the weights, "
            f"since gradients below {rounding.least_seen(b2, stored):.1g} leave none "
            "in float16.",
            "Keep the state in float32; ε = 1e-8 is 0 in float16 too.",
            dead,
            name,
            "rounding",
            92.0,
        )


def in_play(seen: Recording, name: str) -> bool:
    """Whether ε is a part of the divisors that is felt: then they are no roots of v."""
    throttled, dead = seen.late("throttled", name), seen.late("dead", name)
    root, eps = seen.late("median_root", name), seen.last("eps", name)
    live = 1.0 - (0.0 if dead is None else dead.value)
    if throttled is None or root is None or not eps or live <= 0:
        return False
    return throttled.value / live > MANY or root.value < 10 * eps


def _eps(seen: Recording, name: str, about: Line) -> Iterator[Finding]:
    throttled, dead = seen.late("throttled", name), seen.late("dead", name)
    root, eps = seen.late("median_root", name), seen.last("eps", name)
    if throttled is None or root is None or not in_play(seen, name):
        return
    live = 1.0 - (0.0 if dead is None else dead.value)
    share = throttled.value / live
    lr = seen.last("lr", name) or 0.0
    said = Estimate(share, throttled.error / live, how=throttled.how)
    yield Finding(
        Kind.EPS,
        f"ε is in play: {share:.0%} of the live weights have √v̂ below ε = {eps:.1g}, "
        f"and the median √v̂ is {root.value / eps:.2g} ε.",
        f"These do momentum SGD with step η/ε = {lr / eps:.2g}. For the steps of Adam, "
        "take a smaller ε or a larger scale of the loss.",
        said,
        name,
        "regime",
        40.0 + 20.0 * share,
    )


def _signal(seen: Recording, name: str, about: Line) -> Iterator[Finding]:
    signal, noise = seen.late("signal", name), seen.last("noise_signal", name)
    if signal is None or not noise or seen.series("signal", name)[0].size < 3:
        return
    if in_play(seen, name):  # ε lowers it, whatever v remembers
        return
    if signal.value + CERTAIN * signal.error >= REMEMBERS * noise:
        return
    yield Finding(
        Kind.SECOND_MOMENT,
        f"The second moment remembers larger gradients: |m̂|/√v̂ is {signal.value:.2g}, "
        f"where pure noise has {noise:.2g}.",
        "Steps are smaller than the step size says, after spikes or while gradients "
        "fall. A smaller β₂ forgets sooner.",
        signal,
        name,
        "regime",
        25.0,
    )


def _edge(seen: Recording, side: str | None) -> Iterator[Finding]:
    top, threshold = (
        bracket_of(seen.last("largest", side)),
        seen.last("threshold", side),
    )
    if top is None or not threshold:
        return
    if top.lower > AT_THE_EDGE * threshold:
        yield Finding(
            Kind.EDGE,
            f"At the edge of stability: the curvature, in [{top.lower:.3g}, "
            f"{top.upper:.3g}], is held at its threshold {threshold:.3g} by the step "
            "size.",
            "Lowering the step size will sharpen the model. What that does to its test "
            "error nobody can say from here.",
            Estimate(
                0.5 * (top.lower + top.upper) / threshold,
                0.5 * (top.upper - top.lower) / threshold,
                how="of the threshold, half the bracket",
            ),
            side,
            "edge",
            35.0,
        )
    elif top.wide and top.upper > FELT * threshold:  # else it makes no difference
        yield Finding(
            Kind.PROBE_SIZE,
            f"The probe is too small for the curvature now: [{top.lower:.3g}, "
            f"{top.upper:.3g}] is wider than a factor 2.",
            "Give a larger probe_size, or more overhead.",
            None,
            side,
            "edge",
            12.0,
        )


def _stale(seen: Recording, side: str | None) -> Iterator[Finding]:
    groups = seen.run.get("groups", ())
    b1 = max((group.get("first") or 0.0 for group in groups), default=0.0)
    if b1 <= 0.0:
        return
    memory = b1 / (1.0 - b1)
    for lag in lags(seen, side):
        if lag > memory:
            return
        value = seen.late(f"stale_{lag}", side)
        if value is not None and value.value - 2 * value.error > STALE:
            yield Finding(
                Kind.STALE,
                f"A gradient is stale after {lag} step{'s' * (lag > 1)}: it has "
                f"changed by {value.value:.2g} of itself, and β₁ = {b1:g} averages "
                f"{memory:.3g}.",
                "Expansions in memory do not hold for this run. A smaller β₁ or step "
                "size makes the mean one of gradients of here.",
                value,
                side,
                "memory",
                22.0,
            )
            return


def lags(seen: Recording, side: str | None) -> list[int]:
    """Lags that were measured, ascending."""
    names = {
        name
        for line in seen.records
        if line["group"] == side
        for name in line
        if name.startswith("stale_")
    }
    return sorted(int(name.removeprefix("stale_")) for name in names)


def _rose(seen: Recording, side: str | None) -> Iterator[Finding]:
    """A loss that is far above what it was at the first probe."""
    steps, losses, errors = seen.series("loss", side)
    if len(steps) < 2:
        return
    first, last = float(losses[0]), float(losses[-1])
    error = float(np.hypot(*np.nan_to_num(errors[[0, -1]])))
    if last > ROSE * max(first, 0.0) and last - first > 3.0 * error:
        yield Finding(
            Kind.DIVERGED,
            f"The loss on the probe set rose from {first:.3g} at step {steps[0]:,} to "
            f"{last:.3g} at step {steps[-1]:,}.",
            "Take a smaller step size, or a warm-up; what else is read off this run is "
            "read off weights that fit less than those it began with.",
            Estimate(last, error),
            side,
            "sharpness",
            98.0,
        )


def _small(seen: Recording, side: str | None) -> Iterator[Finding]:
    for name, words in (("trace", "tr G"), ("root_trace", "tr Diag(G)^½")):
        value = seen.last(name, side)
        if not isinstance(value, list) or None in value or value[0] <= 0:
            continue
        if value[1] > 0.2 * value[0]:
            yield Finding(
                Kind.PROBE_SIZE,
                f"The probe is too small for {words}: its error is more than 20 %.",
                "Give a larger probe_size.",
                Estimate(value[0], value[1]),
                side,
                "sharpness",
                10.0,
            )
            return


def _changes(seen: Recording) -> Iterator[Finding]:
    words = {"decay": "the weight decay", "first": "β₁", "second": "β₂"}
    told = [e for e in seen.happened("changed") if e.get("what") in words]
    if not told:
        return
    last = told[-1]
    yield Finding(
        Kind.CHANGED,
        f"{words[last['what']]} changed in the run, at step {last['step']:,} from "
        f"{last['before']:.4g} to {last['now']:.4g}".capitalize()
        + (f", and {len(told) - 1} times before." if len(told) > 1 else "."),
        "Numbers before and after are of different rules.",
        None,
        last.get("group"),
        "regime",
        30.0,
    )


def _orphans(seen: Recording) -> Iterator[Finding]:
    """Weights that an optimizer steps and the model does not have."""
    told = seen.run.get("orphans", ())
    if not told:
        return
    count = len(told)
    which = f"{count} tensors, {told[0]} among them," if count > 1 else f"{told[0]},"
    yield Finding(
        Kind.ORPHAN,
        f"The optimizer steps {which} that the model does not have.",
        "Unless they are another module's, as a loss with weights of its own, steps of "
        "them change nothing: make the optimizer from the parameters of the model that "
        "is trained, after layers are replaced or it is loaded anew.",
        None,
        None,
        "regime",
        60.0,
    )


def _shared(seen: Recording) -> Iterator[Finding]:
    """Weights that two groups step, each with its own decay and moments."""
    told = seen.run.get("shared", ())
    if not told:
        return
    first, count = told[0], len(told)
    groups = " and ".join(first["groups"])
    others = "" if count == 1 else f", and {count - 1} more"
    decays = [decay for decay in first["decays"] if decay]
    decay = (
        f", and decay is applied {len(decays)} times, "
        f"{' and '.join(f'{d:.3g}' for d in decays)}"
        if len(decays) > 1
        else ""
    )
    yield Finding(
        Kind.DECAY if decay else Kind.SHARED,
        f"{first['name']}{others} is stepped by groups {groups}: "
        f"{len(first['groups'])} steps are taken in place of one{decay}.",
        "Tied weights are one tensor: give it to one group of one optimizer.",
        None,
        first["groups"][0],
        "rounding" if decay else "regime",
        95.0,
    )


OF_GROUPS: tuple[Callable[[Recording, str, Line], Iterator[Finding]], ...] = (
    _broken,
    _decay,
    _swallowed,
    _second_moment,
    _eps,
    _signal,
)
OF_RUNS: tuple[Callable[[Recording, str | None], Iterator[Finding]], ...] = (
    _edge,
    _stale,
    _small,
    _rose,
)
