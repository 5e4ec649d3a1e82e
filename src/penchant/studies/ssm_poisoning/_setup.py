"""Data and starts of Slutzky et al. (2025), and their rule."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.stats import binom

import penchant as pn
from penchant.studies._statistics import student

LAGS = 20
"""Lags of Theorem 1's table; all others here have 40."""


class Theorem1:
    """One of the two settings of Theorem 1: sizes, and how poles start.

    Poles are drawn from U(0, scale), sorted, and the second is put `gap` below the
    first, gap = .05 exp(-m log10(1/scale)).
    """

    def __init__(self, length: int, states: int, scale: float, m: float, seeds: Any):
        self.length, self.states, self.scale = length, states, scale
        self.gap = 0.05 / np.exp(m * np.log10(1.0 / scale))
        self.seeds = seeds

    @property
    def teacher(self) -> pn.ssm.StateSpace:
        """Poles 1 and 0, so that the response is d at lag 0 and 1 beyond."""
        root = np.sqrt(self.states - 1.0)
        return pn.ssm.StateSpace([1.0, 0.0], [1.0, root], [1.0, root])

    def poles(self, seed: int, gap: float | None = None) -> np.ndarray:
        """The start, from NumPy's legacy generator as in the authors' notebook."""
        draws = np.random.RandomState(seed).rand(self.states)
        a = np.sort(self.scale * draws)[::-1].copy()
        a[1] = a[0] - (self.gap if gap is None else gap)
        return a

    def problem(
        self, a: np.ndarray, amplitude: float | None = None
    ) -> pn.ssm.SequenceRegression:
        """One sequence at lag κ-1, and a special one at lag 1 of this amplitude."""
        X = np.zeros((1 if amplitude is None else 2, self.length))
        X[0, 0] = 1.0
        if amplitude is not None:
            X[1, -2] = amplitude
        return pn.ssm.regression(self.teacher, X, a=a, trained="a")


SMALL = Theorem1(7, 10, 1e-3, 5, (242, 243, 244, 246))
LARGE = Theorem1(9, 20, 5e-3, 10, (342, 344, 345, 346))


class Draw:
    """A data set with A, B and C trained: normal entries, and a start of our own.

    Sequences are the authors' draws; their starts come from a framework's generator
    and are ours here, of the same law: absolute normals, sorted but for C, the second
    of A and B put `gap` below the first, `warm` added to both.
    """

    def __init__(
        self,
        length: int,
        states: int,
        scales: tuple[float, float],
        m: float,
        first: int,
        warm: float,
        special: tuple[int, ...] = (-2,),
    ):
        self.length, self.states, self.scales = length, states, scales
        self.gap = 0.05 * np.exp(-m * np.log10(1.0 / scales[0]))
        self.first, self.warm, self.special = first, warm, special
        self.teacher = pn.ssm.StateSpace([1.0], [1.0], [1.0])

    def sequences(self, seed: int, poisoned: bool) -> np.ndarray:
        """Eight sequences, ten more with energy at the special places."""
        draws = np.random.RandomState(seed)
        X = np.zeros((18 if poisoned else 8, self.length))
        for row in X[:8]:
            row[: self.first] = draws.normal(size=self.first)
        for row in X[8:]:
            row[list(self.special)] = draws.normal(size=len(self.special))
        return X

    def problem(
        self, seed: int, start: int, poisoned: bool
    ) -> pn.ssm.SequenceRegression:
        """Data of one seed, a start of another."""
        draws = np.random.default_rng(start)
        sd_a, sd_b = self.scales
        a = np.sort(np.abs(sd_a * draws.normal(size=self.states)))[::-1].copy()
        b = np.sort(np.abs(sd_b * draws.normal(size=self.states)))[::-1].copy()
        c = np.abs(sd_b * draws.normal(size=self.states))
        a[1], b[1] = a[0] - self.gap, b[0] - self.gap
        return pn.ssm.regression(
            self.teacher,
            self.sequences(seed, poisoned),
            a=a + self.warm,
            b=b + self.warm,
            c=c,
        )


BEYOND = {
    6: Draw(6, 10, (1e-3, 1e-3), 5.0, 2, 0.1),
    10: Draw(10, 20, (1e-2, 1e-3), 3.0, 7, 0.1),
}
"""Standalone models beyond Theorem 1, by length."""

DYNAMICS = {
    6: Draw(6, 10, (1e-2, 1e-2), 20.0, 2, 0.0, special=(-2, -1)),
    10: Draw(10, 20, (1e-3, 5e-2), 20.0, 7, 0.0, special=(-2, -1)),
}
"""Those of the dynamics figures, whose special rows have the last two places."""


class Adaptive(pn.optimizers.AbstractOptimizer):
    r"""The authors' rule, after `razin2022implicit`: the gradient over a root.

    $w\leftarrow w-\eta\,g/(\sqrt{\hat m}+10^{-6})$ with $\hat m$ the bias-corrected
    mean, of decay .8, of the *sum* of the Frobenius norms of the gradients in A, B and
    C. That of A has its off-diagonal entries too, which are projected away afterwards:
    $\partial\mathcal L/\partial A_{ij}=\sum_l\rho_lc_i\sum_{m<l}a_i^ma_j^{l-1-m}b_j$
    with $\rho=2M(h-h^*)$, in which this rule knows its problem.
    """

    M: Array
    target: Array

    def __init__(self, problem: pn.ssm.SequenceRegression):
        F, f, _ = problem.lag_form()
        self.M = jnp.asarray(2.0 * F.T @ F)
        self.target = jnp.asarray(2.0 * F.T @ f)

    def init(self, w: Any) -> tuple[Array, Array]:
        return jnp.zeros(()), jnp.zeros(())

    def update(self, gradient: Any, state: Any, w: Any, step_size: Any) -> Any:
        mean, t = state
        g = gradient.value()
        rho = self.M @ w.impulse(self.M.shape[0]) - self.target
        full = _off_diagonal(w, rho)
        size = (
            jnp.sqrt(jnp.sum(full**2))
            + jnp.sqrt(jnp.sum(g.b**2))
            + jnp.sqrt(jnp.sum(g.c**2))
        )
        mean, t = 0.8 * mean + 0.2 * size, t + 1.0
        step = step_size / (jnp.sqrt(mean / (1.0 - 0.8**t)) + 1e-6)
        return jax.tree.map(lambda x, dx: x - step * dx, w, g), (mean, t)


def _off_diagonal(w: pn.ssm.StateSpace, rho: Array) -> Array:
    """The gradient in all entries of A, at a diagonal one."""
    G = jnp.zeros((w.size, w.size))
    inner = jnp.zeros((w.size, w.size))  # Σ_m<l a_i^m a_j^(l-1-m)
    power = jnp.ones(w.size)
    for l in range(1, rho.shape[0]):
        inner = inner * w.a[None, :] + power[:, None]
        power = power * w.a
        G = G + rho[l] * inner
    return w.c[:, None] * G * w.b[None, :]


def ratios(poisoned: Any, baseline: Any) -> tuple[float, str]:
    """The geometric mean of ratios, seed by seed, and its interval in words."""
    logs = np.log(np.asarray(poisoned, dtype=float) / np.asarray(baseline, dtype=float))
    least, most = np.exp(logs.min()), np.exp(logs.max())
    mean, half = student([float(x) for x in logs])
    if len(logs) == 1:
        return float(np.exp(mean)), "one start"
    text = f"geometric mean of {len(logs)} starts {np.exp(mean):.3g}"
    if len(logs) > 2:
        text += f", 95 % (t) {np.exp(mean - half):.3g} to {np.exp(mean + half):.3g}"
    return float(np.exp(mean)), f"{text}; from {least:.3g} to {most:.3g}"


def median(values: np.ndarray) -> tuple[float, str]:
    """The median, and the 95 % interval that order statistics give of any law."""
    x = np.sort(values)
    k = max(int(binom.ppf(0.025, len(x), 0.5)), 1)
    return float(np.median(x)), f"95 % {x[k - 1]:.3g} to {x[-k]:.3g}"


def ranks(run: pn.Trajectory) -> np.ndarray:
    """Effective ranks of A along a run."""
    return np.asarray(eqx.filter_vmap(pn.ssm.effective_rank)(run.weights.a))
