"""Losses with a kind of noise put in: what `match_interventions` takes.

Each returns an `Objective` whose losses take a key, and are the given ones at None.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from penchant._checks import check_instance, check_number
from penchant._types import Parameters, Real, Tree
from penchant.problems import AbstractObjective, Objective

_Draw = PRNGKeyArray | None
"""The key of a draw; None for no noise."""

_ON_OFFER = "an Objective or a Regression without noise"


def _plain(problem: AbstractObjective) -> AbstractObjective:
    check_instance("problem", problem, AbstractObjective, _ON_OFFER)
    if problem.random:
        raise TypeError(f"problem must be {_ON_OFFER}; {problem!r} draws already.")
    return problem


def weight_noise(problem: AbstractObjective, scale: Real) -> Objective:
    r"""$\mathcal L(w+s\xi)$ with $\xi\sim N(0,I)$: to second order a penalty on $H$.

    Adds $\frac{s^2}2\operatorname{tr}H$ on average.

    Args:
        problem: The loss without noise.
        scale: $s>0$.

    Raises:
        TypeError: If `problem` is none, or draws already.
        ValueError: If `scale` is not positive.
    """
    problem = _plain(problem)
    check_number("scale", scale, above=0.0, finite=True)

    def losses(w: Parameters, batch: Tree, key: _Draw) -> Array:
        if key is not None:
            leaves, structure = jax.tree.flatten(w)
            keys = jax.random.split(key, len(leaves))
            noisy = [
                x + scale * jax.random.normal(k, x.shape)
                for x, k in zip(leaves, keys, strict=True)
            ]
            w = jax.tree.unflatten(structure, noisy)
        return problem.losses_of(w, batch, None)

    return Objective(losses, problem.params, problem.data, random=True)


def augmentation(
    problem: AbstractObjective, transform: Callable[[Any, Any], Any]
) -> Objective:
    """The loss on transformed samples, `transform(batch, key)` being a batch again.

    Noise on inputs or labels, dropout of inputs, flips and crops are all of this kind.

    >>> import jax, jax.numpy as jnp
    >>> import penchant as pn
    >>> model = lambda w, X: X @ w
    >>> loss = pn.Regression(model, jnp.ones(2), jnp.eye(2), [1.0, 2.0])
    >>> def jitter(batch, key):
    ...     X, y = batch
    ...     return X + 0.1 * jax.random.normal(key, X.shape), y
    >>> pn.estimators.interventions.augmentation(loss, jitter).random
    True

    Args:
        problem: The loss without it.
        transform: A pure JAX function of a batch of `problem.data` and a key.

    Raises:
        TypeError: If `problem` is none, or draws already.
    """
    problem = _plain(problem)

    def losses(w: Parameters, batch: Tree, key: _Draw) -> Array:
        return problem.losses_of(
            w, batch if key is None else transform(batch, key), None
        )

    return Objective(losses, problem.params, problem.data, random=True)


def input_dropout(problem: AbstractObjective, rate: Real) -> Objective:
    r"""Inverted dropout of inputs: 0 with probability `rate`, else over 1 - rate.

    For a linear model with the loss $\frac12(x\cdot w-y)^2$ it adds exactly
    $\frac\gamma2\sum_jw_j^2\frac1n\sum_ix_{ij}^2$ on average,
    $\gamma=\frac\delta{1-\delta}$: a ridge only if all columns have one length.

    Args:
        problem: The loss, whose data are a pair `(X, y)`.
        rate: $\delta\in(0,1)$.

    Raises:
        TypeError: If `problem` is none, or draws already.
        ValueError: If `rate` is outside (0, 1).
    """
    check_number("rate", rate, above=0.0, below=1.0)

    def dropped(batch: Tree, key: PRNGKeyArray) -> Tree:
        X, y = batch
        kept = jax.random.bernoulli(key, 1.0 - rate, X.shape)
        return jnp.where(kept, X / (1.0 - rate), 0.0), y

    return augmentation(problem, dropped)


def label_noise(problem: AbstractObjective, scale: Real) -> Objective:
    r"""Targets $y+s\xi$ with fresh $\xi\sim N(0,1)$.

    It has no mean effect on a squared loss's gradient: what it does to a run comes
    from its variance, and the match of it is rightly nothing.

    Args:
        problem: The loss, whose data are a pair `(X, y)` with real `y`.
        scale: $s>0$.

    Raises:
        TypeError: If `problem` is none, or draws already.
        ValueError: If `scale` is not positive.
    """
    check_number("scale", scale, above=0.0, finite=True)

    def noisy(batch: Tree, key: PRNGKeyArray) -> Tree:
        X, y = batch
        return X, y + scale * jax.random.normal(key, y.shape)

    return augmentation(problem, noisy)


def mixup(problem: AbstractObjective, alpha: Real) -> Objective:
    r"""Samples mixed with others: $\theta x_i+(1-\theta)x_j$, and targets likewise.

    $\theta\sim\mathrm{Beta}(\alpha,\alpha)$, one for each sample, partners by a random
    order. Targets have to be real numbers: one-hot rows for classes.

    Args:
        problem: The loss, whose data are a pair `(X, y)`.
        alpha: $\alpha>0$.

    Raises:
        TypeError: If `problem` is none, or draws already.
        ValueError: If `alpha` is not positive.
    """
    check_number("alpha", alpha, above=0.0, finite=True)

    def mixed(batch: Tree, key: PRNGKeyArray) -> Tree:
        X, y = batch
        order, share = jax.random.split(key)
        n = X.shape[0]
        other = jax.random.permutation(order, n)
        theta = jax.random.beta(share, alpha, alpha, (n,))
        mix = lambda a: (
            jnp.reshape(theta, (n, *(1,) * (a.ndim - 1))) * (a - a[other]) + a[other]
        )
        return mix(X), mix(y)

    return augmentation(problem, mixed)
