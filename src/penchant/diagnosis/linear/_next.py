"""What to do next: commands that would settle a verdict, or change it."""

import math
import shlex
from typing import Any

from penchant import optimizers
from penchant.diagnosis.linear._progress import Progress
from penchant.estimators import Convergence
from penchant.training import Trajectory
from penchant.training.schedules import Constant, Power

MOST = 100.0
"""How many times as long a run is proposed at most."""


def next_steps(
    command: str | None,
    run: Trajectory,
    state: Progress,
    fit: Convergence | None,
    *,
    eps_decides: bool,
    agrees: bool | None,
) -> tuple[str, ...]:
    """One or two commands, each starting `penchant `, the most telling first."""
    base = _base(command, run)
    if base is None:
        return ()  # a rule that the command line can't name
    last = int(run.steps[-1])
    found: list[dict[str, str]] = []
    if state in (Progress.SWINGING, Progress.STALLED, Progress.STOPPED):
        found.append(_steps_times(run, 0.2))
        found.append(_falling(run))
    elif state is Progress.SHORT:
        found.append(_steps_times(run, 10.0))
        found.append({"--steps": _number(10 * last)})
    if eps_decides:
        found.append({"--eps": "0"})
    if state is Progress.RISING and fit is not None and fit.needed < MOST * last:
        found.append({"--steps": _number(math.ceil(fit.needed))})
    elif state is Progress.RISING and not eps_decides:
        found.append(_steps_times(run, 10.0))
    told = [changed(base, options) for options in found if options]
    if not told or agrees:
        told.append(_compare(base))
    return tuple(told[:2])


def without_margin(command: str | None, run: Trajectory) -> tuple[str, ...]:
    """For data that no weights separate: a bias may, if there is none."""
    base = _base(command, run)
    if base is None or run.rule.problem.bias:
        return ()
    return (changed(base, {"--bias": ""}),)


def changed(command: str, options: dict[str, str]) -> str:
    """The command with these options set; an empty value is a flag.

    >>> from penchant.diagnosis.linear._next import changed
    >>> changed("penchant diagnose digits --eps 1e-8 --seed 1", {"--eps": "0"})
    'penchant diagnose digits --seed 1 --eps 0'
    """
    words = shlex.split(command)
    kept: list[str] = []
    skip = False
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if skip:
            skip = False
            continue
        name, _, given = word.partition("=")
        if name in options:
            # a value that follows goes with its option
            skip = not given and options[name] != "" and not after.startswith("--")
            continue
        kept.append(word)
    for name, value in options.items():
        kept += [name, value] if value else [name]
    return shlex.join(kept)


def _base(command: str | None, run: Trajectory) -> str | None:
    if command is not None and command.startswith("penchant diagnose"):
        return command
    typed = optimizers.as_options(run.rule.optimizer)
    return None if typed is None else f"penchant diagnose DATA --optimizer {typed}"


def _compare(base: str) -> str:
    return f"penchant compare {shlex.split(base)[2]} --optimizers gd,adam,sign"


def _steps_times(run: Trajectory, factor: float) -> dict[str, str]:
    schedule = run.rule.schedule
    if isinstance(schedule, Constant):
        return {"--step-size": _typed(factor * float(schedule.scale))}
    if isinstance(schedule, Power):
        scale = _typed(factor * float(schedule.scale))
        return {"--step-size": f"{scale}*t^-{float(schedule.exponent):g}"}
    return {}


def _falling(run: Trajectory) -> dict[str, str]:
    """A constant step as one that falls, with the same sum over the run."""
    schedule: Any = run.rule.schedule
    if not isinstance(schedule, Constant):
        return {}
    scale = 0.5 * float(schedule.scale) * math.sqrt(max(int(run.steps[-1]), 1)) / 5.0
    return {"--step-size": f"{_typed(scale)}*t^-0.5"}


def _typed(value: float) -> str:
    return f"{value:.3g}"


def _number(steps: float | int) -> str:
    return f"{float(f'{steps:.2g}'):.0f}"
