"""Data that no weights separate: whether the loss has a minimiser, and which."""

import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from penchant._checks import check_instance
from penchant._types import PerSample, Weights
from penchant.margins import NotSeparableError
from penchant.margins.gradients import margin_rows
from penchant.problems import LinearClassification, losses
from penchant.training import Trajectory

LARGEST = 20_000_000
"""Entries of the linear program that looks for samples one could still push away."""


POLISH = 4
"""Newton steps at the end."""


class Minimiser(eqx.Module):
    r"""Where training ends when no weights classify every sample.

    `weights` minimise the loss; `log_loss` is its log there and `gradient_norm` the
    length of the loss's gradient relative to that at 0, what is left of optimality.
    `attained` is False where some samples can be pushed to infinity at no cost to the
    others: the infimum is then reached by no weights (None: not decided, the data are
    too many). `free` counts directions of weights that change no margin at all: with 0
    the minimiser is unique (several classes: up to adding one vector to every class,
    which changes no prediction); with more, the start and the algorithm choose.

    `certificate` `(n,)` are the simplex weights of samples that prove inseparability,
    `residual` what they fail to cancel, relative to the longest sample.

    `excess` `(r,)` is the loss above the least one at every record of the run, and
    `distance` `(r,)` the Euclidean distance of its margins from the minimiser's,
    relative to the latter: of margins, since they are what is unique.
    """

    weights: Weights
    log_loss: float = eqx.field(static=True)
    gradient_norm: float = eqx.field(static=True)
    attained: bool | None = eqx.field(static=True)
    free: int = eqx.field(static=True)
    misclassified: int = eqx.field(static=True)
    certificate: PerSample
    residual: float = eqx.field(static=True)
    margin: float = eqx.field(static=True)
    excess: Float[Array, " r"]
    distance: Float[Array, " r"]

    @property
    def unique(self) -> bool | None:
        """Whether all minimisers make the same predictions."""
        if self.attained is None:
            return None
        return self.attained and self.free == 0


def find_minimiser(
    problem: LinearClassification, run: Trajectory, proof: NotSeparableError
) -> Minimiser:
    """Minimise the loss by Newton's method, and hold the run against it.

    Args:
        problem: Data that no weights separate.
        run: A run on them.
        proof: What `max_margin` raised.

    Raises:
        TypeError: If an argument is of the wrong kind.
    """
    check_instance("problem", problem, LinearClassification, "a LinearClassification")
    check_instance("run", run, Trajectory, "a Trajectory of penchant.train")
    check_instance("proof", proof, NotSeparableError, "what max_margin raised")
    scale = float(jnp.max(jnp.abs(problem.X)))
    scale = scale if scale > 0 else 1.0
    # log of an exponential loss is convex and never overflows; others are O(1) here
    logarithmic = isinstance(problem.loss, losses.Exponential)

    # under names, with the problem as an argument: what one compiles serves the next
    parts = (problem, jnp.asarray(scale), logarithmic)
    objective = lambda v: _objective(*parts, v)
    gradient = lambda v: _gradient(*parts, v)
    product = lambda v, u: _product(*parts, v, u)
    w, residual = _newton(objective, gradient, product, math.prod(problem.weight_shape))
    weights = jnp.reshape(w, problem.weight_shape) / scale

    log_loss = float(problem.log_loss(weights))
    least = np.asarray(problem.margins(weights))
    ours = np.asarray(run.margins)
    length = float(np.linalg.norm(least))
    log_excess = np.exp(np.asarray(run.log_loss)) - math.exp(log_loss)
    return Minimiser(
        weights=weights,
        log_loss=log_loss,
        gradient_norm=residual,
        attained=_is_attained(problem),
        free=_free_directions(problem),
        misclassified=int((least <= 0).sum()),
        certificate=jnp.asarray(proof.certificate),
        residual=proof.residual,
        margin=proof.margin,
        excess=jnp.asarray(np.maximum(log_excess, 0.0)),
        distance=jnp.asarray(
            np.linalg.norm(ours - least, axis=1) / (length if length > 0 else 1.0)
        ),
    )


@eqx.filter_jit
def _objective(
    problem: LinearClassification, scale: Array, logarithmic: bool, v: Array
) -> Array:
    """The loss, or its log, of weights in units of the samples."""
    value = problem.log_loss(jnp.reshape(v, problem.weight_shape) / scale)
    return value if logarithmic else jnp.exp(value)


@eqx.filter_jit
def _gradient(
    problem: LinearClassification, scale: Array, logarithmic: bool, v: Array
) -> Array:
    return jax.grad(lambda v: _objective(problem, scale, logarithmic, v))(v)


@eqx.filter_jit
def _product(
    problem: LinearClassification, scale: Array, logarithmic: bool, v: Array, u: Array
) -> Array:
    """The Hessian's product with a vector."""
    along = lambda v: _gradient(problem, scale, logarithmic, v)
    return jax.jvp(along, (v,), (u,))[1]


def _newton(
    objective: Any, gradient: Any, product: Any, size: int
) -> tuple[Array, float]:
    """Trust-region Newton; the point, and its gradient relative to that at 0."""
    from scipy.optimize import minimize
    from scipy.sparse.linalg import aslinearoperator, minres

    start = np.zeros(size)
    first = float(jnp.linalg.norm(gradient(jnp.asarray(start))))
    if first == 0:
        return jnp.asarray(start), 0.0
    found = minimize(
        lambda v: float(objective(jnp.asarray(v))),
        start,
        jac=lambda v: np.asarray(gradient(jnp.asarray(v))),
        hessp=lambda v, u: np.asarray(product(jnp.asarray(v), jnp.asarray(u))),
        method="trust-ncg",
        options={"gtol": 1e-6 * first, "maxiter": 500},
    )
    w = found.x
    g = np.asarray(gradient(jnp.asarray(w)))
    # full Newton steps double the digits; MINRES bears directions without curvature
    for _ in range(POLISH):
        along = functools.partial(product, jnp.asarray(w))
        H = aslinearoperator(_Hessian(size, along))
        step, _ = minres(H, -g, rtol=1e-12, maxiter=5 * size)
        trial = np.asarray(gradient(jnp.asarray(w + step)))
        if not np.linalg.norm(trial) < np.linalg.norm(g):
            break
        w, g = w + step, trial
    return jnp.asarray(w), float(np.linalg.norm(g)) / first


class _Hessian:
    """Products with the Hessian, in the form SciPy takes."""

    dtype = np.dtype(float)

    def __init__(self, size: int, product: Any):
        self.shape = (size, size)
        self.product = product

    def matvec(self, u: np.ndarray) -> np.ndarray:
        return np.asarray(self.product(jnp.asarray(u.ravel())))


def _free_directions(problem: LinearClassification) -> int:
    """Dimensions of weights that no margin sees, but for a shift of all classes."""
    rank = int(np.linalg.matrix_rank(np.asarray(problem.X)))
    free = problem.X.shape[1] - rank
    return free if problem.binary else (problem.classes - 1) * free


def _is_attained(problem: LinearClassification) -> bool | None:
    r"""Whether no $w$ has all margins $\ge0$ and some $>0$.

    Along such a $w$ the loss falls for ever. A linear program maximises
    $\sum_{ic}s_{ic}$ over $0\le s\le1$, $s_{ic}\le\langle a_{ic},w\rangle$.
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, eye_array, hstack

    size = math.prod(problem.weight_shape)
    opponents = 1 if problem.binary else problem.classes - 1
    if problem.samples * opponents * size > LARGEST:
        return None
    A = margin_rows(problem)
    A = A / (np.abs(A).max() or 1.0)
    found = linprog(
        np.concatenate([np.zeros(size), -np.ones(len(A))]),
        A_ub=hstack([csr_array(-A), eye_array(len(A))], format="csr"),
        b_ub=np.zeros(len(A)),
        bounds=[(None, None)] * size + [(0.0, 1.0)] * len(A),
        method="highs",
        options={"time_limit": 20.0},
    )
    if found.status != 0:
        return None
    return bool(-found.fun < 1e-6)
