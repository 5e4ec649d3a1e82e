"""How costs grow with samples, features, classes, steps, lanes and cores."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import penchant as pn
from benchmarks import adam_per_sample
from benchmarks._timing import clock, measure, seconds
from benchmarks.full_batch import class_centres
from penchant.training._lanes import cores

BUDGET = 180.0
SLOWEST = 20.0  # seconds of one call beyond which a line is not carried on
LONG_ENOUGH = 0.15  # seconds of a run beside which its start counts for little
BASE = {"n": 500, "d": 32, "k": 10}
POINTS = {
    "n": (125, 500, 2000, 8000),
    "d": (16, 32, 64, 128),
    "k": (3, 6, 12, 24),
    "lanes": (1, 4, 16, 64, 256, 1024),
}
AXES = {
    "n": "samples n",
    "d": "features d",
    "k": "classes k",
    "steps": "steps",
    "lanes": "lanes of a sweep",
    "cores": "cores",
}
WHOLE = ("steps", "lanes", "cores")
"""Panels whose times are of all the work, not of one step."""

SIGN = "sign descent"
SPECTRAL = "spectral descent"
ADAM = "Adam, one sample a step"
LIMIT = "arithmetic or memory"
IDEAL = "one lane's time over the cores"
LANE_STEPS = 20_000
MOST_LANES = 1024
STEPS = {
    SIGN: (1_000, 3_000, 10_000, 30_000),
    SPECTRAL: (1_000, 3_000, 10_000, 30_000),
    ADAM: (1_000, 10_000, 100_000, 1_000_000),
}
RULES = {
    SIGN: pn.optimizers.SignDescent(),
    SPECTRAL: pn.optimizers.SteepestDescent(pn.norms.Spectral()),
    ADAM: adam_per_sample.ADAM,
}
NORMS = (pn.norms.L2(), pn.norms.Linf(), pn.norms.Spectral())

# Okabe and Ito's colours, which the colour-blind can tell apart
STYLES = {
    SIGN: ("#0072B2", "o"),
    SPECTRAL: ("#D55E00", "s"),
    ADAM: ("#009E73", "^"),
    "max_margin, ℓ2": ("#56B4E9", "v"),
    "max_margin, ℓ∞": ("#E69F00", "D"),
    "max_margin, spectral": ("#CC79A7", "P"),
    LIMIT: ("0.4", ""),
    IDEAL: ("0.4", ""),
}


@dataclasses.dataclass(frozen=True)
class Line:
    """Seconds of one kind of work as one size grows."""

    axis: str
    work: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def exponent(self) -> float:
        """The slope on logarithmic axes over the larger half of the sizes."""
        half = len(self.sizes) // 2
        if len(self.sizes) - half < 2:
            return math.nan
        slope, _ = np.polyfit(
            np.log(self.sizes[half:]), np.log(self.seconds[half:]), deg=1
        )
        return float(slope)


def section(file: Path, quick: bool) -> str:
    """Measure, draw to `file`, and describe as Markdown."""
    base = ", ".join(f"{name}={size}" for name, size in BASE.items())
    peak = peak_rate()
    lines = measure_all(quick, peak)
    draw(lines, file)
    return f"""## How costs grow

![Time against samples, features, classes, steps, lanes and cores]({file.name})

In the first three panels one size varies and the others stay at {base} (classes about
Gaussian centres, cross-entropy): full lines are the time of one full-batch training
step, dashed ones that of `max_margin` to a gap of 1e-5. The fourth panel is the time of
whole training runs, after compilation; Adam there is the run of the table, n=10, d=50.
The fifth is a sweep of that run over seeds, {LANE_STEPS:,} steps each, and the sixth
one of {MOST_LANES:,} seeds on so many cores. Dotted: what a step's two matrix products
take at this machine's best ({peak / 1e9:.0f} GFLOP/s of float64), or what it takes to
read the samples twice if that is more; in the last panels one lane's time over the
cores. Each panel has {BUDGET / len(AXES):.0f} seconds; points that did not fit are left
out.

{table(lines)}"""


def table(lines: Sequence[Line]) -> str:
    """Exponents over the larger half of the sizes, with those of the limit beside."""
    told = ["| size | work | from | to | exponent |", "|---|---|---|---|---|"]
    for line in lines:
        if not line.sizes:
            continue
        least, most = line.sizes[0], line.sizes[-1]
        slope = f"{line.exponent:.2f}" if math.isfinite(line.exponent) else "–"
        told.append(
            f"| {AXES[line.axis]} | {line.work} | {least:,}: "
            f"{seconds(line.seconds[0])} | {most:,}: {seconds(line.seconds[-1])} "
            f"| {slope} |"
        )
    return "\n".join(told)


def peak_rate() -> float:
    """Floating-point operations a second of float64 products."""
    A = np.random.default_rng(0).normal(size=(1000, 1000))
    return 2 * 1000**3 / min(clock(lambda: A @ A)[0] for _ in range(5))


def reading(count: int) -> float:
    """Seconds to read so many numbers once, from whichever cache they lie in."""
    x, calls = np.ones(count), max(1, 10_000_000 // count)

    def read() -> None:
        for _ in range(calls):
            x.dot(x)

    return min(clock(read)[0] for _ in range(3)) / calls


def measure_all(quick: bool, peak: float) -> list[Line]:
    """The lines of all panels, each panel within its share of the time."""
    lines = []
    for axis in AXES:
        deadline = time.monotonic() + BUDGET / len(AXES)
        for work, sizes, time_at in _work_on(axis):
            sizes = sizes[:2] if quick else sizes
            lines.append(_grow(axis, work, sizes, time_at, deadline))
        limit = _limit(axis, lines, peak)
        if limit is not None:
            lines.append(limit)
    return lines


def _limit(axis: str, lines: Sequence[Line], peak: float) -> Line | None:
    """What no implementation goes below, where that is known."""
    if axis in BASE:
        taken = []
        for size in POINTS[axis]:
            n, d, k = (BASE | {axis: size}).values()
            # scores and gradient: two products, which read the samples twice
            taken.append(max(4 * n * d * k / peak, 2 * reading(n * d)))
        return Line(axis, LIMIT, tuple(POINTS[axis]), tuple(taken))
    here = [line for line in lines if line.axis == axis and line.sizes]
    if axis == "steps" or not here:
        return None
    sizes, first = here[0].sizes, here[0].seconds[0]
    over = [first / c if axis == "cores" else first * c / cores() for c in sizes]
    return Line(axis, IDEAL, sizes, tuple(over))


def _work_on(axis: str) -> Iterator[tuple[str, Sequence[int], Callable[[int], float]]]:
    if axis == "steps":
        for work, sizes in STEPS.items():
            yield work, sizes, _whole_runs(work)
        return
    if axis == "lanes":
        yield ADAM, POINTS[axis], lambda lanes: _sweep_seconds(lanes, cores())
        return
    if axis == "cores":
        counts = sorted({2**i for i in range(10) if 2**i <= cores()} | {cores()})
        yield ADAM, counts, lambda count: _sweep_seconds(MOST_LANES, count)
        return
    for work in (SIGN, SPECTRAL):
        yield work, POINTS[axis], _steps_of(axis, work)
    for norm in NORMS:
        yield f"max_margin, {norm.label}", POINTS[axis], _margins_of(axis, norm)


def _grow(
    axis: str,
    work: str,
    sizes: Sequence[int],
    time_at: Callable[[int], float],
    deadline: float,
) -> Line:
    taken: list[float] = []
    for size in sizes:
        if time.monotonic() > deadline:
            break
        begun = time.monotonic()
        taken.append(time_at(size))
        if time.monotonic() - begun > SLOWEST:
            break
    return Line(axis, work, tuple(sizes[: len(taken)]), tuple(taken))


def _problem(sizes: dict[str, int]) -> pn.LinearClassification:
    return class_centres(**(BASE | sizes))


def _steps_of(axis: str, work: str) -> Callable[[int], float]:
    def time_at(size: int) -> float:
        problem, steps = _problem({axis: size}), 128
        _train(problem, work, steps)  # compiles
        while (taken := _train_seconds(problem, work, steps)) < LONG_ENOUGH:
            steps *= 2
        return taken / steps

    return time_at


def _whole_runs(work: str) -> Callable[[int], float]:
    problem = adam_per_sample.gaussian(n=10, d=50) if work == ADAM else _problem({})

    def time_at(steps: int) -> float:
        _train(problem, work, steps=64)  # compiles
        return _train_seconds(problem, work, steps)

    return time_at


def _margins_of(axis: str, norm: pn.norms.AbstractNorm) -> Callable[[int], float]:
    def time_at(size: int) -> float:
        problem = _problem({axis: size})
        return measure(lambda: pn.max_margin(problem, norm, tol=1e-5), repeats=1).best

    return time_at


class Cores(pn.executors.Here):
    """This process, on so many cores."""

    def __init__(self, count: int):
        self.count = count

    @property
    def threads(self) -> int:
        return self.count


def _sweep_seconds(lanes: int, count: int) -> float:
    problem = adam_per_sample.gaussian(n=10, d=50)

    def sweep() -> Any:
        return pn.sweep(
            problem,
            RULES[ADAM],
            steps=LANE_STEPS,
            step_size=adam_per_sample.STEP_SIZE,
            batching=pn.batching.Shuffled(1),
            grid={"seed": range(lanes)},
            weights=False,
            record=2,
            executor=Cores(count),
        )

    sweep()  # compiles
    return clock(sweep)[0]


def _train_seconds(problem: pn.LinearClassification, work: str, steps: int) -> float:
    return clock(lambda: _train(problem, work, steps))[0]


def _train(problem: pn.LinearClassification, work: str, steps: int) -> pn.Trajectory:
    batching = pn.batching.Cyclic(1) if work == ADAM else pn.batching.FullBatch()
    return pn.train(
        problem,
        RULES[work],
        batching=batching,
        step_size=pn.schedules.power(0.1, 0.5),
        steps=steps,
        record=2,
    )


def draw(lines: Sequence[Line], file: Path) -> None:
    """A panel for each axis, as SVG that depends on `lines` alone."""
    with mpl.rc_context({"svg.hashsalt": "penchant", "font.size": 9.0}):
        figure = Figure(figsize=(9.0, 11.0), layout="constrained")
        panels = figure.subplots(3, 2).ravel()
        for panel, (axis, label) in zip(panels, AXES.items(), strict=True):
            here = [line for line in lines if line.axis == axis and line.sizes]
            _draw_panel(panel, here, label)
        metadata = {"Date": None} if file.suffix == ".svg" else {}
        figure.savefig(file, metadata=metadata, dpi=150)


def _legend(line: Line) -> str:
    known = math.isfinite(line.exponent)
    return f"{line.work}: {line.exponent:.1f}" if known else line.work


def _draw_panel(panel: Axes, lines: Sequence[Line], label: str) -> None:
    for line in lines:
        colour, marker = STYLES[line.work]
        style = "--" if line.work.startswith("max_margin") else "-"
        style = ":" if line.work in (LIMIT, IDEAL) else style
        panel.loglog(
            line.sizes,
            line.seconds,
            color=colour,
            marker=marker,
            markersize=4.5,
            linestyle=style,
            label=_legend(line),
        )
    whole = label in [AXES[name] for name in WHOLE]
    if label != AXES["steps"]:
        sizes = sorted({size for line in lines for size in line.sizes})
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
        panel.set_xticks([], minor=True)
    panel.set_xlabel(label)
    panel.set_ylabel("seconds a run" if whole else "seconds a step, or a solution")
    panel.grid(visible=True, which="major", color="0.9")
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    if lines and whole:
        panel.set_ylim(top=10 * panel.get_ylim()[1])  # room for the legend
    if lines:
        panel.legend(
            loc="upper left" if whole else "best",
            title="work: exponent",
            alignment="left",
            fontsize=7.5,
            title_fontsize=7.5,
            frameon=False,
        )
