"""How soon the explorer's lines follow a point that is dragged.

Twenty points, after a warm-up: each of the four lines by itself, as the page computes
it, and all that the page computes for one place of the point. The process's time is
held against the fifth of a second asked; wall time stands beside it. Where no line
separates, the minimiser takes the optima's place.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

import penchant as pn
from benchmarks._report import Row
from benchmarks._timing import seconds
from penchant.explorer import State, compute
from penchant.explorer._features import NORMS, run_of
from penchant.explorer._padded import padded, repeated
from penchant.explorer._state import Point

SAMPLES = 20
LIMIT = 0.2
"""Seconds in which each line is to follow."""

REASONS: dict[str, str] = {}

Points = tuple[Point, ...]


def rows(quick: bool) -> Iterator[Row]:
    moves = 5 if quick else 30
    lines: dict[str, Callable[[State], Any]] = {
        norm.label: lambda state, norm=norm: _optimum(state, norm) for norm in NORMS
    }
    lines["run"] = lambda state: (
        run_of(padded(state.points, state.loss, state.bias), state).weights
    )
    lines["all of the page's numbers"] = compute
    for name, work in lines.items():
        yield _asked(name, _dragged(work, State(), _apart(), moves))
    yield _asked(
        "all, where no line separates", _dragged(compute, State(), _mixed(), moves)
    )
    ones = State(batch=1, order="shuffled")
    yield _asked(
        "all, batch size 1, shuffled", _dragged(compute, ones, _apart(), moves)
    )


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds of the process, and of the wall, for each place; and of the first."""

    process: tuple[float, ...]
    wall: tuple[float, ...]
    first: float


def _asked(name: str, found: Times) -> Row:
    middle, worst = statistics.median(found.process), max(found.process)
    wall = statistics.median(found.wall)
    return Row(
        f"explorer: {name}",
        f"explorer, {SAMPLES} points, one dragged through {len(found.wall)} places: "
        f"{name}",
        "what is asked",
        seconds(LIMIT),
        seconds(middle),
        LIMIT / middle,
        1.0,
        max(0.0, found.first - wall),
        f"at most {seconds(worst)} of process time; wall {seconds(wall)}, at most "
        f"{seconds(max(found.wall))}",
    )


def _dragged(
    work: Callable[[State], Any], plain: State, points: Points, moves: int
) -> Times:
    process, wall = [], []
    for i in range(moves + 2):  # two places to warm up
        x, y, label = points[0]
        moved = ((x + 0.01 * i, y - 0.005 * i, label), *points[1:])
        state = plain.but(points=moved)
        begun = time.process_time(), time.perf_counter()
        jax.block_until_ready(work(state))
        process.append(time.process_time() - begun[0])
        wall.append(time.perf_counter() - begun[1])
    return Times(tuple(process[2:]), tuple(wall[2:]), wall[0])


def _optimum(state: State, norm: pn.norms.AbstractNorm) -> pn.MaxMargin:
    problem = repeated(state.points, state.loss, state.bias)
    return pn.max_margin(problem, norm)


def _apart() -> Points:
    X = np.random.default_rng(0).normal(size=(SAMPLES, 2)) + 2.0
    X[SAMPLES // 2 :] *= -1.0
    return _labelled(X)


def _mixed() -> Points:
    X = np.random.default_rng(0).normal(size=(SAMPLES, 2)) + 0.3
    X[SAMPLES // 2 :] *= -1.0
    return _labelled(X)


def _labelled(X: np.ndarray) -> Points:
    return tuple(
        (float(x), float(y), 1 if i < SAMPLES // 2 else -1)
        for i, (x, y) in enumerate(X)
    )
