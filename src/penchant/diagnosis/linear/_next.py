"""What to do next: commands that may settle a verdict, or change it."""

import math
import shlex
from typing import Any

import numpy as np

from penchant import optimizers
from penchant.diagnosis.linear._progress import Progress
from penchant.diagnosis.linear._tightness import Tightness
from penchant.estimators import Convergence
from penchant.theory import Regime
from penchant.theory.regimes import RegimeName
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
    tightness: Tightness,
    phase: Regime | None = None,
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
    elif state is Progress.SHORT and tightness.units:
        found.append({"--standardize": ""})
    elif state is Progress.SHORT:
        found.append(_steps_times(run, 10.0))
        found.append({"--steps": _number(10 * last)})
    if state is Progress.RISING and phase is not None:
        found += _past(phase, run)
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


def _past(phase: Regime, run: Trajectory) -> list[dict[str, str]]:
    """Out of a phase in which a rule divides by gradients of long ago."""
    second = run.rule.optimizer.character().second
    if phase.name != RegimeName.THROTTLED or second is None:
        return []
    typed = optimizers.as_options(run.rule.optimizer) or ""
    _, takes = optimizers.OPTIMIZERS.get(typed.partition(" ")[0], (None, ()))
    # a shorter memory ends it sooner: after ∝ (1 - b2)^(-1/a) steps η0 t^-a
    long = second.kind == "mean" and float(np.asarray(second.decay)) > 0.95
    sooner = [{"--b2": "0.95"}] if long and "b2" in takes else []
    if phase.end < MOST * int(run.steps[-1]):
        sooner.append({"--steps": _number(2 * phase.end)})
    return sooner


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


OWN = {"optimizer", "weight_decay", "betas", "like", "lr", "step_size", "batch_size"}
OWN |= {"order", "out", "check", "quiet", "json"}
"""Options of one run; those of the data go with a comparison too."""


def _compare(base: str) -> str:
    """Others beside it, on the same data: with the options that say which those are."""
    own = OWN.union(*(takes for _, takes in optimizers.OPTIMIZERS.values()))
    words, kept = shlex.split(base)[2:], list[str]()
    rule, dropped = "", False
    for word in words:
        if word.startswith("--"):
            name = word[2:].partition("=")[0].replace("-", "_")
            dropped = name in own
        elif dropped:
            rule, dropped = rule or word, False
            continue
        if not dropped:
            kept.append(word)
    first = [rule] if rule in optimizers.OPTIMIZERS else []
    rules = [*first, *(other for other in USUAL if other != rule)][:3]
    given = ["penchant", "compare", *kept, "--optimizers", ",".join(rules)]
    return shlex.join(given)


USUAL = ("gd", "adam", "sign")
"""Rules to hold one's own against."""


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
