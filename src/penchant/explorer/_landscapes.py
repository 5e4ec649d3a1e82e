"""Toy landscapes: a run, the flows that stand for it, and where each ends."""

import time
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import penchant as pn
from penchant.explorer._state import State

LONG, LONG_ADAPTIVE = 2000, 500
"""Steps that flows follow; those with a second moment cost the square of them."""

SHORT = 400
"""Points of a path that are drawn."""

MOST_STEPS = 40_000
MOST_TIME = 400.0
LEAST_EPS = 1e-4
"""Below this ε a slow flow that meets a kink takes minutes to fail."""

WINDOWS = {
    "ellipse": ((-1.9, 1.9), (-1.9, 1.9)),
    "valley": ((0.0, 4.4), (0.0, 4.4)),
    "pair": ((-2.0, 2.0), (-2.0, 2.0)),
}
CELLS = 13
"""Starts of the pair along either axis."""

NEAR = 0.995
"""Cosine with a limit from which a run counts as on its way there."""


def ellipse(w: Array, X: Array) -> Any:
    """An ellipse of minimisers, with half axes 2 along x = y and 1 across."""
    return (w[0] + w[1]) ** 2 / 8 + (w[1] - w[0]) ** 2 / 2 - 1 + 0 * X[:, 0]


def valley(w: Array, X: Array) -> Any:
    """A valley of minimisers along the hyperbola xy = 3/4."""
    return 2 * w[0] * w[1] - 1.5 + 0 * X[:, 0]


MODELS = {"ellipse": ellipse, "valley": valley}
SPOTS = {
    "ellipse": {
        "least tr H": (2**0.5, 2**0.5),
        "least tr Diag(H)^½": (3 / 10**0.5, 5 / 10**0.5),
    },
    "valley": {"least tr H": (0.75**0.5, 0.75**0.5)},
}
"""The minimisers that the theory of sharpness singles out, in closed form."""


@dataclass(frozen=True)
class Landscape:
    """What is computed of a landscape.

    `paths` maps `run`, `flow`, `corrected flow` and `slow flow` to their `(r, 2)`
    points; `missing` says in a sentence why one is not among them, or ends early.
    `spots` are the minimisers singled out. `x`, `y` `(g,)` and `z` `(g, g)`, a row a
    `y`, are the picture below: the log of the loss, or of the pair the number of the
    limit that a run started there tends to, -1 for none yet. `limits` `(m, 3)` are
    these limits, of length 1.
    """

    state: State
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    paths: dict[str, np.ndarray]
    missing: dict[str, str]
    spots: dict[str, tuple[float, float]]
    steps: np.ndarray
    seconds: float
    limits: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))

    @property
    def record(self) -> int:
        """The record of the run that the time slider stands at."""
        return round(self.state.at * (len(self.steps) - 1))

    @property
    def ends(self) -> dict[str, np.ndarray]:
        """The last point of each path."""
        return {name: path[-1] for name, path in self.paths.items()}


def landscape(state: State) -> Landscape:
    """Compute what a page on a landscape shows.

    Raises:
        ValueError: If the work is more than a page does.
    """
    if state.steps > MOST_STEPS:
        raise ValueError(
            f"steps must be at most {MOST_STEPS} on a landscape; got {state.steps}."
        )
    return _pair(state) if state.landscape == "pair" else _toy(state)


def problem_of(state: State) -> pn.Regression:
    """The regression whose minimisers the landscape shows."""
    return pn.Regression(
        MODELS[state.landscape],
        np.array([state.x, state.y]),
        np.zeros((1, 1)),
        np.zeros(1),
        label_noise=state.noise,
    )


def flow_steps(state: State) -> int:
    """Steps for which the flows are followed, fewer than those of a long run."""
    return min(state.steps, LONG_ADAPTIVE if "b2" in state.options else LONG)


def schedule_of(state: State) -> Any:
    """Constant step sizes, or a power law."""
    if state.power == 0:
        return state.step
    return pn.schedules.power(state.step, state.power)


def _toy(state: State) -> Landscape:
    begun = time.perf_counter()
    problem, rule, sizes = problem_of(state), state.optimizer, schedule_of(state)
    run = pn.train(
        problem, rule, steps=state.steps, step_size=sizes, record=SHORT, progress=False
    )
    first = np.array([[state.x, state.y]])
    paths, missing = {"run": np.vstack([first, np.asarray(run.weights)])}, {}
    for order, name in ((1, "flow"), (2, "corrected flow")):
        paths[name] = np.asarray(
            pn.flows.modified_flow(
                problem,
                rule,
                step_size=sizes,
                steps=flow_steps(state),
                order=order,
            )
        )
    slow, why = _slow(state, problem)
    if slow is None:
        missing["slow flow"] = why
    else:
        paths["slow flow"] = slow
    for name, path in paths.items():
        paths[name], left = _inside(path)
        if left:
            missing[name] = f"The {name} leaves the picture, and is cut there."
    (x, y), z = _ground(state)
    return Landscape(
        state=state,
        x=x,
        y=y,
        z=z,
        paths={name: _thinned(path) for name, path in paths.items()},
        missing=missing,
        spots=SPOTS[state.landscape],
        steps=np.concatenate([[0], np.asarray(run.steps)]),
        seconds=time.perf_counter() - begun,
    )


def _slow(state: State, problem: pn.Regression) -> tuple[np.ndarray | None, str]:
    """The slow flow under the label noise of the run; or why there is none."""
    if state.noise == 0:
        return None, "There is no slow flow without label noise."
    if state.power > 0:
        return None, "The slow flow is drawn for constant step sizes."
    if state.eps < LEAST_EPS and "b2" in state.options:
        return None, (
            f"The slow flow is drawn from an ε of {LEAST_EPS:g} on: below, it does not "
            "get past a kink."
        )
    rate = None
    if "b2" in state.options:
        rate = (1 - state.b2) / state.step**2
    T = min(state.steps * state.step**2, MOST_TIME)
    try:
        flow = pn.flows.slow_flow(
            problem, state.optimizer, noise=state.noise**2, time=T, rate=rate
        )
    except (pn.flows.MonitorError, pn.flows.NotInterpolatingError) as error:
        return None, f"No slow flow: {error}"
    return np.asarray(flow.weights), ""


def _inside(path: np.ndarray) -> tuple[np.ndarray, bool]:
    """A path up to where it leaves the numbers that are drawn, and whether it does."""
    out = np.flatnonzero(~(np.abs(path) < 6.0).all(axis=1))
    if not len(out):
        return path, False
    return path[: max(int(out[0]), 1)], True


def _thinned(path: np.ndarray) -> np.ndarray:
    """At most so many of its points, with both ends."""
    if len(path) <= SHORT + 1:
        return path
    return path[np.linspace(0, len(path) - 1, SHORT).round().astype(int)]


def _ground(state: State, cells: int = 90) -> Any:
    """The log of the loss on a grid."""
    x, y = (np.linspace(*side, cells) for side in WINDOWS[state.landscape])
    w = np.stack(np.meshgrid(x, y)).reshape(2, -1)
    at = jnp.asarray(w), jnp.zeros((1, 1))
    values = np.asarray(MODELS[state.landscape](*at))
    return (x, y), np.log(0.5 * values**2 + 1e-4).reshape(cells, cells)


def pair_start(x: Any, y: Any) -> Any:
    """The weights that a point of the pair's picture stands for: (x, -x, y)."""
    return np.stack([x, -np.asarray(x), y], axis=-1)


def _pair(state: State) -> Landscape:
    begun = time.perf_counter()
    problem = pn.datasets.bistable().problem(state.loss)
    rule, batches = state.optimizer, pair_batching(state)
    x, y = (np.linspace(*side, CELLS) for side in WINDOWS["pair"])
    cells = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    starts = np.vstack([cells, [[state.x, state.y]]])
    runs = pn.sweep(
        problem,
        rule,
        grid={"init": pair_start(*starts.T)},
        steps=state.steps,
        step_size=schedule_of(state),
        batching=batches,
        record=60,
        progress=False,
    )
    w, steps = np.asarray(runs.weights), np.asarray(runs.step)
    half = int(np.argmin(np.abs(steps - steps[-1] // 2)))
    moved = w[:, -1] - w[:, half]
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    moved = moved / np.where(length > 0, length, 1.0)
    limits = pair_limits(problem, rule, batches)
    match = moved @ limits.T
    reached = np.where(match.max(axis=1) > NEAR, match.argmax(axis=1), -1)
    path = np.stack([(w[-1, :, 0] - w[-1, :, 1]) / 2, w[-1, :, 2]], axis=1)
    return Landscape(
        state=state,
        x=x,
        y=y,
        z=reached[:-1].reshape(CELLS, CELLS).astype(float),
        paths={"run": np.vstack([starts[-1:], path])},
        missing={},
        spots={},
        steps=np.concatenate([[0], steps]),
        seconds=time.perf_counter() - begun,
        limits=limits,
    )


def pair_batching(state: State) -> pn.batching.AbstractBatching:
    """One sample a step, or both."""
    if state.batch == 1:
        return pn.batching.read(1, state.order)
    return pn.batching.FullBatch()


def pair_limits(
    problem: pn.LinearClassification,
    rule: pn.optimizers.AbstractOptimizer,
    batches: pn.batching.AbstractBatching,
) -> np.ndarray:
    """The limits that theory has, `(m, 3)` of length 1: stable ones, or the optima."""
    found = []
    second = rule.character().second
    if second is not None and second.eps == 0 and not batches.covers(problem.samples):
        told = pn.theory.adam_limits(problem, rule, batching=batches)
        found = [one.direction for one in told.limits if one.stable is not False]
    else:
        told = pn.predict(problem, rule, batching=batches)
        found = [] if told.weights is None else [told.weights]
    table = np.array([np.asarray(w) for w in found]).reshape(-1, 3)
    table = table / np.linalg.norm(table, axis=1, keepdims=True)
    return table[np.argsort(table[:, 2], kind="stable")]
