import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from penchant._checks import check_count
from penchant._keys import as_key
from penchant._types import Key, Parameters
from penchant.measures._estimate import Estimate
from penchant.measures._products import (
    check_problem,
    dense_gauss_newton,
    dense_hessian,
    flat_few,
)
from penchant.problems import AbstractProblem, Regression

Square = Float[Array, "p p"]


class GradientNoise(eqx.Module):
    r"""Covariance $\Sigma$ of a batch's gradient, and how near it is to $\alpha H$.

    `trace` is $\operatorname{tr}\Sigma$; `alpha` the least-squares
    $\langle\Sigma,H\rangle/\langle H,H\rangle$; `misfit`
    $\|\Sigma-\alpha H\|_F/\|\Sigma\|_F$, 0 where noise is that of labels on a manifold
    of minimisers.
    """

    covariance: Square
    trace: Estimate
    alpha: Estimate
    misfit: float

    def __repr__(self) -> str:
        return (
            f"GradientNoise(tr Σ = {self.trace!r}, α = {self.alpha!r}, "
            f"|Σ - αH| = {self.misfit:.2g} |Σ|)"
        )


def gradient_noise(
    problem: AbstractProblem,
    w: Parameters,
    *,
    batch: int = 1,
    draws: int = 64,
    key: Key = 0,
) -> GradientNoise:
    r"""The covariance of the gradient of `batch` samples, drawn with replacement.

    $\Sigma=\frac1b\bigl(\operatorname{Cov}_i\nabla\ell_i+\delta^2G\bigr)$ for a
    [`Regression`][penchant.Regression] with label noise $\delta$, exactly; on the
    manifold where it fits the labels, $\Sigma=\frac{\delta^2}bH$ (`li2022what`,
    `li2025sharpness`). For an [`Objective`][penchant.Objective] with noise of its own
    by `draws` gradients, each of one sample and one key, with the error of that.

    >>> import jax.numpy as jnp, penchant as pn
    >>> apply = lambda w, X: X @ w**2
    >>> w = jnp.ones(2)
    >>> problem = pn.Regression(apply, w, [[1.0, 1.0]], [2.0], label_noise=0.5)
    >>> float(pn.measures.gradient_noise(problem, w).alpha)
    0.25

    Args:
        problem: A problem of at most 2 000 parameters.
        w: Weights.
        batch: Samples in a batch.
        draws: Gradients drawn where the noise has no closed form.
        key: Of the draws.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If there are more parameters.
    """
    check_problem(problem)
    batch = check_count("batch", batch)
    x = flat_few(problem, w)
    H = dense_hessian(problem, x)
    closed = isinstance(problem, Regression) or not problem.random
    if closed:
        g = _per_sample(problem, x)
        S = _covariance(g)
        if isinstance(problem, Regression):
            S = S + problem.label_noise**2 * dense_gauss_newton(problem, x)
        S = S / batch
        known = lambda value: Estimate(float(value), 0.0, True, "exact")
        trace, alpha = known(jnp.trace(S)), known(_slope(S, H))
    else:
        draws = check_count("draws", draws, least=8)
        g = _drawn(problem, x, as_key(key), draws)
        S = _covariance(g) * draws / (draws - 1) / batch
        # blocks left out, for the error of anything made of the covariance
        parts = np.array_split(np.arange(draws), 8)
        kept = [np.setdiff1d(np.arange(draws), part) for part in parts]
        rest = [_covariance(g[k]) * len(k) / (len(k) - 1) / batch for k in kept]
        trace = _left_out(float(jnp.trace(S)), [float(jnp.trace(R)) for R in rest])
        alpha = _left_out(float(_slope(S, H)), [float(_slope(R, H)) for R in rest])
    size = float(jnp.linalg.norm(S))
    off = float(jnp.linalg.norm(S - alpha.value * H))
    return GradientNoise(S, trace, alpha, off / size if size > 0 else 0.0)


def _left_out(value: float, parts: list[float]) -> Estimate:
    k = len(parts)
    error = float(np.sqrt((k - 1) * np.var(parts)))
    return Estimate(value, error, how=f"draws in {k} blocks, jackknife", n=k)


def _slope(S: Square, H: Square) -> Array:
    return jnp.sum(S * H) / jnp.sum(H * H)


def _covariance(g: Float[Array, "k p"]) -> Square:
    c = g - jnp.mean(g, axis=0, keepdims=True)
    return c.T @ c / g.shape[0]


@eqx.filter_jit
def _per_sample(problem: AbstractProblem, x: Float[Array, " p"]) -> Float[Array, "n p"]:
    def one(row: Array) -> Array:
        loss = lambda x: problem.batch_loss(problem.unflat(x), row[None])
        return jax.grad(loss)(x)

    return jax.lax.map(one, jnp.arange(problem.samples), batch_size=64)


@eqx.filter_jit
def _drawn(
    problem: AbstractProblem, x: Float[Array, " p"], key: Array, draws: int
) -> Float[Array, "k p"]:
    which, noise = jax.random.split(key)
    rows = jax.random.randint(which, (draws,), 0, problem.samples)

    def one(given: tuple[Array, Array]) -> Array:
        row, key = given
        loss = lambda x: problem.batch_loss(problem.unflat(x), row[None], None, key)
        return jax.grad(loss)(x)

    return jax.lax.map(one, (rows, jax.random.split(noise, draws)), batch_size=16)
