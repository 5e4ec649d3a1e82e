"""Modified losses that are losses: those of gradient descent with its memories."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from penchant import optimizers
from penchant._checks import check_instance, check_number
from penchant._types import Numbers, Parameters, Real, Scalar, Tree
from penchant.optimizers import AbstractOptimizer
from penchant.problems import AbstractProblem, ScaledGradient
from penchant.theory.modified._term import added_term


class ModifiedLoss(AbstractProblem):
    r"""$\mathcal L(w)+\kappa\,\frac1m\sum_k\|\nabla\mathcal L_k(w)\|^2$.

    `coefficient` is $\kappa$, `rows` `(m, b)` the batches $\mathcal L_k$, None for one
    of all samples. `pace` is what the time of steps is multiplied with: a step of the
    rule follows the gradient flow of this loss for `pace` times the step size. It is a
    problem like others: `train` runs on it, and `flows.gradient_flow` follows it.
    """

    problem: AbstractProblem
    coefficient: Scalar
    rows: Int[Array, "m b"] | None
    pace: float = eqx.field(static=True)

    @property
    def samples(self) -> int:
        return self.problem.samples

    @property
    def start(self) -> Parameters:
        return self.problem.start

    def penalty(self, w: Parameters) -> Scalar:
        r"""$\frac1m\sum_k\|\nabla\mathcal L_k\|^2$."""
        if self.rows is None:
            return _square(self.problem, w, None)
        return jnp.mean(jax.lax.map(lambda r: _square(self.problem, w, r), self.rows))

    def batch_loss(
        self,
        w: Parameters,
        rows: Tree = None,
        row_weights: Float[Array, " b"] | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Scalar:
        loss = self.problem.batch_loss(w, rows, row_weights, key)
        return loss + self.coefficient * self.penalty(w)

    def scaled_gradient(
        self,
        w: Parameters,
        rows: Tree = None,
        row_weights: Float[Array, " b"] | None = None,
        key: PRNGKeyArray | None = None,
    ) -> ScaledGradient:
        g = jax.grad(self.batch_loss)(w, rows, row_weights, key)
        return ScaledGradient(g, jnp.zeros(()))

    def recorded(self, w: Parameters) -> Scalar:
        return self.batch_loss(w)

    def identity(self, w: Parameters) -> Any:
        return self.problem.identity(w), self.coefficient, self.rows

    def __repr__(self) -> str:
        mean = "" if self.rows is None else f", {len(self.rows)} batches"
        return f"ModifiedLoss({self.problem!r}, κ={float(self.coefficient):.4g}{mean})"


def _square(problem: AbstractProblem, w: Parameters, rows: Tree) -> Scalar:
    g = problem.scaled_gradient(w, rows).value()
    return jnp.asarray(sum(jnp.sum(x**2) for x in jax.tree.leaves(g)))


def modified_loss(
    problem: AbstractProblem,
    optimizer: AbstractOptimizer | str | object,
    *,
    step_size: Real,
) -> ModifiedLoss:
    r"""The loss whose gradient flow a rule of gradient descent follows to $O(h^2)$.

    | rule | $\kappa$ of $\mathcal L+\kappa\|\nabla\mathcal L\|^2$ | source |
    |---|---|---|
    | gradient descent | $\frac h4$ | `barrett2021implicit` |
    | heavy ball, $b\leftarrow\beta b+g$ | $\frac{h(1+\beta)}{4(1-\beta)^2}$ | `ghosh2023implicit` |
    | Nesterov | $\frac{h(1-\beta+2\beta^2)}{4(1-\beta)^2}$ | `cattaneo2025memory` |
    | an exponential mean | $\frac{h(1+\beta)}{4(1-\beta)}$ | derived |

    The limit of a memory that is full. Adam and its kin have no modified loss in
    general: their term is not the gradient of anything, but for one parameter or
    extreme $\varepsilon$; [`added_term`][penchant.theory.modified.added_term] says what
    it is.

    >>> import jax.numpy as jnp, penchant as pn
    >>> bowl = pn.Objective(lambda w, a: (a @ w) ** 2 / 2, jnp.ones(1), jnp.eye(1))
    >>> loss = pn.theory.modified.modified_loss(bowl, "gd", step_size=0.1)
    >>> float(loss.coefficient), loss.pace
    (0.025, 1.0)

    Raises:
        TypeError: If an argument is of the wrong kind, or the rule has no such loss.
        ValueError: If `step_size` is not positive.
    """  # noqa: E501
    check_instance("problem", problem, AbstractProblem, "a problem of penchant")
    check_number("step_size", step_size, above=0.0, finite=True)
    rule = optimizers.read(optimizer)
    term = added_term(rule, step_size=step_size)
    if term.norm != "‖∇L‖²" or term.coefficient is None:
        raise TypeError(
            "optimizer must be gradient descent, with momentum or without, for its "
            f"term to be the gradient of a loss; got {rule!r}: {term.statement}"
        )
    return ModifiedLoss(problem, jnp.asarray(term.coefficient), None, term.pace)


def epoch_loss(
    problem: AbstractProblem, rows: Numbers, *, step_size: Real
) -> ModifiedLoss:
    r"""$\mathcal L+\frac h{4m}\sum_k\|\nabla\mathcal L_k\|^2$ of `smith2021origin`.

    The mean over all orders of the $m$ batches of where one epoch of SGD ends is on its
    gradient flow, up to $O(h^3)$ at a fixed number of batches. Single orders are
    $O(h^2)$ away. It needs batches without replacement; drawn with replacement they
    leave $\frac h4\|\nabla\mathcal L\|^2$ alone.

    >>> import jax.numpy as jnp, penchant as pn
    >>> bowl = pn.Objective(lambda w, a: (a @ w) ** 2, jnp.ones(2), jnp.eye(2))
    >>> loss = pn.theory.modified.epoch_loss(bowl, [[0], [1]], step_size=0.1)
    >>> float(loss.penalty(jnp.ones(2)))
    4.0

    Args:
        problem: Data, model and loss.
        rows: `(m, b)` rows of the batches of an epoch.
        step_size: $h$.

    Raises:
        TypeError: If `problem` is of the wrong kind.
        ValueError: If `rows` are no rows, or `step_size` is not positive.
    """
    check_instance("problem", problem, AbstractProblem, "a problem of penchant")
    check_number("step_size", step_size, above=0.0, finite=True)
    batches = np.asarray(rows)
    good = batches.ndim == 2 and batches.dtype.kind in "iu" and batches.size
    if not good or batches.min() < 0 or batches.max() >= problem.samples:
        raise ValueError(
            f"rows must be (m, b) whole numbers from 0 to {problem.samples - 1}; got "
            f"an array of shape {batches.shape} and type {batches.dtype}."
        )
    kappa = jnp.asarray(step_size, dtype=float) / 4.0
    return ModifiedLoss(problem, kappa, jnp.asarray(batches), 1.0)
