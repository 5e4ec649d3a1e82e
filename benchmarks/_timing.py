"""Wall times of two ways to do the same work, taken in turns in one process.

Absolute times drift with the machine's load; the ratio of two that alternate drifts
far less. The first call of each is kept apart: it compiles.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax

Work = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of repeated calls, for `units` pieces of work each."""

    calls: tuple[float, ...]
    first: float | None = None
    units: float = 1.0

    @property
    def median(self) -> float:
        """Median seconds for one unit."""
        return statistics.median(self.calls) / self.units

    @property
    def best(self) -> float:
        """Least seconds for one unit."""
        return min(self.calls) / self.units

    @property
    def spread(self) -> float:
        """Half the range of the calls, relative to their median."""
        return (max(self.calls) - min(self.calls)) / (2 * statistics.median(self.calls))

    @property
    def compilation(self) -> float:
        """What the first call took beyond a later one."""
        if self.first is None:
            return 0.0
        return max(0.0, self.first - statistics.median(self.calls))

    def describe(self, unit: str = "") -> str:
        """The median with its unit and, if calls were repeated, their spread."""
        text = f"{seconds(self.median)} {unit}".strip()
        return text if len(self.calls) == 1 else f"{text} ± {self.spread:.0%}"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two timings of the same work, and what the last call of each returned."""

    ours: Timing
    peer: Timing
    our_result: Any
    peer_result: Any

    @property
    def ratio(self) -> float:
        """How many times faster ours is, by the medians."""
        return self.peer.median / self.ours.median


def clock(work: Work) -> tuple[float, Any]:
    """Seconds until the result is there, and the result."""
    begun = time.perf_counter()
    result = jax.block_until_ready(work())
    return time.perf_counter() - begun, result


def measure(work: Work, *, repeats: int, units: float = 1.0) -> Timing:
    """Time `work` after one warm-up call."""
    first, _ = clock(work)
    return Timing(tuple(clock(work)[0] for _ in range(repeats)), first, units)


def compare(
    ours: Work,
    peer: Work,
    *,
    repeats: int,
    our_units: float = 1.0,
    peer_units: float = 1.0,
) -> Comparison:
    """Time both in turns, after a warm-up call of each."""
    our_first, _ = clock(ours)
    peer_first, _ = clock(peer)
    our_calls, peer_calls = [], []
    for _ in range(repeats):
        taken, our_result = clock(ours)
        our_calls.append(taken)
        taken, peer_result = clock(peer)
        peer_calls.append(taken)
    return Comparison(
        Timing(tuple(our_calls), our_first, our_units),
        Timing(tuple(peer_calls), peer_first, peer_units),
        our_result,
        peer_result,
    )


def compare_once(ours: Work, peer: Work, *, repeats: int) -> Comparison:
    """Time a slow peer that compiles nothing once, half-way through our calls."""
    our_first, _ = clock(ours)
    our_calls, before = [], repeats // 2
    for _ in range(before):
        our_calls.append(clock(ours)[0])
    taken, peer_result = clock(peer)
    for _ in range(repeats - before):
        again, our_result = clock(ours)
        our_calls.append(again)
    return Comparison(
        Timing(tuple(our_calls), our_first), Timing((taken,)), our_result, peer_result
    )


def seconds(value: float) -> str:
    """Three significant digits and a unit."""
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= scale:
            return f"{_three_digits(value / scale)} {unit}"
    return f"{_three_digits(value / 1e-9)} ns"


def _three_digits(value: float) -> str:
    return f"{value:#.3g}".rstrip(".") if value < 1000 else f"{value:.0f}"
