"""Adam with one sample a step: the run of `baek2026persample`, a million steps."""

import math
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
import torch

import penchant as pn
from benchmarks._report import Row, row
from benchmarks._timing import compare

B1, B2 = 0.9, 0.95
SCALE, EXPONENT, OFFSET = 0.1, 0.8, 2.0
STEP_SIZE = pn.schedules.power(SCALE, EXPONENT, OFFSET)
ADAM = pn.optimizers.Adam(B1, B2, eps=0.0)
SEEDS = range(64)
AGREEMENT = 1e-9
TORCH = "`torch.optim.Adam` loop, autograd, 1 thread"

REASONS = {
    "one run": (
        "of 0.45 s for a million steps, about 0.1 s are the 200 records, each a call "
        "from Python, and the rest is the compiled loop, at twice the cost of the "
        "kernel written by hand."
    ),
    "ensemble": (
        "a core runs its lanes one after another, at the cost of a single run each: "
        "what is gained over one run is the number of cores and the share of records."
    ),
    "hand-written": (
        "about 0.1 s of ours are the 200 records, each a call from Python, which the "
        "kernel does not make. The loop itself takes about twice as long: a seventh of "
        "it is the inner product, which the compiler does not vectorise because that "
        "reorders the sum; the rest is spread over the passes that make up the update."
    ),
}


def rows(quick: bool) -> Iterator[Row]:
    problem = gaussian(n=10, d=50)
    Z = np.asarray(problem.X) * np.asarray(problem.y)[:, None]
    steps = 20_000 if quick else 1_000_000
    torch_steps = 300 if quick else 3_000
    repeats = 1 if quick else 5
    torch.set_num_threads(1)

    def loop() -> Any:
        return torch_loop(Z, torch_steps)

    def one_run() -> pn.Trajectory:
        return _train(problem, steps)

    found = compare(
        one_run, loop, repeats=repeats, our_units=steps, peer_units=torch_steps
    )
    yield row(
        "one run",
        f"Adam, one sample a step in turn, n=10, d=50, {steps:,} steps, 200 records",
        TORCH,
        found,
        asked=150,
        unit="a step",
        remark=(
            f"PyTorch ran {torch_steps:,} steps and has bias correction, which does "
            "not change its cost; it could not run on, as its losses underflow."
        ),
    )

    lane_steps = steps // 5
    found = compare(
        lambda: _sweep(problem, lane_steps),
        loop,
        repeats=min(repeats, 3),
        our_units=lane_steps * len(SEEDS),
        peer_units=torch_steps,
    )
    yield row(
        "ensemble",
        f"the same reshuffled, {len(SEEDS)} seeds at once, {lane_steps:,} steps each",
        TORCH,
        found,
        asked=700,
        unit="a step of a run",
    )

    found = compare(
        one_run,
        lambda: adam_kernel(Z, steps, B1, B2, SCALE, EXPONENT, OFFSET),
        repeats=repeats,
        our_units=steps,
        peer_units=steps,
    )
    yield row(
        "hand-written",
        "one run as above",
        "numba kernel of the same log-domain arithmetic, without records",
        found,
        asked=0.6,
        unit="a step",
        remark=(
            "final weights agree to a relative "
            f"{_disagreement(found.our_result, found.peer_result):.0e}."
        ),
    )


def gaussian(n: int, d: int) -> pn.LinearClassification:
    """Two classes of Gaussian examples, labels at random."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    y = np.where(rng.random(n) < 0.5, -1, 1)
    return pn.LinearClassification(X, y, loss=pn.losses.Exponential())


def _train(problem: pn.LinearClassification, steps: int) -> pn.Trajectory:
    return pn.train(
        problem,
        ADAM,
        batching=pn.batching.Cyclic(1),
        step_size=STEP_SIZE,
        steps=steps,
        record=200,
    )


def _sweep(problem: pn.LinearClassification, steps: int) -> Any:
    return pn.sweep(
        problem,
        ADAM,
        grid={"seed": SEEDS},
        batching=pn.batching.Shuffled(1),
        step_size=STEP_SIZE,
        steps=steps,
        weights=False,
    )


def torch_loop(Z: np.ndarray, steps: int) -> torch.Tensor:
    """Adam on the exponential loss of one signed example a step."""
    examples = torch.from_numpy(Z).unbind()
    w = torch.zeros(Z.shape[1], dtype=torch.float64, requires_grad=True)
    # fused is the fastest of its implementations here
    adam = torch.optim.Adam([w], betas=(B1, B2), eps=0.0, fused=True)
    (group,) = adam.param_groups
    for t in range(steps):
        group["lr"] = SCALE * (t + OFFSET) ** -EXPONENT
        adam.zero_grad()
        torch.exp(-torch.dot(examples[t % len(examples)], w)).backward()
        adam.step()
    return w.detach()


@numba.njit(error_model="numpy", fastmath={"reassoc", "contract"})
def adam_kernel(Z, steps, b1, b2, scale, exponent, offset):
    """Adam on signed examples `Z` in turn, its moments in a running log frame.

    Sums may be reordered, so that they vectorise.
    """
    n, d = Z.shape
    w, m, v = np.zeros(d), np.zeros(d), np.zeros(d)
    frame, log_b1, log_b2 = -np.inf, math.log(b1), math.log(b2)
    for t in range(steps):
        z = Z[t % n]
        log_scale = -np.dot(z, w)  # of the gradient -z e^{-<z, w>}
        before, frame = frame, max(frame + 0.5 * log_b2, log_scale)
        kept1 = math.exp(log_b1 + before - frame)
        kept2 = math.exp(log_b2 + 2.0 * (before - frame))
        size = math.exp(log_scale - frame)
        added1, added2 = (1.0 - b1) * size, (1.0 - b2) * size**2
        step_size = scale * (t + offset) ** -exponent
        for j in range(d):
            m[j] = kept1 * m[j] - added1 * z[j]
            v[j] = kept2 * v[j] + added2 * z[j] ** 2
            if v[j] > 0.0:
                w[j] -= step_size * m[j] / math.sqrt(v[j])
    return w


def _disagreement(run: pn.Trajectory, weights: np.ndarray) -> float:
    ours = np.asarray(run.weights[-1])
    difference = float(np.abs(ours - weights).max() / np.abs(weights).max())
    if not difference <= AGREEMENT:
        raise AssertionError(
            f"Ours and the numba kernel's weights differ by {difference:.1e}; "
            f"at most {AGREEMENT:.0e} is rounding."
        )
    return difference
