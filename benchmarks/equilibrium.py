"""Limits of per-sample Adam: against a budget, and against the plain flow in NumPy."""

from collections.abc import Iterator

import numpy as np

import penchant as pn
from benchmarks._report import Row
from benchmarks._timing import clock, compare, seconds

BUDGET = 30.0
TOLERANCE = 1e-10
ROUGH = 1e-8
FLOW_STEPS = 200_000

REASONS: dict[str, str] = {}


def rows(quick: bool) -> Iterator[Row]:
    n, d = (100, 200) if quick else (1000, 2000)
    problem = pn.datasets.gaussian(n, d, seed=0).problem(pn.losses.Exponential())
    adam = pn.optimizers.Adam(0.9, 0.95, 0.0)
    for name, step in (
        ("b2 → 1", pn.theory.per_sample.adam_proxy(problem)),
        ("b2 = .95", pn.theory.per_sample.adam_step(problem, adam)),
    ):
        taken, found = clock(
            lambda s=step: pn.theory.per_sample.equilibrium(s, tol=TOLERANCE)
        )
        assert found.converged
        yield Row(
            name=f"per-sample Adam's limit, {name}",
            work=f"N = {n}, d = {d}, to a gap of {TOLERANCE:.0e}",
            peer="a budget",
            peer_figure=seconds(BUDGET),
            our_figure=seconds(taken),
            ratio=BUDGET / taken,
            asked=1,
            remark=f"compilation included; gap {found.gap:.0e}, "
            f"{found.iterations} implicit steps.",
        )
    yield _against_the_flow(quick)


def _against_the_flow(quick: bool) -> Row:
    n, d = (30, 60) if quick else (200, 400)
    problem = pn.datasets.gaussian(n, d, seed=0).problem(pn.losses.Exponential())
    step = pn.theory.per_sample.adam_proxy(problem)
    X = np.asarray(step.rows)
    found = compare(
        lambda: pn.theory.per_sample.equilibrium(step, tol=ROUGH),
        lambda: flow(X, ROUGH),
        repeats=3,
    )
    return Row(
        name="per-sample Adam's limit, rough",
        work=f"N = {n}, d = {d}, b2 → 1, to a gap of {ROUGH:.0e}",
        peer="explicit replicator flow, NumPy",
        peer_figure=found.peer.describe(),
        our_figure=found.ours.describe(),
        ratio=found.ratio,
        asked=1,
        compilation=found.ours.compilation,
        remark="the flow has the best step of 1, .3, .1 and .03 over √d; 1 diverges.",
    )


def flow(X: np.ndarray, tol: float) -> np.ndarray:
    """log c ← log c - h X δ(c), the loop that one would write first."""
    log_c = np.zeros(len(X))
    h = 0.3 / np.sqrt(X.shape[1])
    for _ in range(FLOW_STEPS):
        c = np.exp(log_c - log_c.max())
        c /= c.sum()
        delta = c @ X / np.sqrt((c**2) @ X**2)
        F = X @ delta
        if 1.0 - F.min() / (c @ F) < tol:
            return delta
        log_c -= h * F
    raise RuntimeError(f"the flow did not come to {tol:g} in {FLOW_STEPS} steps")
