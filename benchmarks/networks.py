"""Homogeneous networks: training against an eager loop, and tails against budgets."""

import math
import time
from collections.abc import Iterator

import jax
import numba
import numpy as np
import torch
from sklearn.datasets import load_digits

import penchant as pn
from benchmarks._report import Row, row
from benchmarks._timing import compare, seconds
from penchant.problems.models.networks import MLP, AbstractActivation, ReLU, SquaredReLU

ETA, B2, EPS = 1e-3, 0.99, 1e-8
SMALL_BUDGET, LARGE_BUDGET = 5.0, 60.0
LOG_NORM = 30.0

REASONS = {
    "digits, batch 32": "products and autodiff alone, a loop of plain JAX with a line "
    "of gradient descent, take six tenths of our step: without Adam and its frame the "
    "ratio would still be below 20.",
    "digits, full batch": "matrix products take the time, on both sides: no "
    "interpreter is left to be saved.",
}


def rows(quick: bool) -> Iterator[Row]:
    torch.set_num_threads(1)
    yield _framed(quick)
    yield _tail("small", SquaredReLU(), (3, 20, 1), 8, SMALL_BUDGET)
    yield _tail("small", ReLU(), (3, 20, 1), 8, SMALL_BUDGET)
    width, n = (24, 50) if quick else (240, 500)
    yield _tail("large", SquaredReLU(), (20, width, 1), n, LARGE_BUDGET)
    yield _tail("large", ReLU(), (20, width, 1), n, LARGE_BUDGET)
    for name, size in (("batch 1", 1), ("batch 32", 32), ("full batch", 500)):
        yield _digits(name, size, quick)


def _data(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(0).normal(size=(n, d))
    X[:, 0] += np.sign(X[:, 0])
    return X, np.sign(X[:, 0])


def _framed(quick: bool) -> Row:
    X, y = _data(8, 3)
    problem = pn.LinearClassification(X, y, loss=pn.losses.Exponential())
    rule = pn.optimizers.RMSProp(B2, EPS, eps_inside=True)
    steps = 20_000 if quick else 1_000_000
    Z = X * y[:, None]
    found = compare(
        lambda: pn.train(problem, rule, steps=steps, step_size=ETA, record=20),
        lambda: rmsprop_kernel(Z, steps, ETA, B2, EPS),
        repeats=1 if quick else 5,
        our_units=steps,
        peer_units=steps,
    )
    ours = np.asarray(found.our_result.weights[-1])
    off = np.abs(ours - found.peer_result).max() / np.abs(ours).max()
    if off > 1e-9:
        raise RuntimeError(f"ours and the kernel's weights differ by {off:.1e}")
    return row(
        "framed RMSProp",
        f"N = 8, d = 3, exponential loss, ε = {EPS:g} inside, {steps:,} steps",
        "numba kernel of the same log-domain arithmetic, without records",
        found,
        asked=0.5,
        unit="a step",
        remark=f"20 records; final weights agree to a relative {off:.0e}.",
    )


@numba.njit(error_model="numpy", fastmath={"reassoc", "contract"})
def rmsprop_kernel(
    Z: np.ndarray, steps: int, eta: float, b2: float, eps: float
) -> np.ndarray:
    n, d = Z.shape
    w, v = np.zeros(d), np.zeros(d)
    q, G = np.empty(n), np.empty(d)
    log_eps, log_b2, frame = np.log(eps), np.log(b2), -np.inf
    for _ in range(steps):
        least = np.inf
        for i in range(n):
            q[i] = 0.0
            for j in range(d):
                q[i] += Z[i, j] * w[j]
            least = min(least, q[i])
        G[:] = 0.0
        for i in range(n):
            e = np.exp(least - q[i]) / n
            for j in range(d):
                G[j] -= e * Z[i, j]
        # moments live in the larger of the old, decayed frame and the new one
        new = max(frame + 0.5 * log_b2, -least)
        kept = np.exp(log_b2 + 2.0 * (frame - new))
        scale = np.exp(-least - new)
        below = np.exp(log_eps - 2.0 * new)
        for j in range(d):
            g = scale * G[j]
            v[j] = kept * v[j] + (1.0 - b2) * g * g
            w[j] -= eta * g / np.sqrt(v[j] + below)
        frame = new
    return w


def _tail(
    name: str,
    activation: AbstractActivation,
    sizes: tuple[int, ...],
    n: int,
    budget: float,
) -> Row:
    X, y = _data(n, sizes[0])
    network = MLP(sizes, activation)
    problem = pn.NetworkClassification(
        network, network.params(0), X, y, loss=pn.losses.Exponential()
    )
    run = pn.train(
        problem,
        pn.optimizers.GradientDescent(),
        steps=3000,
        step_size=pn.schedules.loss_based(),
        record=60,
    )
    # the first record at which only the least margins have any weight left
    at = int(np.argmax(np.asarray(run.log_loss) < -1000.0))
    w = jax.tree.map(lambda leaf: leaf[at], run.weights)
    begun = time.monotonic()
    tail = pn.flows.tail_flow(problem, w, log_norm=LOG_NORM)
    taken = time.monotonic() - begun
    residual = float(pn.kkt(problem, tail.weights, draws=8).residual)
    there = float(tail.log_norm) > LOG_NORM - 0.1
    return Row(
        name=f"tail, {name}, {activation!r}",
        work=f"tail flow, {activation!r}, from a log-loss of "
        f"{float(run.log_loss[at]):.4g} to a log-norm of {LOG_NORM:g}, "
        f"p = {problem.parameters}, N = {n}",
        peer="a budget",
        peer_figure=seconds(budget),
        our_figure=seconds(taken),
        ratio=budget / taken if there else 0.0,
        asked=1.0,
        remark=f"compilation included; log-norm {float(tail.log_norm):.4g} in "
        f"{tail.steps} steps, KKT residual {residual:.0e}"
        f"{'' if tail.settled else ', still turning'}.",
    )


def _digits(name: str, size: int, quick: bool) -> Row:
    X, y = (np.asarray(part) for part in load_digits(return_X_y=True))
    X, y = X[:500] / 16.0, y[:500]
    network = MLP((64, 32, 10))
    problem = pn.NetworkClassification(
        network, network.params(0), X, y, loss=pn.losses.Logistic()
    )
    rule = pn.optimizers.Adam(0.9, 0.999, 1e-8, bias_correction=True)
    full, asked = size == 500, 15 if size == 32 else 20
    batching = pn.batching.FullBatch() if full else pn.batching.Cyclic(size)
    steps = 200 if quick else {1: 20_000, 32: 5000, 500: 1000}[size]
    theirs = 100 if quick else 1000
    first = [np.asarray(layer["W"]) for layer in problem.start]
    found = compare(
        lambda: pn.train(
            problem, rule, steps=steps, step_size=ETA, batching=batching, record=5
        ),
        lambda: torch_loop(first, X, y, size, theirs),
        repeats=1 if quick else 3,
        our_units=steps,
        peer_units=theirs,
    )
    run = pn.train(problem, rule, steps=20, step_size=ETA, batching=batching, record=2)
    peer = torch_loop(first, X, y, size, 20)
    off = max(
        float(np.abs(np.asarray(layer["W"][-1]) - w).max())
        for layer, w in zip(run.weights, peer, strict=True)
    )
    if not off < 1e-6:
        raise RuntimeError(f"ours and torch's weights differ by {off:.1e}")
    return row(
        f"digits, {name}",
        f"Adam on digits, MLP 64-32-10, 500 samples, {name}, float64",
        "`torch.optim.Adam` eager loop, 1 thread",
        found,
        asked=asked,
        unit="a step",
        remark=f"{steps:,} steps of ours, {theirs:,} of theirs; weights agree to "
        f"{off:.0e} after 20.",
    )


def torch_loop(
    first: list[np.ndarray], X: np.ndarray, y: np.ndarray, size: int, steps: int
) -> list[np.ndarray]:
    """What one writes: slices in the order of the data, autograd, Adam."""
    A, B = (torch.tensor(W, requires_grad=True) for W in first)
    data, labels = torch.tensor(X), torch.tensor(y)
    optimizer = torch.optim.Adam([A, B], lr=ETA, betas=(0.9, 0.999), eps=1e-8)
    starts = math.ceil(len(X) / size)
    for t in range(steps):
        at = (t % starts) * size
        Z = torch.relu(data[at : at + size] @ A.T) @ B.T
        loss = torch.nn.functional.cross_entropy(Z, labels[at : at + size])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [A.detach().numpy(), B.detach().numpy()]
