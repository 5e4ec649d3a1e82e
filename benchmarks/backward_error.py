"""What finite steps add: a toy's run and its corrected flow; large corrections."""

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numba
import numpy as np

import penchant as pn
from benchmarks._report import Row
from benchmarks._timing import compare, measure, seconds

B1, B2, EPS, ETA = 0.9, 0.95, 1e-2, 1e-5
ADAM = pn.optimizers.Adam(B1, B2, EPS, eps_inside=True, bias_correction=True)
FLOW = 5e5  # steps a second
GRADIENTS, REPLAY = 5.0, 0.2

REASONS = {
    "correction": "4.0 to 5.2 gradients in runs of several days, 5 being asked: passes "
    "over arrays of a million entries, which share the memory with other jobs.",
    "toy Adam": "the run is recorded and may be resumed; its loop is one function, as "
    "the kernel is (see `training/_inline.py`).",
}


def toy() -> pn.Objective:
    """The bilinear model of two parameters."""

    def losses(w: Any, batch: Any) -> Any:
        return 0.5 * (1.5 - 2.0 * w[0] * w[1]) ** 2 + 0.0 * batch

    return pn.Objective(losses, jnp.array([2.8, 3.5]), jnp.zeros(1))


@numba.njit
def kernel(steps: int, h: float, b1: float, b2: float, eps: float) -> tuple:
    """The same steps in numba."""
    x, y, m, n, v, u, p, q = 2.8, 3.5, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0
    for _ in range(steps):
        r = 1.5 - 2.0 * x * y
        g, k = -2.0 * r * y, -2.0 * r * x
        m, n = b1 * m + (1 - b1) * g, b1 * n + (1 - b1) * k
        v, u = b2 * v + (1 - b2) * g * g, b2 * u + (1 - b2) * k * k
        p, q = p * b1, q * b2
        x -= h * (m / (1 - p)) / np.sqrt(v / (1 - q) + eps)
        y -= h * (n / (1 - p)) / np.sqrt(u / (1 - q) + eps)
    return x, y


def rows(quick: bool) -> Iterator[Row]:
    steps = 100_000 if quick else 1_000_000
    problem = toy()
    run = lambda: (
        pn.train(
            problem, ADAM, steps=steps, step_size=ETA, record=2, progress=False
        ).last
    )
    found = compare(
        run, lambda: np.asarray(kernel(steps, ETA, B1, B2, EPS)), repeats=3,
        our_units=steps, peer_units=steps,
    )  # fmt: skip
    off = np.max(np.abs(np.asarray(found.our_result) - np.asarray(found.peer_result)))
    assert off < 1e-9, f"the kernel and the run differ by {off:.2g}"
    yield Row(
        name="toy Adam",
        work=f"{steps:,} steps on two parameters",
        peer="numba kernel of the same arithmetic",
        peer_figure=found.peer.describe("a step"),
        our_figure=found.ours.describe("a step"),
        ratio=found.ratio,
        asked=0.5,
        compilation=found.ours.compilation,
    )
    flow = lambda: pn.flows.modified_flow(problem, ADAM, step_size=ETA, steps=steps)
    taken = measure(flow, repeats=3)
    speed = steps / taken.median
    yield Row(
        name="corrected flow",
        work=f"{steps:,} Runge-Kutta steps of order 2 on two parameters",
        peer="a budget",
        peer_figure=f"{FLOW:,.0f} steps/s",
        our_figure=f"{speed:,.0f} steps/s",
        ratio=speed / FLOW,
        asked=1.0,
        compilation=taken.compilation,
    )
    yield from _networks(quick)
    yield _replay()


def _networks(quick: bool) -> Iterator[Row]:
    widths = (50, 100, 50, 10) if quick else (500, 1000, 500, 10)
    rng = np.random.default_rng(0)
    w = [rng.normal(size=(a, b)) / a**0.5 for a, b in itertools.pairwise(widths)]

    def apply(w: Any, X: Any) -> Any:
        for W in w[:-1]:
            X = jnp.tanh(X @ W)
        return X @ w[-1]

    n = 1_000
    X, y = rng.normal(size=(n, widths[0])), rng.normal(size=(n, widths[-1]))
    problem = pn.Regression(apply, w, X, y)
    gradient = jax.jit(lambda w: problem.scaled_gradient(w).value())
    for name, step in (("correction", 1000), ("correction in the limit", None)):
        work = lambda step=step: (
            pn.correction(
                problem, ADAM, problem.start, step_size=1e-4, step=step
            ).direction
        )
        found = compare(work, lambda: gradient(problem.start), repeats=3)
        count = found.ours.median / found.peer.median
        yield Row(
            name=name,
            work=f"Adam, {problem.parameters:,} parameters, n={n:,}",
            peer="a budget",
            peer_figure=f"{GRADIENTS:g} gradients of {found.peer.describe()}",
            our_figure=f"{count:.3g} gradients",
            ratio=GRADIENTS / count,
            asked=1.0,
            compilation=found.ours.compilation,
        )


def _replay() -> Row:
    import optax

    rule = optax.adam(1.0, B1, B2, eps=EPS)
    work = lambda: pn.correction(toy_, rule, toy_.start, step_size=ETA, step=400)
    toy_ = toy()
    taken = measure(work, repeats=5)
    return Row(
        name="replay",
        work="optax.adam, 400 steps, two parameters",
        peer="a budget",
        peer_figure=seconds(REPLAY),
        our_figure=taken.describe(),
        ratio=REPLAY / taken.median,
        asked=1.0,
        compilation=taken.compilation,
    )
