"""Large multi-class problems: margins certified to 1e-3, and the memory of training."""

import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator

import numpy as np

import penchant as pn
from benchmarks._report import Row
from benchmarks._timing import seconds

GAP = 1e-3
BUDGET = 120.0  # seconds a norm, on two cores
MEMORY = 8.0  # GiB

NORMS = (
    pn.norms.L1(),
    pn.norms.Lp(1.5),
    pn.norms.L2(),
    pn.norms.Lp(3.0),
    pn.norms.Linf(),
    pn.norms.Nuclear(),
    pn.norms.Schatten(1.5),
    pn.norms.Schatten(3.0),
    pn.norms.Spectral(),
)

REASONS = {
    "ℓ1 at scale": "a vertex of a linear program with 5000 weights: the first-order "
    "method needs more steps than in norms with round balls.",
    "spectral at scale": "a step is an eigendecomposition of 50 by 50, on one core.",
}


def rows(quick: bool) -> Iterator[Row]:
    k, d, per_class = (10, 25, 20) if quick else (50, 100, 40)
    problem = pn.datasets.class_centres(k, d, per_class).problem()
    for norm in NORMS:
        begun = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pn.margins.LooseMarginWarning)
            found = pn.max_margin(problem, norm, tol=GAP)
        taken = time.monotonic() - begun
        gap = float(found.gap)
        yield Row(
            name=f"{norm.label} at scale",
            work=f"maximum {norm.label} margin, k={k}, d={d}, n={problem.samples} "
            f"({problem.samples * (k - 1):,} pairs), certified to {GAP:g}",
            peer="a budget",
            peer_figure=seconds(BUDGET),
            our_figure=seconds(taken),
            ratio=BUDGET / taken if gap <= GAP * (1 + 1e-9) else 0.0,
            asked=1.0,
            remark=f"margin {float(found.margin):.6g}, gap {gap:.1e}, compilation "
            f"included, {found.method}.",
        )
    yield _training(*((100, 64, 2000) if quick else (1000, 512, 50_000)))


def _training(k: int, d: int, n: int) -> Row:
    """In a fresh process, whose peak memory is that of this run alone."""
    code = f"from benchmarks.scale import train; train({k}, {d}, {n})"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    seen = json.loads(done.stdout)
    return Row(
        name="training at scale",
        work=f"Muon with exact polar factors, k={k}, d={d}, n={n:,}, cross-entropy: "
        "peak resident memory",
        peer="a budget",
        peer_figure=f"{MEMORY:g} GiB",
        our_figure=f"{seen['peak']:.2f} GiB",
        ratio=MEMORY / seen["peak"],
        asked=1.0,
        remark=f"{seen['before']:.2f} GiB before training; an array of margins (n, k) "
        f"is {8 * n * k / 2**30:.2f} GiB, one of all pairs' gradients (n, k, d) would "
        f"be {8 * n * k * d / 2**30:,.0f} GiB; {seen['step']:.3g} s a step, log-loss "
        f"{seen['log_loss']:.4g} after {seen['steps']} steps.",
    )


def train(k: int, d: int, n: int, steps: int = 3) -> None:
    """Train, and print what it took."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % k
    X = rng.normal(size=(k, d))[y] + 0.5 * rng.normal(size=(n, d))
    problem = pn.LinearClassification(X, y, loss=pn.losses.Logistic())
    del X
    step_size = pn.theory.papers.fan2025spectral.scale_free_step(
        problem, pn.norms.Spectral()
    )
    before = _peak()
    run = pn.train(
        problem, pn.optimizers.Muon(0.0), steps=steps, step_size=step_size, record=2
    )
    print(
        json.dumps({
            "before": before,
            "peak": _peak(),
            "step": run.seconds / steps,
            "steps": steps,
            "log_loss": float(run.log_loss[-1]),
        })
    )


def _peak() -> float:
    """GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
