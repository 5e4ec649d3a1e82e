"""Public functions called with an argument of a wrong type: a TypeError or ValueError.

Run as a program, without the type checks that pytest's session adds:
`python -m tests.fuzz.calls SEED COUNT` prints a line for each call that ends otherwise.
"""

import inspect
import signal
import sys
import traceback
import warnings

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
LONG = 4
"""Seconds after which a call is given up."""

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
    return any(f".{word}" in kind.__module__ for word in made.split())


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


def failures(seed, count):
    """What went wrong in `count` calls, a line for each place."""
    good, names, told = good_values(), functions(), set()
    signal.signal(signal.SIGALRM, _long)
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        name = list(names)[i % len(names)]
        shown, run = call(names[name], good, rng)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                signal.alarm(LONG)
                try:
                    repr(run())
                finally:
                    signal.alarm(0)
        except (TypeError, ValueError, FileNotFoundError, _LongError):
            continue
        except Exception as error:  # noqa: BLE001
            if any(
                k.__name__ in (names[name].__doc__ or "")
                for k in type(error).mro()[:-3]
            ):
                continue  # it is documented
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{last.filename.rpartition('penchant/')[2]}:{last.lineno}"
            key = name, type(error).__name__, where
            if key not in told:
                told.add(key)
                yield f"{name}({shown}): {error!r:.150} at {where}, call {i}"


class _LongError(BaseException):
    """A call that takes long is no fault: the other arguments were in place."""


def _long(*_):
    raise _LongError


if __name__ == "__main__":
    for line in failures(int(sys.argv[1]), int(sys.argv[2])):
        print(line, flush=True)  # noqa: T201
