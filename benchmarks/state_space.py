"""Limits of state space models, and what an epoch of the usual recipe costs."""

import os
from collections.abc import Iterator

import numpy as np

import penchant as pn
from benchmarks._report import Row, row
from benchmarks._timing import Work, compare, measure, seconds
from penchant.studies.ssm_poisoning._setup import BEYOND, SMALL, Adaptive

THEOREM = 0.02  # seconds
TRAINED = 2.0
DIAGRAM = 60.0
EPOCHS = 301_500
"""Epochs after which the usual recipe has come near the limit, for A, B and C."""

REASONS = {
    "phase diagram on a cluster": "another job held one of the two cores all the "
    "while: two workers had no more of the machine than one process. The driver spent "
    "0.2 s of its own time on 3,600 cells, a twenty-fifth of what computing them took.",
    "limit of A, B, C, κ = 10": "the tail takes 20,000 steps of its exponential "
    "integrator, a loop of NumPy of .2 ms a step, a fifth of it the decomposition of a "
    "Jacobian, and is given up there with 4e-6 still to go, which it says.",
    "poisoned limit": "three flows side by side give an error of 1e-7 in place of "
    "1e-5; `two_lag_limits` is one of them.",
}


def rows(quick: bool) -> Iterator[Row]:
    a = SMALL.poles(242)
    poisoned = SMALL.problem(a, 1.0)
    yield _within(
        "clean limit",
        "Theorem 1, κ = 7, d = 10, by the exact formula",
        lambda: pn.ssm.baseline_limit(a, 7),
        THEOREM,
    )
    yield _within(
        "poisoned limit",
        "Theorem 1, κ = 7, d = 10, at three accuracies",
        lambda: pn.ssm.flow(poisoned).limit.a,
        THEOREM,
    )
    for length in (6,) if quick else (6, 10):
        first = 200 if length == 6 else 1200
        problem = BEYOND[length].problem(first, 0, True)
        yield _within(
            f"limit of A, B, C, κ = {length}",
            f"gradient flow to its limit, d = {problem.start.size}",
            lambda problem=problem: pn.ssm.flow(problem).limit.a,
            TRAINED,
        )
    cells = 20 if quick else 100
    grid = np.geomspace(1e-14, 1e-4, cells), np.geomspace(1e-9, 10.0, cells)
    yield _within(
        "phase diagram",
        f"{cells} × {cells} limits, κ = 7, d = 10",
        lambda: pn.theory.state_space.phase_diagram(*grid, a0=a, length=7).error,
        DIAGRAM,
    )
    yield _on_a_cluster(grid, a)
    problem = BEYOND[6].problem(200, 0, True)
    ours, peer = 20_000, 500
    same = pn.train(problem, Adaptive(problem), steps=peer, step_size=0.01, record=2,
                    progress=False).last.a  # fmt: skip
    off = float(np.max(np.abs(np.asarray(same) - epochs(problem, peer)[0])))
    assert off < 1e-9, f"the loop and the run differ by {off:.2g}"
    found = compare(
        lambda: (
            pn.train(
                problem, Adaptive(problem), steps=ours, step_size=0.01, record=2,
                progress=False,
            ).last.a
        ),
        lambda: epochs(problem, peer)[0],
        repeats=3,
        our_units=ours,
        peer_units=peer,
    )  # fmt: skip
    yield row(
        "official rule",
        "an epoch, κ = 6, d = 10, 18 sequences",
        "the same in NumPy, an epoch at a time over the samples",
        found,
        asked=2.0,
        unit="an epoch",
    )
    flow = measure(lambda: pn.ssm.flow(problem).limit.a, repeats=3)
    recipe = found.peer.median * EPOCHS
    yield Row(
        name="limit against the recipe",
        work="A, B, C, κ = 6, d = 10: flow, or epochs until the error stands",
        peer=f"{EPOCHS:,} epochs in NumPy, from the cost of {peer}",
        peer_figure=seconds(recipe),
        our_figure=flow.describe(),
        ratio=recipe / flow.median,
        asked=10.0,
        compilation=flow.compilation,
    )


def _on_a_cluster(grid: tuple[np.ndarray, np.ndarray], a: np.ndarray) -> Row:
    """The diagram's boxes as tasks of a local Ray, which must change no bit."""
    run = pn.theory.state_space.phase_diagram
    with pn.executors.Ray() as ray:
        found = compare(
            lambda: run(*grid, a0=a, length=7, executor=ray).error,
            lambda: run(*grid, a0=a, length=7).error,
            repeats=3,
        )
    same = np.array_equal(found.our_result, found.peer_result, equal_nan=True)
    assert same, "the cluster's diagram differs from this process's"
    cells = found.our_result.shape
    return row(
        "phase diagram on a cluster",
        f"{cells[0]} × {cells[1]} limits, κ = 7, d = 10, by Ray on all cores here",
        "the same boxes, one after another in this process",
        found,
        asked=1.0,
        remark=f"same bits; {os.cpu_count()} cores.",
    )


def _within(name: str, work: str, run: Work, budget: float) -> Row:
    taken = measure(run, repeats=3)
    return Row(
        name=name,
        work=work,
        peer="a budget",
        peer_figure=seconds(budget),
        our_figure=taken.describe(),
        ratio=budget / taken.median,
        asked=1.0,
        compilation=taken.compilation,
    )


def epochs(
    problem: pn.ssm.SequenceRegression, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The authors' rule in NumPy with a full matrix A, projected after every epoch."""
    X, y, w = np.asarray(problem.X), np.asarray(problem.y), problem.start
    A, b, c = np.diag(np.asarray(w.a)), np.array(w.b), np.array(w.c)
    n, length = X.shape
    mean = 0.0
    for t in range(1, count + 1):
        states = np.zeros((length + 1, n, len(b)))
        for k in range(length):
            states[k + 1] = states[k] @ A.T + X[:, k, None] * b
        off = 2.0 / n * (states[-1] @ c - y)
        dc, back = off @ states[-1], off[:, None] * c
        dA, db = np.zeros_like(A), np.zeros_like(b)
        for k in reversed(range(length)):
            dA += back.T @ states[k]
            db += X[:, k] @ back
            back = back @ A
        size = np.linalg.norm(dA) + np.linalg.norm(db) + np.linalg.norm(dc)
        mean = 0.8 * mean + 0.2 * size
        step = 0.01 / (np.sqrt(mean / (1.0 - 0.8**t)) + 1e-6)
        A = np.diag(np.diag(A - step * dA))
        b, c = b - step * db, c - step * dc
    return np.diag(A), b, c
