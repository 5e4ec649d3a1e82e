"""A training loss with its penalties written out, and the ridge that noise scales."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from penchant._arrays import numbers
from penchant._checks import check_instance
from penchant._types import Numbers, Parameters, Scalar
from penchant.estimators.penalties._base import AbstractPenalty
from penchant.estimators.penalties._entrywise import ScaledRidge
from penchant.estimators.penalties._read import read
from penchant.problems import AbstractProblem, ScaledGradient
from penchant.training import Trajectory


class Penalised(AbstractProblem):
    r"""$\mathcal L(w)+\sum_k\lambda_kP_k(w)$ as a problem that trains like any other.

    The penalties enter the gradient, and with it moments and divisors: coupled, as
    torch's `weight_decay` in SGD. Losses are by value, and batches see the whole
    penalty.

    >>> import jax.numpy as jnp
    >>> import penchant as pn
    >>> loss = pn.Regression(lambda w, X: X @ w, jnp.zeros(2), jnp.eye(2), [1.0, 2.0])
    >>> both = pn.penalties.Penalised(loss, [pn.penalties.Ridge()], [0.5])
    >>> run = pn.train(both, pn.optimizers.GradientDescent(), steps=200, step_size=0.5)
    >>> run.last.round(6).tolist()
    [0.5, 1.0]

    Args:
        problem: The loss without penalties.
        penalties: One or several, or functions of the weights.
        coefficients: One for each.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If there is not one coefficient a penalty, or one is not finite.
    """

    problem: AbstractProblem
    penalties: tuple[AbstractPenalty, ...]
    coefficients: Float[Array, " k"]
    random: bool = eqx.field(static=True)

    def __init__(
        self,
        problem: AbstractProblem,
        penalties: Sequence[AbstractPenalty | Callable[..., Any]],
        coefficients: Numbers,
    ):
        check_instance("problem", problem, AbstractProblem, "a problem of penchant")
        values = np.atleast_1d(numbers("coefficients", coefficients))
        if values.shape != (len(penalties),):
            raise ValueError(
                f"coefficients must be one for each of {len(penalties)} penalties; got "
                f"shape {values.shape}."
            )
        if not np.isfinite(values).all():
            raise ValueError(f"coefficients must be finite; got {values}.")
        self.problem = problem
        self.penalties = tuple(read(penalty) for penalty in penalties)
        self.coefficients = jnp.asarray(values, dtype=float)
        self.random = problem.random

    @property
    def samples(self) -> int:
        return self.problem.samples

    @property
    def start(self) -> Parameters:
        """That of the loss."""
        return self.problem.start

    def penalty(self, w: Parameters) -> Scalar:
        r"""$\sum_k\lambda_kP_k(w)$."""
        values = [p.value(w, self.problem) for p in self.penalties]
        return jnp.sum(self.coefficients * jnp.stack(values))

    def loss(self, w: Parameters) -> Scalar:
        """The penalised loss by value."""
        return self.batch_loss(w)

    def batch_loss(
        self,
        w: Parameters,
        rows: Array | None = None,
        row_weights: Array | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Scalar:
        loss = self.problem.batch_loss(w, rows, row_weights, key)
        return loss + self.penalty(w)

    def scaled_gradient(
        self,
        w: Parameters,
        rows: Array | None = None,
        row_weights: Array | None = None,
        key: PRNGKeyArray | None = None,
    ) -> ScaledGradient:
        g = self.problem.scaled_gradient(w, rows, row_weights, key).value()
        for i, penalty in enumerate(self.penalties):
            part = penalty.gradient(w, self.problem)
            g = jax.tree.map(lambda x, b: x + self.coefficients[i] * b, g, part)  # noqa: B023
        return ScaledGradient(g, jnp.zeros(()))

    def recorded(self, w: Parameters) -> Scalar:
        return self.batch_loss(w)

    def identity(self, w: Parameters) -> Any:
        return (
            self.problem.identity(w),
            self.penalties,
            self.coefficients,
            self.penalty(w),
        )

    @property
    def about(self) -> str:
        return f"{self.problem.about}, plus penalties"

    def __repr__(self) -> str:
        terms = [
            f"{float(c):g}·{p.label}"
            for c, p in zip(self.coefficients, self.penalties, strict=True)
        ]
        return f"Penalised({' + '.join([repr(self.problem), *terms])})"


def noise_scaled(run: Trajectory) -> ScaledRidge:
    r"""$\tfrac12\sum_j(\sqrt{v_j}+\varepsilon)w_j^2$ with what a run divides by now.

    Decoupled decay $\lambda$ beside a divisor rests where
    $-\nabla\mathcal L=\lambda(\sqrt v+\varepsilon)\odot w$: AdamW's penalty is no
    ridge, but one that is stronger in entries with noisier gradients. With batches
    $v$ is that noise; with all samples it is the gradient itself.

    Args:
        run: A run of `train` with a rule that divides entry by entry.

    Raises:
        TypeError: If the rule divides by no memory of single entries.
    """
    check_instance("run", run, Trajectory, "a Trajectory of penchant.train")
    rule = run.rule.optimizer
    second = rule.character().adaptive
    log_v = rule.log_second(run.state.optimizer)
    if second is None or log_v is None:
        raise TypeError(
            "run must be of a rule that divides by the root of a memory of squares, "
            f"entry by entry, as Adam does; got {rule!r}."
        )
    time = jnp.log(jnp.asarray(run.state.step, dtype=float))
    below = lambda v: jnp.exp(second.log_below(v, time))
    return ScaledRidge(jax.tree.map(below, log_v), "noise-scaled ridge")
