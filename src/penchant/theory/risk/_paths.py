"""From averaging to interpolation: ridge foretold, gradient descent followed."""

import abc
import dataclasses
from typing import final

import equinox as eqx
import numpy as np
from scipy import special

from penchant._checks import check_count, check_instance, check_number
from penchant._types import Numbers
from penchant.datasets import Mixture
from penchant.problems import LinearClassification, of_dataset
from penchant.theory.risk._equivalent import least_squares
from penchant.theory.risk._mixture_risk import axes_of


class AbstractDualStep(abc.ABC):
    r"""A step of gradient descent in the weights of the rows, $w=\sum_i\alpha_iz_i$."""

    @abc.abstractmethod
    def rate(self, K: np.ndarray) -> float:
        """The step size for a Gram matrix."""

    @abc.abstractmethod
    def step(self, margins: np.ndarray, rate: float) -> np.ndarray:
        """What is added to α at these margins."""


@final
@dataclasses.dataclass(frozen=True)
class LogisticSteps(AbstractDualStep):
    r"""Gradient descent on the mean logistic loss, step size $4n/\lambda_{\max}(K)$.

    It tends to max margin like $1/\log t$.
    """

    def rate(self, K: np.ndarray) -> float:
        return float(4.0 / np.linalg.eigvalsh(K)[-1])

    def step(self, margins: np.ndarray, rate: float) -> np.ndarray:
        return rate * special.expit(-margins)


@final
@dataclasses.dataclass(frozen=True)
class NormalisedSteps(AbstractDualStep):
    r"""Gradient descent on the log of the exponential loss, step size $1/\max K_{ii}$.

    It tends to max margin like $1/t$: where early stopping matters, it is over sooner.
    """

    def rate(self, K: np.ndarray) -> float:
        return float(1.0 / np.diagonal(K).max())

    def step(self, margins: np.ndarray, rate: float) -> np.ndarray:
        weight = np.exp(margins.min() - margins)
        return rate / weight.sum() * weight


class DualPath(eqx.Module):
    r"""Gradient descent from 0 by its weights of the rows, at log-spaced steps.

    `steps` `(r,)` from 1, `alphas` `(r, n)`, `margin` `(r,)` the least over $\|w\|$.
    """

    steps: np.ndarray
    alphas: np.ndarray
    margin: np.ndarray
    signed: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """`(r, d)` weights."""
        return self.alphas @ self.signed

    def __repr__(self) -> str:
        return (
            f"DualPath({len(self.steps)} records to step {self.steps[-1]}, margin "
            f"{self.margin[-1]:.6g})"
        )


def dual_path(
    problem: LinearClassification | object,
    *,
    steps: int,
    rule: AbstractDualStep = LogisticSteps(),
    records: int = 60,
) -> DualPath:
    r"""Gradient descent on two classes among the $n$ rows: a step costs $n^2$.

    After one step the weights are the mean of the rows, averaging; in the end they are
    max margin. Risks on the way are
    [`Mixture.log_risk`][penchant.datasets.Mixture] of `.weights`: with more noise than
    signal the first is often the best of all.

    >>> import penchant as pn
    >>> mixture = pn.datasets.Mixture.rare_weak(300, 1, 4.0)
    >>> problem = mixture.sample(50, seed=0).problem()
    >>> path = pn.theory.risk.dual_path(problem, steps=1000)
    >>> rho = mixture.rho(path.weights)
    >>> bool(rho[0] > rho[-1])
    True

    Args:
        problem: Two classes, or a `Dataset` of two.
        steps: How many.
        rule: `LogisticSteps()`, `NormalisedSteps()`, or one of your own.
        records: At most so many, log-spaced; the first and last step are among them.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If there are more classes, or all rows are 0.
    """
    problem = of_dataset(problem)
    check_instance("problem", problem, LinearClassification, "a LinearClassification")
    assert isinstance(problem, LinearClassification)
    check_instance("rule", rule, AbstractDualStep, "LogisticSteps() or its like")
    steps, records = check_count("steps", steps), check_count("records", records)
    if not problem.binary:
        raise ValueError(f"problem must have two classes; it has {problem.classes}.")
    Z = np.asarray(problem.X) * np.asarray(problem.y, dtype=float)[:, None]
    K = Z @ Z.T
    if not np.diagonal(K).max() > 0:
        raise ValueError("problem must have a row that is not 0; all of them are.")
    at = np.unique(np.round(np.geomspace(1, steps, records)).astype(int))
    pace, alpha = rule.rate(K), np.zeros(len(Z))
    alphas, done = [], 0
    # at tens of rows a step is 10 µs here and ten times that in a compiled loop
    for t in at:
        for _ in range(int(t) - done):
            alpha = alpha + rule.step(K @ alpha, pace)
        alphas.append(alpha)
        done = int(t)
    A = np.array(alphas)
    margins = A @ K
    length = np.sqrt((A * margins).sum(axis=1))
    return DualPath(at, A, margins.min(axis=1) / length, Z)


@dataclasses.dataclass(frozen=True)
class RidgePath:
    """ρ on ridges, from interpolation (0) to averaging (infinity): `(r,)` each."""

    ridges: np.ndarray
    rho: np.ndarray

    @property
    def best(self) -> int:
        """Where ρ is largest."""
        return int(np.nanargmax(self.rho))


def ridge_path(mixture: Mixture, n: int, ridges: Numbers) -> RidgePath:
    r"""ρ of ridge regression on the labels, $Z^\top(K+t)^{-1}\mathbf1$, foretold.

    Its start is the interpolator, its end averaging. Gradient flow on the squared loss
    at time $1/t$ is near ridge $t$, so that this is what stopping early does.

    >>> import penchant as pn
    >>> mixture = pn.datasets.Mixture.rare_weak(300, 1, 4.0)
    >>> path = pn.theory.risk.ridge_path(mixture, 50, [0.0, 1e3, 1e9])
    >>> path.rho.round(2)  # more ridge is better here
    array([3.11, 3.4 , 3.41])

    Args:
        mixture: Whose risk.
        n: How many rows to train on.
        ridges: t, `(r,)`, 0 or more; NaN at 0 where n is d or more.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a ridge is negative or not finite, or `n` is below 2.
    """
    check_instance("mixture", mixture, Mixture, "a datasets.Mixture")
    n = check_count("n", n, least=2)
    check_number("ridges", ridges, least=0.0, finite=True)
    t = np.atleast_1d(np.asarray(ridges, dtype=float))
    axes = axes_of([mixture]).take(np.zeros(len(t), dtype=int))
    even = np.full(len(t), 1.0 - 2.0 * mixture.flip)
    return RidgePath(t, least_squares(axes, np.full(len(t), float(n)), even, t).rho)
