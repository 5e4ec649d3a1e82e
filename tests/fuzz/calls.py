"""Public functions called with an argument of a wrong type: a TypeError or ValueError.

Run as a program, without the type checks that pytest's session adds:
`python -m tests.fuzz.calls SEED START COUNT` prints the number of each call, and a line
for each that ends otherwise.
"""

import inspect
import os
import queue
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from pathlib import Path

import numpy as np

import penchant as pn

PLACES = (
    *("", ".norms", ".optimizers", ".losses", ".batching", ".schedules", ".datasets"),
    *(".margins", ".theory", ".training", ".flows", ".estimators", ".problems"),
    *(".networks", ".plotting", ".pages", ".diagnosis"),
)
JUNK = (
    *("x", "", b"x", None, -1, 2.5, float("nan"), float("inf"), 2**70, 1j, object()),
    *([], {}, (), {"a": 1}, [[1, 2], [3]], np.zeros(0), np.array("x"), np.eye(2)),
    *(np.full(9, np.nan), np.array([None, 1]), int, len, Exception("x")),
)
LONG, START = 8.0, 120.0
"""Seconds after which a call is given up, and those that a process has to begin."""

SLOW = {"explore", "open", "reproduce"}


def good_values():
    """Arguments that fit, by the names that parameters have."""
    data = pn.datasets.gaussian(6, 9, seed=0)
    problem = data.problem()
    rule = pn.optimizers.SignDescent()
    run = pn.train(problem, rule, steps=8, step_size=0.1, record=3)
    w = run.weights[-1]
    return {
        **dict.fromkeys(("problem", "classification"), problem),
        **dict.fromkeys(("optimizer", "rule", "tx"), rule),
        **dict.fromkeys(("run", "trajectory"), run),
        **dict.fromkeys(("w", "weights", "g", "start", "init", "direction"), w),
        **dict.fromkeys(("norm", "of", "a", "b"), pn.norms.L2()),
        **dict.fromkeys(("X", "A", "examples"), np.asarray(problem.X)),
        **dict.fromkeys(("y", "labels"), np.asarray(problem.y)),
        **dict.fromkeys(("steps", "record", "n", "d", "k", "size", "length"), 3),
        **dict.fromkeys(("step_size", "scale", "gamma", "p", "q", "eps", "time"), 0.5),
        **dict.fromkeys(("b1", "b2", "beta", "momentum", "rho", "decay"), 0.5),
        "schedule": pn.schedules.power(0.1, 0.5),
        "batching": pn.batching.FullBatch(),
        "loss": pn.losses.Logistic(),
        "key": 0,
        "seed": 0,
        "grid": {"step_size": [0.1]},
        "norms": [pn.norms.L2()],
        "margin": 0.1,
        "dataset": data,
        "text": "l2",
        "name": "l2",
    }


def functions():
    """Public functions and classes by their names."""
    found = {}
    for place in PLACES:
        module = getattr(pn, place[1:], None) if place else pn
        if module is None:
            continue
        for name in getattr(module, "__all__", None) or dir(module):
            thing = getattr(module, name, None)
            if name.startswith(("_", "Abstract")) or not callable(thing):
                continue
            if not getattr(thing, "__module__", "").startswith("penchant"):
                continue
            if inspect.isclass(thing) and (
                inspect.isabstract(thing) or issubclass(thing, BaseException)
            ):
                continue
            if name in SLOW or (inspect.isclass(thing) and not _is_made(thing)):
                continue
            found.setdefault(f"{thing.__module__}.{name}", thing)
    return dict(sorted(found.items()))


def _is_made(kind):
    """Whether a user makes objects of a class: rules, norms, losses, batchings, …"""
    made = "norms optimizers losses batching schedules problems"
    results = "_like", "_character"
    return any(f".{word}" in kind.__module__ for word in made.split()) and not (
        kind.__module__.endswith(results)
    )


def call(function, good, rng):
    """Call with one wrong argument, the others in place; how it was written."""
    parameters = [
        p
        for p in inspect.signature(function).parameters.values()
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    if not parameters:
        return "", lambda: None
    wrong = parameters[rng.integers(len(parameters))].name
    given = {}
    for p in parameters:
        if p.name == wrong:
            given[p.name] = JUNK[rng.integers(len(JUNK))]
        elif p.name in good and (p.default is p.empty or rng.random() < 0.1):
            given[p.name] = good[p.name]
        elif p.default is p.empty:
            given[p.name] = JUNK[rng.integers(len(JUNK))]
    positional = [
        given.pop(p.name)
        for p in parameters
        if p.kind is p.POSITIONAL_ONLY and p.name in given
    ]
    shown = f"{wrong}={given.get(wrong, positional)!r}"
    return shown, lambda: function(*positional, **given)


def failures(seed, start, count):
    """Make the calls from `start` on; the number of each, and what went wrong."""
    good, names = good_values(), functions()
    for i in range(start, count):
        print(i, flush=True)  # noqa: T201
        rng = np.random.default_rng([seed, i])
        name = list(names)[i % len(names)]
        shown, run = call(names[name], good, rng)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                repr(run())
        except (TypeError, ValueError, FileNotFoundError):
            continue
        except Exception as error:  # noqa: BLE001
            if any(
                k.__name__ in (names[name].__doc__ or "")
                for k in type(error).mro()[:-3]
            ):
                continue  # it is documented
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{last.filename.rpartition('penchant/')[2]}:{last.lineno}"
            yield f"{name}({shown}): {error!r:.150} at {where}, call {i}"


def watched(seed, count):
    """What went wrong in `count` calls, made by a process that may hang or die.

    A call that takes long is no fault, the other arguments were in place: the process
    is ended and another goes on with the next call.
    """
    with tempfile.TemporaryDirectory() as folder:  # "x" is a good name of a file
        return _watched(seed, count, folder)


def _watched(seed, count, folder):
    paths = str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")
    start, told = 0, []
    while start < count:
        with subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.fuzz.calls",
                str(seed),
                str(start),
                str(count),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        ) as child:
            lines = queue.SimpleQueue()
            reader = threading.Thread(target=_read, args=(child.stdout, lines))
            reader.start()
            wait, at = START, start - 1
            while True:
                try:
                    line = lines.get(timeout=wait)
                except queue.Empty:
                    child.kill()
                    break
                if line is None:
                    break
                if line.isdigit():
                    wait, at = LONG, int(line)
                else:
                    told.append(line)
            reader.join()
            if child.wait() != 0 and line is None:
                told.append(
                    f"call {at} ended the process: {child.stderr.read()[-300:]}"
                )
        if at < start:
            raise RuntimeError(f"no call was made: {told}")
        start = at + 1
    return told


def _read(stream, lines):
    for line in stream:
        lines.put(line.strip())
    lines.put(None)


if __name__ == "__main__":
    for line in failures(*map(int, sys.argv[1:])):
        print(line, flush=True)  # noqa: T201
