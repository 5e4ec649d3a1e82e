"""What differs between two runs that were watched."""

import dataclasses
import math
from collections.abc import Iterator

from penchant._checks import check_instance
from penchant.diagnosis.probe._findings import CERTAIN, bracket_of
from penchant.diagnosis.probe._reading import Reading
from penchant.measures import Estimate

SETTINGS = (
    "optimizer",
    "step_size",
    "decay",
    "first",
    "second",
    "eps",
    "weights",
    "state",
)

ABOUT = ("model", "parameters", "framework", "device", "mode", "probe_hash")

GROUP = (
    "applied_decay",
    "kept_decay",
    "swallowed",
    "dead",
    "throttled",
    "signal",
    "spread",
)

WHOLE = ("loss", "trace", "root_trace", "batch_sharpness", "stale_1", "stale_10")

FACTOR = 1.1
"""Numbers without an error differ from this factor on."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """What is not the same in two readings, and how it is in each."""

    what: str
    first: str
    second: str

    def to_dict(self) -> dict[str, str]:
        """In types that JSON has."""
        return dataclasses.asdict(self)


def differences(first: Reading, second: Reading) -> list[Difference]:
    """Settings, findings and numbers that differ by three standard errors or more.

    Groups are compared by name. Runs on other probe sets are said to be so: their
    curvatures then differ by the examples too.

    Raises:
        TypeError: If one of them is no `Reading`.
    """
    for name, says in (("first", first), ("second", second)):
        check_instance(name, says, Reading, "a Reading, as watch.finish() returns")
    found = [*_about(first, second), *_of_groups(first, second)]
    a, b = ({str(f.kind) for f in says.warnings} for says in (first, second))
    for kind in sorted(a ^ b):
        found.append(
            Difference(
                f"finding: {kind}",
                "yes" if kind in a else "no",
                "yes" if kind in b else "no",
            )
        )
    found += _of_runs(first, second)
    return found


def _about(first: Reading, second: Reading) -> Iterator[Difference]:
    a, b = first.recording.run, second.recording.run
    for name in ABOUT:
        if a.get(name) != b.get(name):
            yield Difference(name.replace("_", " "), f"{a.get(name)}", f"{b.get(name)}")


def _of_groups(first: Reading, second: Reading) -> Iterator[Difference]:
    told = [
        {g["name"]: g for g in says.recording.run.get("groups", ())}
        for says in (first, second)
    ]
    for name in dict.fromkeys((*told[0], *told[1])):
        if name not in told[0] or name not in told[1]:
            yield Difference(
                f"{name}: there", f"{name in told[0]}", f"{name in told[1]}"
            )
            continue
        for what in SETTINGS:
            a, b = (t[name].get(what) for t in told)
            if a != b:
                yield Difference(f"{name}: {what.replace('_', ' ')}", f"{a}", f"{b}")
        for what in GROUP:
            yield from _numbers(
                f"{name}: {what.replace('_', ' ')}",
                first.recording.late(what, name),
                second.recording.late(what, name),
            )


def _of_runs(first: Reading, second: Reading) -> Iterator[Difference]:
    a, b = first.recording, second.recording
    for what in WHOLE:
        pair = []
        for seen in (a, b):
            value = seen.last(what)
            known = isinstance(value, list) and value[0] is not None
            error = math.nan if not known or value[1] is None else value[1]
            pair.append(Estimate(value[0], error) if known else None)
        yield from _numbers(what.replace("_", " "), *pair)
    tops = [bracket_of(seen.last("largest")) for seen in (a, b)]
    if tops[0] is not None and tops[1] is not None:
        apart = tops[0].lower > tops[1].upper or tops[1].lower > tops[0].upper
        if apart:
            yield Difference("largest curvature", f"{tops[0]}", f"{tops[1]}")


def _numbers(what: str, a: Estimate | None, b: Estimate | None) -> Iterator[Difference]:
    if a is None or b is None or not all(map(math.isfinite, (a.value, b.value))):
        return
    error = math.hypot(*(0.0 if math.isnan(x.error) else x.error for x in (a, b)))
    apart = abs(a.value - b.value)
    if error > 0:
        differs = apart > CERTAIN * error
    else:
        low, high = sorted((abs(a.value), abs(b.value)))
        differs = apart > 0 and high > FACTOR * low
    if differs:
        yield Difference(what, _shown(a), _shown(b))


def _shown(x: Estimate) -> str:
    if math.isnan(x.error) or x.error == 0:
        return f"{x.value:.4g}"
    return f"{x.value:.4g} ± {x.error:.1g}"
