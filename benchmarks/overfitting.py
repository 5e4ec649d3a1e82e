"""Hard margins in many features, and risks of many mixtures."""

from collections.abc import Iterator

import numpy as np
from sklearn.svm import SVC

import penchant as pn
from benchmarks._report import Row, row
from benchmarks._timing import compare

N = 50
CASES = ((10_000, 3.0), (10_000, 30.0), (300, 4.0))
"""Features and ‖μ‖: every row a support vector, most of them, and 9 in 10."""

REASONS = {
    "hard margin, d = 300, ‖μ‖ = 4": "with so few features the arithmetic is 30 µs; "
    "0.2 ms are pivots and the certificate, 0.1 ms results handed to JAX, the rest "
    "checks and modules, where LIBSVM stops at its tolerance of 1e-3."
}


def rows(quick: bool) -> Iterator[Row]:
    for d, length in CASES:
        yield _hard_margin(d, length, 5 if quick else 40)
    yield _mixtures(100 if quick else 1000)


def _hard_margin(d: int, length: float, repeats: int) -> Row:
    sample = pn.datasets.Mixture.rare_weak(d, 1, length).sample(N, seed=0)
    X, y = sample
    problem = pn.LinearClassification(X, y, loss=pn.losses.Logistic())
    ours = pn.max_margin(problem, pn.norms.L2())
    peer = SVC(kernel="linear", C=1e10).fit(X, y)
    w = peer.coef_[0]
    theirs = float((y * (X @ w)).min() / np.linalg.norm(w))
    found = compare(
        lambda: pn.max_margin(problem, pn.norms.L2()),
        lambda: SVC(kernel="linear", C=1e10).fit(X, y),
        repeats=repeats,
    )
    return row(
        f"hard margin, d = {d:,}, ‖μ‖ = {length:g}",
        f"maximum ℓ2 margin of {N} rows of a mixture, {int(ours.support.sum())} of "
        "them support vectors",
        "`sklearn.svm.SVC`, linear kernel, C=1e10, its tolerance of 1e-3, same float64",
        found,
        asked=3,
        remark=f"our gap {float(ours.gap):.0e}; SVC has a bias of "
        f"{float(peer.intercept_[0]):.2g}, and without it the margin "
        f"{theirs / float(ours.margin):.6f} of ours",
    )


def _mixtures(count: int) -> Row:
    rng = np.random.default_rng(0)
    mixtures = [
        pn.datasets.Mixture.rare_weak(int(d), 1, float(m))
        for d, m in zip(
            rng.integers(200, 20_000, count), rng.uniform(1, 30, count), strict=True
        )
    ]
    found = compare(
        lambda: pn.theory.risk.mixture_risks(mixtures, N),
        lambda: [pn.theory.mixture_risk(mixture, N) for mixture in mixtures],
        repeats=3,
    )
    return row(
        f"risks of {count} mixtures",
        "max margin, least squares, averaging, ridge and support, isotropic",
        "the same, one mixture a call",
        found,
        asked=10,
    )
