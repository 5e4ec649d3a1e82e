"""Full-batch sign and spectral descent on the synthetic data of `fan2025spectral`."""

from collections.abc import Callable, Iterator

import jax.numpy as jnp
import numpy as np

import penchant as pn
from benchmarks._report import Row, row
from benchmarks._timing import compare

SCALE, EXPONENT = 0.1, 0.5
STEP_SIZE = pn.schedules.power(SCALE, EXPONENT)
RANK_TOLERANCE = 1e-12

PRODUCTS = 1.3
"""A step over its two matrix products, at most."""

Direction = Callable[[np.ndarray], np.ndarray]

REASONS = {
    "sign descent": (
        "both sides are bound by arithmetic, not by an interpreter. Of our 45 µs a "
        "step the two matrix products take 20 and the 5,000 exponentials 10 to 20 "
        "(XLA vectorises them four times better where n is a multiple of 8); of "
        "NumPy's 80 µs the products take 35, the exponentials 7, and a dozen passes "
        "over small arrays the rest. Without any interpreter the NumPy loop would "
        "still take longer than a fifth of its time."
    ),
    "sign descent over its products": (
        "beside the two products a step takes 5,000 exponentials and their logarithm, "
        "the largest score and the normalisation of 500 rows, and the update: some "
        "20 µs in XLA's code, where the exponentials alone take 10 to 20."
    ),
    "spectral descent over its products": (
        "the decomposition of a 10 by 25 matrix by LAPACK takes 16 to 26 µs, as much "
        "as the products; the rest is as for sign descent."
    ),
    "spectral descent": (
        "as for sign descent; the decomposition of a 10 by 25 matrix is LAPACK's on "
        "both sides, 16 to 26 µs of our step and some 35 of NumPy's."
    ),
}


def rows(quick: bool) -> Iterator[Row]:
    problem = class_centres(n=500, k=10, d=25)
    X, y = np.asarray(problem.X), np.asarray(problem.y)
    peers = {
        "NumPy loop, as one writes it": plain_gradient(X, y),
        "NumPy loop, tuned by hand": tuned_gradient(X, y),
    }
    for gradient in peers.values():
        _check(gradient, problem)
    steps = 500 if quick else 10_000
    cases = (
        ("sign descent", pn.optimizers.SignDescent(), np.sign),
        (
            "spectral descent",
            pn.optimizers.SteepestDescent(pn.norms.Spectral()),
            polar_factor,
        ),
    )
    for name, optimizer, direction in cases:
        for peer, gradient in peers.items():
            found = compare(
                lambda rule=optimizer: _train(problem, rule, steps),
                lambda g=gradient, d=direction: numpy_loop(
                    g, d, problem.weight_shape, steps
                ),
                repeats=1 if quick else 5,
                our_units=steps,
                peer_units=steps,
            )
            yield row(
                name,
                f"full-batch {name}, n=500, k=10, d=25, cross-entropy, {steps:,} steps",
                peer,
                found,
                asked=5,
                unit="a step",
            )
        found = compare(
            lambda rule=optimizer: _train(problem, rule, steps),
            lambda: products_alone(X, problem.weight_shape, steps),
            repeats=1 if quick else 5,
            our_units=steps,
            peer_units=steps,
        )
        yield row(
            f"{name} over its products",
            f"full-batch {name}, n=500, k=10, d=25, {steps:,} steps",
            "the two matrix products of a step alone, NumPy",
            found,
            asked=1 / PRODUCTS,
            unit="a step",
        )


def class_centres(
    n: int, k: int, d: int, noise: float = 0.1
) -> pn.LinearClassification:
    """Classes about centres drawn from a Gaussian."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % k
    X = rng.normal(size=(k, d))[y] + noise * rng.normal(size=(n, d))
    return pn.LinearClassification(X, y, loss=pn.losses.Logistic())


def _train(
    problem: pn.LinearClassification,
    optimizer: pn.optimizers.AbstractOptimizer,
    steps: int,
) -> pn.Trajectory:
    return pn.train(problem, optimizer, step_size=STEP_SIZE, steps=steps, record=50)


def numpy_loop(
    gradient: Direction, direction: Direction, shape: tuple[int, ...], steps: int
) -> np.ndarray:
    """Normalised steepest descent; both rules ignore the gradient's scale."""
    W = np.zeros(shape)
    for t in range(steps):
        W -= SCALE * (t + 2.0) ** -EXPONENT * direction(gradient(W))
    return W


def products_alone(X: np.ndarray, shape: tuple[int, ...], steps: int) -> np.ndarray:
    """Scores and gradient of every step, and nothing else of it."""
    W, columns = np.full(shape, 0.01), np.ascontiguousarray(X.T)
    Z, G = np.empty((shape[0], len(X))), np.empty(shape)
    for _ in range(steps):
        np.matmul(W, columns, out=Z)
        np.matmul(Z, X, out=G)
    return G


def plain_gradient(X: np.ndarray, y: np.ndarray) -> Direction:
    """The gradient of the mean cross-entropy up to a positive factor, at any loss."""
    i = np.arange(len(X))

    def gradient(W: np.ndarray) -> np.ndarray:
        Z = X @ W.T
        M = Z[i, y][:, None] - Z
        M[i, y] = np.inf
        a = M.min(axis=1)
        E = np.exp(a[:, None] - M)
        s = E.sum(axis=1)
        p = np.maximum(a, 0.0)
        log_loss = np.log(np.exp(np.minimum(a, 0.0)) + np.exp(-p) * s) - a + p
        log_slope = -a - log_loss
        Q = np.exp(log_slope - log_slope.max())[:, None] * E
        R = Q.copy()
        R[i, y] = -Q.sum(axis=1)
        return R.T @ X / len(X)

    return gradient


def tuned_gradient(X: np.ndarray, y: np.ndarray) -> Direction:
    """The same with classes first, few passes and work in place.

    With the own class left out, `top` is a sample's largest score, `s` the sum of
    exponentials relative to it, and `a` the least margin; then the slopes are
    $e^{-p}E/(e^{min(a, 0)}+e^{-p}s)$ with $p=max(a, 0)$, here in the frame of the
    largest.
    """
    n = len(X)
    own = (y, np.arange(n))  # classes first: reductions over them run along rows
    columns = np.ascontiguousarray(X.T)

    def gradient(W: np.ndarray) -> np.ndarray:
        Z = W @ columns
        of_own = Z[own]
        Z[own] = -np.inf
        top = Z.max(axis=0)
        Z -= top
        E = np.exp(Z, out=Z)
        s = E.sum(axis=0)
        a = of_own - top
        p = np.maximum(a, 0.0)
        f = np.exp(p.min() - p) / (np.exp(np.minimum(a, 0.0)) + np.exp(-p) * s)
        E *= f
        E[own] = -f * s
        return E @ X / n

    return gradient


def polar_factor(G: np.ndarray) -> np.ndarray:
    """The steepest direction in the spectral norm."""
    U, s, Vt = np.linalg.svd(G, full_matrices=False)
    return (U * (s > RANK_TOLERANCE * s[0])) @ Vt


def _check(gradient: Direction, problem: pn.LinearClassification) -> None:
    """Equal directions: the factors in front are each frame's own."""
    W = np.random.default_rng(1).normal(size=problem.weight_shape)
    ours = np.asarray(problem.scaled_gradient(jnp.asarray(W)).direction)
    theirs = gradient(W)
    ours, theirs = ours / np.linalg.norm(ours), theirs / np.linalg.norm(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-14)
