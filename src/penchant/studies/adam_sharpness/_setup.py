"""What the figures share: problems, run-in schedules, projections, baselines."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import penchant as pn
from penchant.studies._runs import finished

ONE = pn.batching.WithReplacement(1)

HUES = {
    "SGD": "#0072b2",
    "Adam": "#d55e00",
    "AdamE, λ = ¼": "#009e73",
    "AdamE, λ = ¾": "#cc79a7",
    "Adam-mini": "#e69f00",
    "ℓ1": "#56b4e9",
    "nuclear norm": "#56b4e9",
}
"""One colour a method in every picture."""


def monomial(
    powers: tuple[int, ...], start: tuple[float, ...], noise: float = 1.0
) -> pn.Regression:
    r"""One residual $\prod_jx_j^{a_j}-1$; the last entry of the start makes it 0."""
    a, w = np.array(powers, float), np.array(start, float)
    w[-1] = np.prod(w[:-1] ** a[:-1]) ** (-1 / a[-1])
    apply = lambda w, X: jnp.prod(w ** jnp.asarray(a))[None] + 0 * X[:, 0]
    return pn.Regression(apply, w, [[1.0]], [1.0], label_noise=noise)


def two_outputs(noise: float, start: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Any:
    r"""Residuals $x^2y-1$ and $y^2z-1$: minimisers are a curve, normals a plane."""

    def apply(w: Array, X: Array) -> Array:
        x, y, z = w
        return jnp.array([[x**2 * y, y**2 * z]]) + 0 * X

    one = np.ones((1, 2))
    return pn.Regression(apply, np.array(start), one, one, label_noise=noise)


def diagonal_of(w: np.ndarray, powers: tuple[int, ...]) -> np.ndarray:
    r"""$\operatorname{diag}H$ of a monomial near its minimisers, row by row."""
    a = np.array(powers, float)
    return (np.prod(w**a, axis=-1, keepdims=True) * a / w) ** 2


def onto_monomial(w: np.ndarray, powers: tuple[int, ...], S: np.ndarray) -> np.ndarray:
    r"""$\Phi_S(w)$, row by row.

    Along the flow $x_j^2$ moves by $S_ja_j\tau$, so that $\tau$ is the root of one
    increasing function; by bisection, to rounding.
    """
    a = np.array(powers, float)
    slope, square = S * a, w**2
    low = -np.min(square / slope, axis=-1, keepdims=True)
    high = np.full_like(low, 1.0)
    at = lambda tau: (
        0.5
        * np.sum(
            a * np.log(np.maximum(square + tau * slope, 1e-300)), axis=-1, keepdims=True
        )
    )
    while (at(high) < 0).any():
        high = np.where(at(high) < 0, 2 * high, high)
    for _ in range(60):
        middle = 0.5 * (low + high)
        above = at(middle) > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.sqrt(square + 0.5 * (low + high) * slope)


class AfterRunIn:
    """No step for a while, in which second moments settle; then steps of one size."""

    def __init__(self, step_size: float, run_in: int):
        self.step_size, self.run_in = step_size, run_in

    def __call__(self, t: int | Array) -> Array:
        return jnp.where(jnp.asarray(t) < self.run_in, 0.0, self.step_size)


class Recovery(NamedTuple):
    """A diagonal network on `n` signs of `d` numbers, `k` of which matter."""

    noisy: pn.Regression
    quiet: pn.Regression
    truth: np.ndarray

    def error(self, w: dict[str, Any]) -> float:
        r"""The test loss, $\frac12\|\hat\beta-\beta^*\|^2$."""
        return risk(np.asarray(w["u"]), np.asarray(w["v"]), self.truth)


def risk(u: np.ndarray, v: np.ndarray, truth: np.ndarray) -> float:
    r"""$\frac12\|u^2-v^2-\beta^*\|^2$."""
    return 0.5 * float(np.sum((u**2 - v**2 - truth) ** 2))


def network(w: dict[str, Array], X: Array) -> Array:
    """A diagonal linear network."""
    return X @ (w["u"] ** 2 - w["v"] ** 2)


def recovery(d: int, n: int, k: int, start: float, seed: int) -> Recovery:
    """Sparse recovery by a diagonal network, label noise 1 on the noisy one."""
    rng = np.random.default_rng(seed)
    X = rng.choice([-1.0, 1.0], size=(n, d))
    truth = np.zeros(d)
    truth[rng.permutation(d)[:k]] = rng.choice([-1.0, 1.0], size=k)
    w = {"u": np.full(d, start), "v": np.full(d, start)}
    make = functools.partial(pn.Regression, network, w, X, X @ truth)
    return Recovery(make(label_noise=1.0), make(), truth)


def basis_pursuit(
    X: np.ndarray, y: np.ndarray, tol: float = 1e-6
) -> tuple[np.ndarray, float]:
    r"""$\arg\min\|\beta\|_1$ with $X\beta=y$, and its relative duality gap."""

    def shrink(b: np.ndarray, t: float) -> np.ndarray:
        return np.sign(b) * np.maximum(np.abs(b) - t, 0.0)

    dual = lambda g: float(np.abs(g).max())
    return _least(X, y, shrink, lambda b: float(np.abs(b).sum()), dual, tol)


def least_nuclear(
    A: np.ndarray, b: np.ndarray, tol: float = 1e-6
) -> tuple[np.ndarray, float]:
    r"""$\arg\min\|M\|_*$ with $\langle A_i,M\rangle=b_i$, and its relative gap."""
    n, *shape = A.shape

    def shrink(m: np.ndarray, t: float) -> np.ndarray:
        U, s, V = np.linalg.svd(m.reshape(shape), full_matrices=False)
        return ((U * np.maximum(s - t, 0.0)) @ V).ravel()

    spectrum = lambda m: np.linalg.svd(m.reshape(shape), compute_uv=False)
    value, dual = lambda m: spectrum(m).sum(), lambda g: spectrum(g)[0]
    M, gap = _least(A.reshape(n, -1), b, shrink, value, dual, tol)
    return M.reshape(shape), gap


def _least(
    A: np.ndarray,
    b: np.ndarray,
    shrink: Callable[[np.ndarray, float], np.ndarray],
    value: Callable[[np.ndarray], float],
    dual: Callable[[np.ndarray], float],
    tol: float,
) -> tuple[np.ndarray, float]:
    r"""Least norm on $Ax=b$ by Douglas-Rachford, down to a relative duality gap.

    With $\lambda$ from the multipliers, scaled to $\|A^\top\lambda\|_*\le1$, no norm on
    the constraint is below $\langle\lambda,b\rangle$.
    """
    gram = np.linalg.inv(A @ A.T)
    onto = lambda z: z - A.T @ (gram @ (A @ z - b))
    z = onto(np.zeros(A.shape[1]))
    t, gap, x = float(np.abs(z).max()), np.inf, z
    for count in range(20_000):
        x = onto(z)
        y = shrink(2 * x - z, t)
        z = z + y - x
        if count % 50 == 49:
            # (x - z) / t is a subgradient at the end, in the range of A'
            multiplier = gram @ (A @ ((x - z) / t))
            size = dual(A.T @ multiplier)
            bound = float(multiplier @ b) / max(size, 1.0)
            gap = 1.0 - bound / value(x)
            if gap <= tol:
                break
    return x, float(gap)


def stages(
    problem: pn.Regression,
    rule: pn.optimizers.AbstractOptimizer,
    *,
    step_size: float,
    cuts: tuple[int, ...],
    batching: pn.batching.AbstractBatching = ONE,
    key: int = 0,
) -> list[pn.Trajectory]:
    """One run in stages that end at the steps of `cuts`."""
    runs: list[pn.Trajectory] = []
    before = 0
    for number, cut in enumerate(cuts):
        run = pn.train(
            problem, rule, steps=cut - before, step_size=step_size, batching=batching,
            key=1000 * key + number, record=2, progress=False,
            after=runs[-1] if runs else None,
        )  # fmt: skip
        runs.append(finished(run))
        before = cut
    return runs


def cooled(
    quiet: pn.Regression, run: pn.Trajectory, *, step_size: float, steps: int
) -> Any:
    """The last weights after some full-batch steps without noise."""
    after = pn.train(
        quiet, run.rule.optimizer, steps=steps, step_size=step_size, record=2,
        progress=False, after=run,
    )  # fmt: skip
    return finished(after).last
