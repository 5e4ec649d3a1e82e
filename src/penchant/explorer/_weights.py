"""A linear classifier's weights, of a run and of each norm's optimum."""

import functools
import time
from dataclasses import dataclass

import numpy as np

import penchant as pn
from penchant.explorer._features import check_finite
from penchant.explorer._state import State

VECTOR = (pn.norms.L1(), pn.norms.L2(), pn.norms.Linf())
MATRIX = (pn.norms.Linf(), pn.norms.L2(), pn.norms.Nuclear(), pn.norms.Spectral())
RECORDS = 40
HELD = 0.8
"""The share of the digits that is held out."""

MOST_ENTRIES = 4_000_000
"""Numbers in data that a page works on."""

MOST_WORK = 4e9
"""Entries of samples that a run may look at, all its steps together."""

Held = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Weights:
    r"""What is computed of a classifier: optima, a run, and what they say of others.

    `best` maps the norms' labels to largest margins. `steps` `(r,)`, `weights`, leading
    axis r, `shares` and `alignments` `(r,)` a norm: the margin over the largest one,
    and $\langle w,-g\rangle/(\|w\|\|g\|_*)$. `held` are samples held out and their
    labels, None where there are none. `seconds` is what it took.
    """

    state: State
    problem: pn.LinearClassification
    best: dict[str, pn.MaxMargin]
    steps: np.ndarray
    weights: np.ndarray
    shares: dict[str, np.ndarray]
    alignments: dict[str, np.ndarray]
    held: Held | None
    seconds: float

    @property
    def record(self) -> int:
        """The record that the time slider stands at."""
        return round(self.state.at * (len(self.steps) - 1))

    @property
    def now(self) -> np.ndarray:
        """The run's weights there."""
        return self.weights[self.record]

    @property
    def flips(self) -> dict[str, np.ndarray]:
        """By norm, held-out samples of which its optimum and the run say different."""
        says = _said(self.held, self.now)
        return {
            label: np.flatnonzero(_said(self.held, np.asarray(one.weights)) != says)
            for label, one in self.best.items()
        }

    @property
    def errors(self) -> dict[str, int]:
        """How many held-out samples the run and each optimum get wrong."""
        if self.held is None:
            return {}
        told = {"run": self.now}
        told |= {label: np.asarray(one.weights) for label, one in self.best.items()}
        return {
            label: int((_said(self.held, w) != self.held[1]).sum())
            for label, w in told.items()
        }


def weights(state: State, given: pn.LinearClassification | None = None) -> Weights:
    """Compute what a page on weights shows; `given` are the data named so.

    Raises:
        NotSeparableError: If the data have no largest margin.
        ValueError: If the work is more than a page does, or the run overflows.
    """
    begun = time.perf_counter()
    problem, held = data_of(state, given)
    _check_work(problem, state)
    norms = VECTOR if problem.binary else MATRIX
    best = {norm.label: pn.max_margin(problem, norm, tol=1e-6) for norm in norms}
    run = pn.train(
        problem,
        state.optimizer,
        steps=state.steps,
        step_size=pn.schedules.power(state.step, state.power),
        batching=batching(state, problem.samples),
        record=RECORDS,
        progress=False,
    )
    check_finite(run)
    least = np.asarray(run.margins).min(axis=1)
    shares = {
        norm.label: least
        / (np.asarray(run.lengths(norm)) * float(best[norm.label].margin))
        for norm in norms
    }
    rows = [pn.estimators.alignment(problem, w, norms) for w in run.weights]
    return Weights(
        state=state,
        problem=problem,
        best=best,
        steps=np.asarray(run.steps),
        weights=np.asarray(run.weights),
        shares=shares,
        alignments={
            norm.label: np.array([float(row[i].alignment) for row in rows])
            for i, norm in enumerate(norms)
        },
        held=held,
        seconds=time.perf_counter() - begun,
    )


def data_of(
    state: State, given: pn.LinearClassification | None
) -> tuple[pn.LinearClassification, Held | None]:
    """The classifier that a state names, and samples held out of it.

    Raises:
        ValueError: If it names data that were not given.
    """
    if state.data == "given":
        if given is None:
            raise ValueError(
                "data must be one of rademacher, centres, digits: no data were given "
                "when this page was opened."
            )
        return given, None
    return _made(state.data, state.loss)


@functools.cache
def _made(data: str, loss: str) -> tuple[pn.LinearClassification, Held | None]:
    if data == "rademacher":
        return pn.datasets.scaled_rademacher(6, 16, seed=2).problem(loss), None
    if data == "centres":
        return pn.datasets.class_centres(4, 10, 8, 0.3, seed=0).problem(loss), None
    whole = pn.datasets.digits(("3", "8")).problem(loss)
    rows = pn.datasets.split(np.asarray(whole.y), HELD)
    rest = whole.take(rows.held)
    return whole.take(rows.train), (np.asarray(rest.X), np.asarray(rest.y))


def batching(state: State, samples: int) -> pn.batching.AbstractBatching:
    """The batches of a state on so many samples."""
    if state.batch == 0 or state.batch >= samples:
        return pn.batching.FullBatch()
    return pn.batching.read(state.batch, state.order)


def _said(held: Held | None, w: np.ndarray) -> np.ndarray:
    """What weights say of the samples held out, in the numbers of their labels."""
    if held is None:
        return np.zeros(0, int)
    scores = held[0] @ w.T
    return np.sign(scores).astype(int) if w.ndim == 1 else scores.argmax(axis=1)


def _check_work(problem: pn.LinearClassification, state: State) -> None:
    n, d = problem.X.shape
    if n * d > MOST_ENTRIES:
        raise ValueError(
            f"A page works on at most {MOST_ENTRIES:,} numbers; these data have {n:,} "
            f"samples of {d:,} features. `penchant diagnose` has no such bound."
        )
    seen = batching(state, n).size_of(n)
    rows = 1 if problem.binary else problem.classes
    work = float(state.steps) * seen * d * rows
    if work > MOST_WORK:
        most = int(MOST_WORK / (seen * d * rows))
        raise ValueError(
            f"A page makes at most {most:,} steps on these data with batches of "
            f"{seen}; steps is {state.steps:,}. `pn.train` has no such bound."
        )
