"""Two features: largest margins, a run, and where each draws its line."""

import time
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.diagnosis import Minimiser, find_minimiser
from penchant.explorer._padded import Padded, padded, repeated
from penchant.explorer._state import State

NORMS = (pn.norms.L1(), pn.norms.L2(), pn.norms.Linf())
RECORDS = 120
SHARE = "share of the largest margin"


@dataclass(frozen=True)
class Features:
    r"""What is computed of points: optima, or the minimiser, and a run.

    `best` maps the norms' labels to largest margins, empty where no weights separate
    the points; `minimiser` is then where the loss is least, else None. `steps` `(r,)`
    are the records of the run, `weights` `(r, d)` its weights there, `shares` maps the
    norms to $\min_iq_i(w_t)/(\|w_t\|\gamma)$ `(r,)`. `told` is the norm that theory
    foretells for this rule on full batches; None where it foretells none, and for
    smaller batches, where `predict` takes seconds. `phases` are the stretches of steps
    that it foretells then, as throttled, sign-like and below ε, in order; good to a
    factor of about 1.2. `seconds` is what it took.
    """

    state: State
    best: dict[str, pn.MaxMargin]
    minimiser: Minimiser | None
    why: str
    steps: np.ndarray
    weights: np.ndarray
    shares: dict[str, np.ndarray]
    told: str | None
    phases: tuple[pn.theory.Regime, ...]
    seconds: float

    @property
    def X(self) -> np.ndarray:
        """The samples `(n, d)`, with the feature that is 1 if there is a bias."""
        X = np.array([point[:2] for point in self.state.points])
        ones = np.ones((len(X), 1))
        return np.hstack([X, ones]) if self.state.bias else X

    @property
    def y(self) -> np.ndarray:
        """Their labels `(n,)`."""
        return np.array([point[2] for point in self.state.points])

    @property
    def record(self) -> int:
        """The record that the time slider stands at."""
        return round(self.state.at * (len(self.steps) - 1))

    @property
    def now(self) -> np.ndarray:
        """The run's weights there."""
        return self.weights[self.record]

    @property
    def course(self) -> tuple[str, dict[str, np.ndarray]]:
        r"""What is followed along the run, and its name.

        Shares of the largest margins; where there is none, $\|w_t-w\|_2/\|w\|_2$ from
        the minimiser $w$.
        """
        if self.minimiser is None:
            return SHARE, self.shares
        least = np.asarray(self.minimiser.weights)
        size = np.linalg.norm(least) or 1.0
        away = np.linalg.norm(self.weights - least, axis=1) / size
        return "distance from the minimiser", {"run": away}

    @property
    def phase(self) -> pn.theory.Regime | None:
        """The phase that theory puts the record in."""
        step = int(self.steps[self.record])
        return next((p for p in self.phases if p.start <= step < p.end), None)

    def wrong(self, w: np.ndarray) -> np.ndarray:
        """Numbers of the samples on the wrong side of the weights' line, or on it."""
        return np.flatnonzero(self.y * (self.X @ w) <= 0)


def features(state: State) -> Features:
    """Compute what a page on two features shows."""
    begun = time.perf_counter()
    arguments = state.points, state.loss, state.bias
    best, proof, why = _optima(repeated(*arguments))
    run = run_of(padded(*arguments), state)
    check_finite(run)
    weights = np.asarray(run.weights)
    made = run.rule.problem
    least = None if proof is None else find_minimiser(made, run, proof)
    told = _told(state, best)
    X, y = np.asarray(made.X)[: len(state.points)], np.asarray(made.y)
    q = (weights @ X.T) * y[: len(state.points)]
    lengths = {norm.label: np.asarray(run.lengths(norm)) for norm in NORMS}
    shares = {
        label: q.min(axis=1) / (lengths[label] * float(one.margin))
        for label, one in best.items()
    }
    return Features(
        state=state,
        best=best,
        minimiser=least,
        why=why,
        steps=np.asarray(run.steps),
        weights=weights,
        shares=shares,
        told=None if told is None or told.norm is None else told.norm.label,
        phases=() if told is None else tuple(told.regimes),
        seconds=time.perf_counter() - begun,
    )


def _optima(
    problem: pn.LinearClassification,
) -> tuple[dict[str, pn.MaxMargin], Any, str]:
    """Largest margins by norm; the proof that there is none, or why it is not known."""
    try:
        return {norm.label: pn.max_margin(problem, norm) for norm in NORMS}, None, ""
    except pn.NotSeparableError as proof:
        return {}, proof, "No line through what is allowed separates these points."
    except pn.UndecidedError as error:
        return {}, None, str(error)


def run_of(problem: pn.LinearClassification, state: State) -> pn.Trajectory:
    """The run that a page shows, on a problem that is padded."""
    count = len(state.points)
    whole = state.batch == 0 or state.batch >= count
    size = count if whole else state.batch
    order = "cyclic" if whole else state.order
    return pn.train(
        problem,
        state.optimizer,
        steps=state.steps,
        step_size=pn.schedules.power(state.step, state.power),
        batching=Padded(jnp.asarray(size), jnp.asarray(count), order),
        record=RECORDS,
        progress=False,
    )


def check_finite(run: pn.Trajectory) -> None:
    """Refuse a run whose weights are no numbers any more.

    Raises:
        ValueError: If it overflows.
    """
    weights = np.asarray(run.weights)
    bad = ~np.isfinite(weights.reshape(len(weights), -1)).all(axis=1)
    if bad.any():
        last = int(np.asarray(run.steps)[bad.argmax()])
        raise ValueError(
            f"By step {last:,} this run's weights are no finite numbers: its steps are "
            "too large for these data. Take a smaller step size, or the logistic loss."
        )


def batching(state: State) -> pn.batching.AbstractBatching:
    """The batches of a state, by the library's own names."""
    if state.batch == 0 or state.batch >= len(state.points):
        return pn.batching.FullBatch()
    return pn.batching.read(state.batch, state.order)


def _told(state: State, best: dict[str, pn.MaxMargin]) -> pn.Prediction | None:
    """What theory foretells of separable points on full batches."""
    if not best or not isinstance(batching(state), pn.batching.FullBatch):
        return None
    problem = repeated(state.points, state.loss, state.bias)
    schedule = pn.schedules.power(state.step, state.power)
    return pn.predict(
        problem, state.optimizer, batching=batching(state), step_size=schedule
    )
