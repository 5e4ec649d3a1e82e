import functools
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from penchant._checks import check_number
from penchant._keys import as_key
from penchant._types import Key, Parameters, Real, Tree
from penchant.measures._estimate import Estimate, not_identifiable
from penchant.measures._jackknife import jackknife
from penchant.measures._lanczos import krylov
from penchant.measures._products import (
    DENSE,
    check_problem,
    dense_gauss_newton,
    dense_hessian,
    outputs_of,
    parts_of,
    product,
    resampled,
)
from penchant.optimizers import Blocks
from penchant.problems import AbstractProblem

Flat = Float[Array, " p"]

DRAWS = 8
"""Independent draws behind the traces of a large problem: each costs a gradient."""

PROBES = 8
"""Random sign vectors behind the trace of a large Hessian: each costs a product."""

PARTS = 16
"""Parts of the samples whose squared gradients make up one draw."""

PRODUCTS = 12
"""Hessian products behind a largest eigenvalue."""

ROUNDING = 1e-9
"""Entries of a diagonal below this share of its largest are 0 but for rounding."""


class Sharpness(eqx.Module):
    r"""Several curvatures of the training loss at some weights.

    `trace` is $\operatorname{tr}H$, `gauss_newton` $\operatorname{tr}G$, `root_trace`
    $\operatorname{tr}\operatorname{Diag}(H)^{1/2}$ (of $\operatorname{Diag}(G)$ where
    its `how` says so), `largest` $\lambda_1(H)$, `preconditioned`
    $\lambda_1(P^{-1/2}HP^{-1/2})$.
    """

    trace: Estimate
    gauss_newton: Estimate
    root_trace: Estimate
    largest: Estimate
    preconditioned: Estimate

    def to_dict(self) -> dict[str, list[float]]:
        """Each as value and error."""
        return {
            name: [float(x.value), float(x.error)]
            for name, x in vars(self).items()
            if isinstance(x, Estimate)
        }

    def __repr__(self) -> str:
        return (
            f"Sharpness:\n  tr H                 {self.trace!r}"
            f"\n  tr G                 {self.gauss_newton!r}"
            f"\n  tr Diag(H)^½         {self.root_trace!r}"
            f"\n  λ₁(H)                {self.largest!r}"
            f"\n  λ₁(P^-½ H P^-½)      {self.preconditioned!r}"
        )


def sharpness(
    problem: AbstractProblem,
    w: Parameters,
    *,
    preconditioner: Tree = None,
    key: Key = 0,
) -> Sharpness:
    r"""Which sharpness weights have: traces and largest eigenvalues, with errors.

    Exact for at most 2 000 parameters. Above, $\operatorname{tr}G$ and the root's trace
    come from 8 gradients with resampled residuals, whose squares have mean
    $\operatorname{diag}G$, the bias of the square root removed by the jackknife over
    the draws; $\operatorname{tr}H$ from 8 products with random signs, off the
    directions that Lanczos found, whose share is summed as it is; eigenvalues from 12
    products of Lanczos each, whose error is the residual's and no statistical one.
    $\operatorname{Diag}(G)$ stands for $\operatorname{Diag}(H)$ there: they agree on
    networks that are linear by pieces, and where residuals are 0.

    The loss is the recorded one, without label noise. It says nothing of
    generalisation.

    >>> import jax.numpy as jnp, penchant as pn
    >>> apply = lambda w, X: X @ w**2
    >>> problem = pn.Regression(apply, jnp.ones(2), [[1.0, 1.0]], [2.0])
    >>> at = pn.measures.sharpness(problem, jnp.ones(2))
    >>> float(at.trace), float(at.root_trace), float(at.largest)
    (8.0, 4.0, 8.0)

    Args:
        problem: Data, model and loss.
        w: Weights.
        preconditioner: $P$, a pytree that *divides* the gradient, such as
            $\sqrt v+\varepsilon$; coordinates at 0 are left out. None: the identity.
        key: Of the random draws.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a shape differs or `preconditioner` has negative entries.
    """
    check_problem(problem)
    x = problem.flat(problem.read(w, "w"))
    P = None
    if preconditioner is not None:
        P = problem.flat(problem.read(preconditioner, "preconditioner"))
        check_number("preconditioner", np.asarray(P), least=0.0)
    if x.size <= DENSE:
        return _exact(problem, x, P)
    return _estimated(problem, x, P, as_key(key))


def power_trace(
    problem: AbstractProblem,
    w: Parameters,
    exponent: Real,
    *,
    gauss_newton: bool = False,
    key: Key = 0,
) -> Estimate:
    r"""$\operatorname{tr}\operatorname{Diag}(H)^e=\sum_jH_{jj}^e$ for any $e>0$.

    What [`AdamE`][penchant.optimizers.AdamE] lowers under label noise has
    $e=1-\lambda$ (`li2025sharpness`). Exact for at most 2 000 parameters, else of
    $\operatorname{Diag}(G)$ by resampled gradients and the jackknife, as `sharpness`.

    >>> import jax.numpy as jnp, penchant as pn
    >>> apply = lambda w, X: X @ w**2
    >>> problem = pn.Regression(apply, jnp.ones(2), [[1.0, 1.0]], [2.0])
    >>> float(pn.measures.power_trace(problem, jnp.ones(2), 0.25))  # 2 * 4 ** 0.25
    2.8284271247461903

    Args:
        problem: Data, model and loss.
        w: Weights.
        exponent: $e$.
        gauss_newton: Of $\operatorname{Diag}(G)$, which is $\operatorname{Diag}(H)$
            where residuals are 0 and has no negative entries near there.
        key: Of the random draws.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If `exponent` is not positive.
    """
    check_problem(problem)
    check_number("exponent", exponent, above=0.0, finite=True)
    e = float(np.asarray(exponent))
    total = lambda h: jnp.sum(h**e)
    negative = lambda h: bool((h < 0).any())
    return _of_diagonal(problem, w, key, total, negative, gauss_newton)


def block_trace(
    problem: AbstractProblem,
    w: Parameters,
    blocks: Tree = None,
    *,
    gauss_newton: bool = False,
    key: Key = 0,
) -> Estimate:
    r"""$\sum_B\sqrt{|B|\operatorname{tr}H_B}$: what Adam-mini and Adalayer lower.

    `li2025sharpness`. Blocks of one entry give the trace of the root, one block of all
    $\sqrt{p\operatorname{tr}H}$.

    >>> import jax.numpy as jnp, penchant as pn
    >>> apply = lambda w, X: X @ w**2
    >>> problem = pn.Regression(apply, jnp.ones(2), [[1.0, 1.0]], [2.0])
    >>> float(pn.measures.block_trace(problem, jnp.ones(2)))
    4.0

    Args:
        problem: Data, model and loss.
        w: Weights.
        blocks: As [`AdamMini`][penchant.optimizers.AdamMini] takes them.
        gauss_newton: Of $G$ in place of $H$, as in `power_trace`.
        key: Of the random draws.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If blocks are not shaped like the weights.
    """
    check_problem(problem)
    parts = Blocks.read(blocks)
    parts.check(problem.start)

    def total(h: Flat) -> Array:
        sums = parts.sums(problem.unflat(h))
        sizes = parts.sizes(problem.start)
        return jnp.sum(jnp.sqrt(sizes * jnp.maximum(sums, 0.0)))

    negative = lambda h: bool((parts.sums(problem.unflat(h)) < 0).any())
    return _of_diagonal(problem, w, key, total, negative, gauss_newton)


def _of_diagonal(
    problem: AbstractProblem,
    w: Parameters,
    key: Key,
    measure: Callable[[Flat], Array],
    negative: Callable[[Flat], bool],
    of_outputs: bool,
) -> Estimate:
    x = problem.flat(problem.read(w, "w"))
    few = x.size <= DENSE
    if (of_outputs or not few) and outputs_of(problem) is None:
        return not_identifiable(_NO_OUTPUTS)
    if few:
        matrix = dense_gauss_newton if of_outputs else dense_hessian
        h = _cleaned(jnp.diag(matrix(problem, x)))
        if negative(h):
            return not_identifiable(_NEGATIVE)
        return Estimate(float(measure(h)), 0.0, True, "exact")
    return _jackknife(_draws(problem, x, as_key(key)), measure)


_NEGATIVE = (
    "the Hessian has negative diagonal entries here, as it has away from minimisers"
)
_NO_OUTPUTS = (
    "an Objective does not say what its outputs are, so that it has no Gauss-Newton "
    "matrix; give a Regression or a classification"
)


def _cleaned(h: Flat) -> Flat:
    """A diagonal whose entries of the size of rounding are 0."""
    return jnp.where(jnp.abs(h) <= ROUNDING * jnp.max(jnp.abs(h)), jnp.abs(h), h)


def _exact(problem: AbstractProblem, x: Flat, P: Flat | None) -> Sharpness:
    H = dense_hessian(problem, x)
    known = lambda value, how="exact": Estimate(float(value), 0.0, True, how)
    h = _cleaned(jnp.diag(H))
    largest = jnp.linalg.eigvalsh(H)[-1]
    if outputs_of(problem) is None:
        of_g = not_identifiable(_NO_OUTPUTS)
    else:
        of_g = known(jnp.trace(dense_gauss_newton(problem, x)))
    root = known(jnp.sum(jnp.sqrt(jnp.maximum(h, 0.0))))
    if bool((h < 0).any()):
        root = not_identifiable(_NEGATIVE)
    if P is None:
        within = known(largest, "exact, P = I")
    else:
        keep = np.flatnonzero(np.asarray(P) > 0)
        r = 1.0 / jnp.sqrt(P[keep])
        M = H[jnp.ix_(keep, keep)] * r[:, None] * r[None, :]
        within = known(jnp.linalg.eigvalsh(M)[-1], _masked(P))
    return Sharpness(known(jnp.trace(H)), of_g, root, known(largest), within)


def _masked(P: Flat) -> str:
    zeros = int((np.asarray(P) == 0).sum())
    return "exact" if zeros == 0 else f"exact, {zeros} coordinates at P = 0 left out"


def _estimated(
    problem: AbstractProblem, x: Flat, P: Flat | None, key: PRNGKeyArray
) -> Sharpness:
    keys = jax.random.split(key, 4)
    if outputs_of(problem) is None:
        of_g = root = not_identifiable(_NO_OUTPUTS)
    else:
        draws = _draws(problem, x, keys[0])
        of_g = _mean(np.asarray(jnp.sum(draws, axis=1)), "resampled gradients")
        root = _jackknife(draws, lambda h: jnp.sum(jnp.sqrt(h)))
    one = jnp.ones_like(x)
    basis, ritz, largest = _top(problem, x, one, keys[2], "")
    rest, error = map(float, _off_basis(problem, x, basis, keys[1]))
    how = f"{PROBES} random signs, off the {PRODUCTS} directions of Lanczos"
    trace = Estimate(float(ritz.sum()) + rest, error, how=how, n=PROBES)
    if P is None:
        within = Estimate(largest.value, largest.error, how=largest.how + ", P = I")
    else:
        alive = P > 0
        scale = jnp.where(alive, 1.0 / jnp.sqrt(jnp.where(alive, P, 1.0)), 0.0)
        zeros = int(jnp.sum(~alive))
        more = f", {zeros} coordinates at P = 0 left out" if zeros else ""
        *_, within = _top(problem, x, scale, keys[3], more)
    return Sharpness(trace, of_g, root, largest, within)


@eqx.filter_jit
def _draws(problem: AbstractProblem, x: Flat, key: PRNGKeyArray) -> Float[Array, "k p"]:
    """Independent unbiased draws of the diagonal of G."""
    deal, *keys = jax.random.split(key, DRAWS + 1)
    parts = parts_of(problem.samples, PARTS, deal)
    draw = functools.partial(resampled, problem, x, parts)
    return jax.lax.map(draw, jnp.stack(keys))


@eqx.filter_jit
def _off_basis(
    problem: AbstractProblem, x: Flat, Q: Float[Array, "k p"], key: PRNGKeyArray
) -> tuple[Array, Array]:
    r"""$\operatorname{tr}\Pi H\Pi$, $\Pi=I-Q^\top Q$, by random signs; its error.

    With $d=v\circ\Pi H\Pi v$ the variance of $\sum_id_i=v^\top\Pi H\Pi v$ is
    $2\sum_i\operatorname{Var}d_i$: both are sums of squares off the diagonal. The
    spread of the coordinates says more of it than that of a few sums, whose mean and
    spread are small together where a few eigenvalues dominate.
    """

    def one(totals: tuple[Flat, Flat], key: PRNGKeyArray) -> tuple:
        v = jax.random.rademacher(key, x.shape, dtype=x.dtype)
        off = lambda v: v - Q.T @ (Q @ v)
        d = v * off(product(problem, x, off(v)))
        return (totals[0] + d, totals[1] + d**2), None

    keys = jax.random.split(key, PROBES)
    zero = jnp.zeros_like(x)
    (total, squares), _ = jax.lax.scan(one, (zero, zero), keys)
    mean = total / PROBES
    spread = jnp.sum(squares - PROBES * mean**2) / (PROBES - 1)
    return jnp.sum(mean), jnp.sqrt(2.0 * jnp.maximum(spread, 0.0) / PROBES)


@eqx.filter_jit
def _ritz(
    problem: AbstractProblem, x: Flat, scale: Flat, key: PRNGKeyArray
) -> tuple[Array, Array, Array]:
    of = lambda v: scale * product(problem, x, scale * v)
    start = jnp.where(scale > 0, jax.random.normal(key, x.shape), 0.0)
    return krylov(of, start, min(PRODUCTS, x.size))


def _top(
    problem: AbstractProblem, x: Flat, scale: Flat, key: PRNGKeyArray, more: str
) -> tuple[Array, np.ndarray, Estimate]:
    Q, values, residuals = _ritz(problem, x, scale, key)
    values, residuals = np.asarray(values), np.asarray(residuals)
    residual, gap = float(residuals[-1]), float(values[-1] - values[-2])
    # the classical bounds: |error| <= residual, and about residual^2 / gap if smaller
    error = min(residual, residual**2 / gap) if gap > 0 else residual
    how = f"{PRODUCTS} products of Lanczos, error by the residual{more}"
    return Q, values, Estimate(float(values[-1]), error, how=how)


def _mean(values: np.ndarray, how: str) -> Estimate:
    n = len(values)
    error = float(values.std(ddof=1)) / math.sqrt(n)
    return Estimate(float(values.mean()), error, how=f"{n} {how}", n=n)


def _jackknife(
    draws: Float[Array, "k p"], measure: Callable[[Flat], Array]
) -> Estimate:
    """A function of the mean of draws, its bias of order 1/k removed."""
    k = draws.shape[0]
    total = jnp.sum(draws, axis=0)
    whole = float(measure(total / k))
    # rounding can leave a coordinate that only one draw has below 0
    left_out = [float(measure(jnp.maximum(total - d, 0.0) / (k - 1))) for d in draws]
    how = f"{k} resampled gradients, of Diag(G), jackknife"
    return jackknife(whole, left_out, how)
