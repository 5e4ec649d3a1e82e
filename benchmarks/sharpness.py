"""Near minimisers: runs of a diagonal network, the slow flow, and measures."""

import itertools
import math
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numba
import numpy as np
import torch

import penchant as pn
from benchmarks._report import Row, row
from benchmarks._timing import compare, measure, seconds

B1, B2, EPS, ETA = 0.9, 0.999, 1e-3, 2e-3
ADAM = pn.optimizers.Adam(B1, B2, EPS)
ONE = pn.batching.WithReplacement(1)
LANES = 16
AGREEMENT = 1e-9
KERNEL = "numba kernel of the same arithmetic, noise and samples drawn within"
FLOW, TOY, PAPER = 2.0, 5.0, 90.0  # seconds
TRACES, ALL = 30.0, 100.0  # gradients

REASONS = {
    "noisy sweep": "of a lane's step the draws take .11 and the division by the "
    "gradient's scale .10; the rest is arithmetic on 400 weights. Two threads share "
    "the lanes, and other work was on both cores (2026-11-26).",
    "slow flow": "5,057 steps of LSODA at a tolerance of 1e-12, which the monitors of "
    "the potential need, with 10,480 evaluations of a linear solve (2026-11-26).",
}


def network(w: Any, X: Any) -> Any:
    """A diagonal linear network."""
    return X @ (w["u"] ** 2 - w["v"] ** 2)


def recovery(d: int, n: int, k: int, start: float, noise: float) -> pn.Regression:
    """Sparse recovery by signs, seed 0."""
    rng = np.random.default_rng(0)
    X = rng.choice([-1.0, 1.0], size=(n, d))
    truth = np.zeros(d)
    truth[:k] = 1.0
    w = {"u": np.full(d, start), "v": np.full(d, start)}
    return pn.Regression(network, w, X, X @ truth, label_noise=noise)


def rows(quick: bool) -> Iterator[Row]:
    steps = 20_000 if quick else 200_000
    repeats = 1 if quick else 5
    yield from _network(steps, repeats)
    yield _toy(quick)
    yield _flow(repeats)
    yield _scale(quick)
    yield from _measures(quick)


def _network(steps: int, repeats: int) -> Iterator[Row]:
    problem = recovery(200, 40, 5, 0.3, 1.0)
    X, y = np.asarray(problem.X), np.asarray(problem.y)
    checked = _checked(X, y)
    kernel = lambda count: adam_kernel(
        X, y, 0.3, count, ETA, B1, B2, EPS, 1.0, True, np.random.default_rng(0)
    )

    def alone() -> pn.Trajectory:
        return pn.train(
            problem, ADAM, steps=steps, step_size=ETA, batching=ONE, record=2,
            progress=False,
        )  # fmt: skip

    def sweep() -> Any:
        return pn.sweep(
            problem, ADAM, grid={"seed": list(range(LANES))}, steps=steps // 4,
            step_size=ETA, batching=ONE, record=2, progress=False,
        )  # fmt: skip

    work = f"Adam on a diagonal network, d=200, n=40, label noise, batch 1, {steps:,}"
    found = compare(
        sweep, lambda: kernel(steps), repeats=repeats,
        our_units=LANES * (steps // 4), peer_units=steps,
    )  # fmt: skip
    yield row(
        "noisy sweep",
        f"{work} steps, {LANES} lanes of a quarter of that",
        KERNEL,
        found,
        asked=0.5,
        unit="a step of a run",
        remark=f"without noise, samples in turn, weights after 2,000 steps agree to "
        f"{checked:.0e}.",
    )
    found = compare(
        alone, lambda: kernel(steps), repeats=repeats, our_units=steps,
        peer_units=steps,
    )  # fmt: skip
    yield row(
        "noisy run", f"{work} steps, alone", KERNEL, found, asked=0.2, unit="a step"
    )
    torch.set_num_threads(1)
    few = 1_000
    found = compare(
        alone, lambda: torch_loop(X, y, few), repeats=repeats, our_units=steps,
        peer_units=few,
    )  # fmt: skip
    yield row(
        "noisy run against PyTorch",
        f"{work} steps, alone",
        f"`torch.optim.Adam` loop, autograd, 1 thread, {few:,} steps",
        found,
        asked=40,
        unit="a step",
    )


def _checked(X: np.ndarray, y: np.ndarray) -> float:
    """The largest difference of our weights and the kernel's, without noise."""
    steps = 2_000
    quiet = recovery(200, 40, 5, 0.3, 0.0)
    run = pn.train(
        quiet, ADAM, steps=steps, step_size=ETA, batching=pn.batching.Cyclic(1),
        record=2, progress=False,
    )  # fmt: skip
    u, v = adam_kernel(
        X, y, 0.3, steps, ETA, B1, B2, EPS, 0.0, False, np.random.default_rng(0)
    )
    off = max(
        float(np.abs(np.asarray(run.last["u"]) - u).max()),
        float(np.abs(np.asarray(run.last["v"]) - v).max()),
    )
    if not off <= AGREEMENT:
        raise AssertionError(f"ours and the kernel's weights differ by {off:.1e}")
    return off


@numba.njit(error_model="numpy", fastmath={"reassoc", "contract"})
def adam_kernel(X, y, start, steps, eta, b1, b2, eps, noise, random, rng):
    """Adam on u^2 - v^2, one sample a step, at random or in turn."""
    n, d = X.shape
    u, v = np.full(d, start), np.full(d, start)
    mu, mv, su, sv = np.zeros(d), np.zeros(d), np.zeros(d), np.zeros(d)
    for t in range(steps):
        i = rng.integers(0, n) if random else t % n
        x = X[i]
        r = -y[i] - (noise * rng.standard_normal() if random else 0.0)
        for j in range(d):
            r += x[j] * (u[j] * u[j] - v[j] * v[j])
        for j in range(d):
            g = 2.0 * r * x[j] * u[j]
            mu[j] = b1 * mu[j] + (1.0 - b1) * g
            su[j] = b2 * su[j] + (1.0 - b2) * g * g
            u[j] -= eta * mu[j] / (math.sqrt(su[j]) + eps)
        for j in range(d):
            g = -2.0 * r * x[j] * v[j]
            mv[j] = b1 * mv[j] + (1.0 - b1) * g
            sv[j] = b2 * sv[j] + (1.0 - b2) * g * g
            v[j] -= eta * mv[j] / (math.sqrt(sv[j]) + eps)
    return u, v


def torch_loop(X: np.ndarray, y: np.ndarray, steps: int) -> torch.Tensor:
    """The same by autograd and `torch.optim.Adam`."""
    torch.manual_seed(0)
    A, b = torch.tensor(X), torch.tensor(y)
    w = torch.full((2, X.shape[1]), 0.3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([w], lr=ETA, betas=(B1, B2), eps=EPS, fused=True)
    for _ in range(steps):
        i = int(torch.randint(len(b), ()))
        noise = torch.randn((), dtype=torch.float64)
        adam.zero_grad()
        (0.5 * (A[i] @ (w[0] ** 2 - w[1] ** 2) - b[i] - noise) ** 2).backward()
        adam.step()
    return w.detach()


def _toy(quick: bool) -> Row:
    """64 seeds at three step sizes on x^2 y z = 1 to T = 4, compilation included."""
    apply = lambda w, X: (w[0] ** 2 * w[1] * w[2])[None] + 0 * X[:, 0]
    w = np.array([2.0, 0.5, 0.5])
    problem = pn.Regression(apply, w, [[1.0]], [1.0], label_noise=1.0)
    sizes, time_to = ((0.02,), 0.4) if quick else ((0.02, 0.01, 0.005), 4.0)

    def all_sizes() -> None:
        for eta in sizes:
            pn.sweep(
                problem, pn.optimizers.Adam(B1, 1 - eta**2, 0.0),
                grid={"seed": list(range(64))}, steps=round(time_to / eta**2),
                step_size=eta, record=20, progress=False,
            )  # fmt: skip

    begun = time.monotonic()
    all_sizes()
    first = time.monotonic() - begun
    begun = time.monotonic()
    all_sizes()
    taken = time.monotonic() - begun
    return Row(
        name="toy",
        work=f"Adam on three weights, 64 seeds, step sizes {sizes}, to T={time_to:g}",
        peer="a budget",
        peer_figure=seconds(TOY),
        our_figure=seconds(taken),
        ratio=TOY / taken,
        asked=1.0,
        compilation=max(0.0, first - taken),
    )


def _flow(repeats: int) -> Row:
    """The slow flow of d = 40, n = 18, ε = .05 to T = 4."""
    problem = recovery(40, 18, 3, 0.3, 0.0)
    rule = pn.optimizers.Adam(B1, B2, 0.05)
    told = measure(
        lambda: (
            pn.flows.slow_flow(problem, rule, noise=0.25, time=4.0, rate=4.0).weights
        ),
        repeats=repeats,
    )
    return Row(
        name="slow flow",
        work="slow flow of a diagonal network, d=40, n=18, Adam, to T=4",
        peer="a budget",
        peer_figure=seconds(FLOW),
        our_figure=told.describe(),
        ratio=FLOW / told.median,
        asked=1.0,
        compilation=told.compilation,
    )


def _scale(quick: bool) -> Row:
    """The scale of `li2025sharpness`: ten thousand inputs, n = 420."""
    d, steps = (1_000, 20_000) if quick else (10_000, 600_000)
    problem = recovery(d, 420, 50, 0.1, 1.0)
    begun = time.monotonic()
    run = pn.train(
        problem, ADAM, steps=steps, step_size=ETA, batching=ONE, record=2,
        progress=False,
    )  # fmt: skip
    taken = time.monotonic() - begun
    truth = np.zeros(d)
    truth[:50] = 1.0
    u, v = np.asarray(run.last["u"]), np.asarray(run.last["v"])
    loss = 0.5 * float(np.sum((u**2 - v**2 - truth) ** 2))
    return Row(
        name="paper's scale",
        work=f"Adam on a diagonal network, d={d:,}, n=420, {steps:,} steps",
        peer="a budget",
        peer_figure=seconds(PAPER),
        our_figure=seconds(taken),
        ratio=PAPER / taken,
        asked=1.0,
        remark=f"test loss {loss:.3g} at T={steps * ETA**2:.2g}, 25 at the start; "
        "compilation included.",
    )


def _measures(quick: bool) -> Iterator[Row]:
    """Sharpness of a network of a million weights, in gradients of the whole loss."""
    widths = (50, 100, 50, 10) if quick else (500, 1000, 500, 10)
    rng = np.random.default_rng(0)
    w = [rng.normal(size=(a, b)) / a**0.5
         for a, b in itertools.pairwise(widths)]  # fmt: skip

    def apply(w: Any, X: Any) -> Any:
        for W in w[:-1]:
            X = jax.nn.relu(X @ W)
        return X @ w[-1]

    n = 1_000
    X, y = rng.normal(size=(n, widths[0])), rng.normal(size=(n, widths[-1]))
    problem = pn.Regression(apply, w, X, y)
    w = problem.start
    P = jax.tree.map(lambda x: jnp.abs(x) + 0.1, w)
    gradient = lambda: problem.gradient(w)
    works = {
        "traces": (lambda: _value(pn.measures.power_trace(problem, w, 0.5)), TRACES),
        "sharpness": (
            lambda: _value(pn.measures.sharpness(problem, w, preconditioner=P).trace),
            ALL,
        ),
    }
    for name, (work, budget) in works.items():
        found = compare(work, gradient, repeats=3)
        gradients = found.ours.median / found.peer.median
        yield Row(
            name=name,
            work=f"{'tr Diag^½' if name == 'traces' else 'all of sharpness'}, "
            f"{problem.parameters:,} parameters, n={n:,}",
            peer="a budget",
            peer_figure=f"{budget:g} gradients of {found.peer.describe()}",
            our_figure=f"{gradients:.3g} gradients",
            ratio=budget / gradients,
            asked=1.0,
            compilation=found.ours.compilation,
        )


def _value(x: pn.Estimate) -> float:
    return float(x)
