"""ReLU networks on clusters in loss-rescaled time, against the same loop in torch."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

import penchant as pn
from benchmarks._report import Row, row
from benchmarks._timing import compare

RELATIVE, SCALE = 0.02, 1e-3
LARGE = (500, 10, 200, 40)
"""Features, clusters, points, units."""
SMALL = (50, 4, 40, 10)
SEEDS = 16

REASONS: dict[str, str] = {}


def rows(quick: bool) -> Iterator[Row]:
    torch.set_num_threads(1)
    steps = 100 if quick else 1000
    yield _one("in the same space", steps, 1.5, shared=True)
    yield _one("in the space of the examples", steps, 4.0, shared=False)
    yield _seeds(100 if quick else 500)


def _problem(sizes: tuple[int, int, int, int]) -> pn.NetworkClassification:
    d, k, n, m = sizes
    return pn.datasets.clusters(d, k, n).network(m, scale=SCALE)


def _one(name: str, steps: int, asked: float, *, shared: bool) -> Row:
    full = _problem(LARGE)
    inside = pn.problems.row_space(full)
    assert inside is not None
    # both in the coordinates of the examples' span, or the peer as one writes it
    peer = inside.problem if shared else full
    cap = 1.0 / float(np.mean(np.sum(np.asarray(full.X) ** 2, axis=1)))
    found = compare(
        lambda: pn.flows.rescaled_flow(full, steps=steps, cap=cap).last,
        lambda: torch_loop(peer.X, peer.y, peer.start, steps, cap),
        repeats=1 if steps < 1000 else 5,
        our_units=steps,
        peer_units=steps,
    )
    ours = inside.drop(found.our_result) if shared else found.our_result
    off = _off(ours, found.peer_result)
    assert off < 1e-6, f"the loop and the flow differ by {off:.1e}"
    d, k, n, m = LARGE
    return row(
        f"rescaled flow, {name}",
        f"d = {d}, k = {k}, n = {n}, m = {m}, {steps:,} steps, 20 records",
        "the same step in torch with autograd, float64, 1 thread"
        + (", in the same coordinates" if shared else ", in all features"),
        found,
        asked=asked,
        unit="a step",
        remark=f"weights agree to {off:.0e}.",
    )


def _seeds(steps: int) -> Row:
    problem = _problem(SMALL)
    network: Any = problem.apply
    starts = [network.params(key, scale=SCALE) for key in range(SEEDS)]
    cap = 1.0 / float(np.mean(np.sum(np.asarray(problem.X) ** 2, axis=1)))
    found = compare(
        lambda: pn.flows.rescaled_flow(problem, steps=steps, starts=starts, cap=cap)
        .last,
        lambda: [torch_loop(problem.X, problem.y, w, steps, cap) for w in starts],
        repeats=1 if steps < 500 else 3,
        our_units=steps * SEEDS,
        peer_units=steps * SEEDS,
    )  # fmt: skip
    ours = [
        [{name: x[i] for name, x in layer.items()} for layer in found.our_result]
        for i in range(SEEDS)
    ]
    off = max(map(_off, ours, found.peer_result))
    assert off < 1e-6, f"the loop and the flow differ by {off:.1e}"
    d, k, n, m = SMALL
    return row(
        f"rescaled flow, {SEEDS} starts",
        f"d = {d}, k = {k}, n = {n}, m = {m}, {steps:,} steps, side by side",
        "the same step in torch with autograd, float64, a start after the other",
        found,
        asked=10.0,
        unit="a step of a start",
        remark=f"weights agree to {off:.0e}.",
    )


def _off(ours: Any, peer: list[np.ndarray]) -> float:
    mine = [ours[0]["W"], ours[0]["b"], ours[1]["W"]]
    pairs = zip(mine, peer, strict=True)
    return max(float(np.abs(np.asarray(a) - b).max() / np.abs(b).max())
               for a, b in pairs)  # fmt: skip


def torch_loop(X: Any, y: Any, start: Any, steps: int, cap: float) -> list[np.ndarray]:
    """What one writes: autograd on log of the mean logistic loss, and the two caps."""
    data = torch.tensor(np.asarray(X))
    signs = torch.tensor(np.asarray(y, dtype=float))
    first = (start[0]["W"], start[0]["b"], start[1]["W"])
    w = [torch.tensor(np.asarray(part), requires_grad=True) for part in first]
    log_n = math.log(len(data))
    for _ in range(steps):
        out = torch.relu(data @ w[0].T + w[1]) @ w[2][0]
        logs = torch.nn.functional.softplus(-signs * out).log()
        loss = torch.logsumexp(logs, 0) - log_n
        g = torch.autograd.grad(loss, w)
        with torch.no_grad():
            size2 = sum(torch.sum(part**2) for part in w)
            slope = torch.sqrt(sum(torch.sum(part**2) for part in g))
            step = torch.minimum(RELATIVE * torch.sqrt(size2) / slope, cap / size2)
            for part, down in zip(w, g, strict=True):
                part -= step * down
    return [part.detach().numpy() for part in w]
