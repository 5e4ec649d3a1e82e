import abc
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from penchant import optimizers
from penchant._checks import check_count, check_instance, check_number
from penchant._keys import as_key
from penchant._leaves import as_leaf
from penchant._types import Key, Parameters, Real, Tree
from penchant.flows.slow._manifold import Flat, Manifold, manifold_of, times
from penchant.flows.slow._metric import Metric
from penchant.flows.slow._projection import near
from penchant.flows.slow._slow_flow import onto
from penchant.measures import Estimate
from penchant.optimizers import AbstractOptimizer
from penchant.problems import AbstractProblem, Regression


class AbstractCovariance(eqx.Module):
    r"""Covariance $\Sigma(w)$ of the gradient, by a root: $RR^\top=\Sigma$."""

    @abc.abstractmethod
    def root(self, manifold: Manifold, x: Flat) -> Float[Array, "p k"]:
        """`(p, k)`, for flat weights."""

    def diagonal(self, manifold: Manifold, x: Flat) -> Flat:
        r"""$\operatorname{diag}\Sigma$: what a second moment tends to."""
        return jnp.sum(self.root(manifold, x) ** 2, axis=1)


class LabelNoise(AbstractCovariance):
    r"""$\Sigma=\alpha H$: noise on labels, $\alpha=\delta^2/b$."""

    strength: Real = eqx.field(converter=as_leaf)

    def __check_init__(self):
        check_number("strength", self.strength, least=0.0, finite=True)

    def root(self, manifold: Manifold, x: Flat) -> Float[Array, "p k"]:
        return jnp.sqrt(self.strength) * manifold.normals(x)[0].T


class Isotropic(AbstractCovariance):
    r"""$\Sigma=\sigma^2I$: under gradient descent it lowers $\log\det^+H$.

    `li2022what`: the drift is $-\frac{\sigma^2}4\nabla_\Gamma\log\det^+H$, with
    diffusion along the manifold besides.
    """

    variance: Real = eqx.field(converter=as_leaf)

    def __check_init__(self):
        check_number("variance", self.variance, least=0.0, finite=True)

    def root(self, manifold: Manifold, x: Flat) -> Float[Array, "p k"]:
        return jnp.sqrt(self.variance) * jnp.eye(x.size)


class Of(AbstractCovariance):
    r"""Any $\Sigma$: a function of the weights (the pytree) that gives `(p, p)`."""

    function: Callable[[Parameters], Any] = eqx.field(static=True)

    def root(self, manifold: Manifold, x: Flat) -> Float[Array, "p k"]:
        M = jnp.asarray(self.function(manifold.problem.unflat(x)), dtype=float)
        values, U = jnp.linalg.eigh(0.5 * (M + M.T))
        return U * jnp.sqrt(jnp.maximum(values, 0.0))[None, :]


class LocalSGD(AbstractCovariance):
    r"""Gradient descent on $K$ workers that average after $h$ steps (`gu2023why`).

    The noise of one worker's batch is `of`; averaged it is $\Sigma/K$. The drift has
    $-\frac{K-1}{2K}\nabla^3\mathcal L[\hat\Psi]$ besides, with $\Psi$ the entries of
    $\Sigma$ in the eigenbasis of $H$ times $\psi(\eta h(\lambda_i+\lambda_j))$,
    $\psi(x)=1-\frac{1-e^{-x}}x$. `horizon` is $\eta h$.
    """

    of: AbstractCovariance
    workers: int = eqx.field(static=True)
    horizon: Real = eqx.field(converter=as_leaf)

    def __check_init__(self):
        check_instance("of", self.of, AbstractCovariance, "a covariance")
        check_count("workers", self.workers)
        check_number("horizon", self.horizon, least=0.0, finite=True)

    def root(self, manifold: Manifold, x: Flat) -> Float[Array, "p k"]:
        return self.of.root(manifold, x) / jnp.sqrt(float(self.workers))

    def beyond(self, manifold: Manifold, x: Flat) -> tuple[Array, Array]:
        r"""Roots of the positive and the negative part of $\frac{K-1}K\Psi$."""
        J = manifold.normals(x)[0]
        values, U = jnp.linalg.eigh(J.T @ J)
        R = U.T @ self.of.root(manifold, x)
        t = self.horizon * jnp.maximum(values[:, None] + values[None, :], 0.0)
        some = t > 1e-8
        safe = jnp.where(some, t, 1.0)
        psi = jnp.where(some, 1.0 + jnp.expm1(-safe) / safe, 0.5 * t)
        M = U @ (psi * (R @ R.T)) @ U.T * (self.workers - 1.0) / self.workers
        values, U = jnp.linalg.eigh(0.5 * (M + M.T))
        plus = U * jnp.sqrt(jnp.maximum(values, 0.0))[None, :]
        return plus, U * jnp.sqrt(jnp.maximum(-values, 0.0))[None, :]


class SlowSDE(eqx.Module):
    """Paths of the slow SDE: `weights` lead with time `(r,)`, then seeds `(s,)`."""

    times: Float[Array, " r"]
    weights: Parameters
    second: Float[Array, "r s k"]
    residual: float

    def mean(self, of: Callable[[Parameters], Any], record: int = -1) -> Estimate:
        """The mean of a function of the weights over the seeds, with its error."""
        w = jax.tree.map(lambda a: a[record], self.weights)
        values = np.asarray(jax.vmap(of)(w))
        n = len(values)
        error = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else float("nan")
        return Estimate(float(values.mean()), error, how=f"{n} paths", n=n)

    def __repr__(self) -> str:
        seeds = self.second.shape[1]
        return (
            f"SlowSDE({seeds} paths to T = {float(self.times[-1]):g}, farthest from "
            f"the manifold {self.residual:.1g})"
        )


def slow_sde(
    problem: AbstractProblem,
    optimizer: AbstractOptimizer | str | object,
    *,
    covariance: AbstractCovariance | Callable[[Parameters], Any],
    time: Real,
    seeds: int,
    dt: Real = 0.005,
    start: Parameters | None = None,
    second: Tree = None,
    rate: Real | None = None,
    record: int = 20,
    key: Key = 0,
) -> SlowSDE:
    r"""Where gradient noise of any covariance takes an optimizer along the minimisers.

    $$d\zeta=\partial\Phi_S\,S\,\Sigma^{1/2}dW+\tfrac12\,\partial^2\Phi_S[S\Sigma S]\,dt
      ,\qquad dv=c\,(V(\Sigma)-v)\,dt,$$

    (`li2025sharpness`, without the factor $S$ that its printed form has on the left)
    by steps $\zeta\leftarrow\Phi_S(\zeta+\sqrt{dt}\,S\Sigma^{1/2}N)$: kick and project.
    Projecting makes diffusion and drift at once, by no third derivative; the projection
    is exact to the second order, so that the law is to the first order in `dt`.

    >>> import jax.numpy as jnp, penchant as pn
    >>> apply = lambda w, X: (w[0] ** 2 + w[1] ** 2)[None] + 0 * X[:, 0]
    >>> problem = pn.Regression(apply, jnp.array([1.0, 0.0]), [[1.0]], [1.0])
    >>> seen = pn.flows.slow_sde(
    ...     problem, "gd", covariance=pn.flows.slow.Isotropic(1.0), time=2.0, seeds=64
    ... )
    >>> seen.mean(lambda w: w[0]).covers(0.37, 0.999)  # Brownian on the circle: e^-T/2
    True

    Args:
        problem: A regression that is fitted exactly near `start`.
        optimizer: As `slow_flow` takes it, for entries or blocks.
        covariance: $\Sigma$: `LabelNoise`, `Isotropic`, `LocalSGD`, or a function of
            the weights that gives `(p, p)`.
        time: Slow time to go.
        seeds: Number of paths.
        dt: Step of slow time.
        start: Weights, projected to the manifold first.
        second: $v$ at the start; None: $V(\Sigma)$ there.
        rate: $c$; None: quasi-static.
        record: Number of records, the start among them.
        key: Of the noise.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a number is out of its range.
        NotInterpolatingError: If there is no manifold of minimisers near `start`.
    """
    check_instance("problem", problem, Regression, "a Regression")
    rule = optimizers.read(optimizer)
    if callable(covariance) and not isinstance(covariance, AbstractCovariance):
        covariance = Of(covariance)
    check_instance(
        "covariance", covariance, AbstractCovariance, "a covariance, or a function"
    )
    check_number("time", time, above=0.0, finite=True)
    check_number("dt", dt, above=0.0, finite=True)
    if rate is not None:
        check_number("rate", rate, above=0.0, finite=True)
    seeds, record = check_count("seeds", seeds), check_count("record", record, least=2)
    metric = Metric.of(rule)
    if metric.kind == "factors" or metric.decay > 0:
        raise TypeError(
            "optimizer must divide by squares of entries or blocks, without decay, for "
            f"the slow SDE; got {rule!r}."
        )
    check_instance("problem", problem, AbstractProblem, "a Regression or an Objective")
    w = problem.start if start is None else problem.read(start, "start")
    x = problem.flat(w)
    manifold = manifold_of(problem, x)
    follows = _Follows(manifold, metric, covariance)
    v = None
    if second is not None:
        v = metric.spread(manifold, problem.flat(problem.read(second, "second")))
    x0, _ = onto(manifold, metric, x, jnp.ones(()), follows(x) if v is None else v)
    v0 = follows(x0) if v is None else v
    each = -(-float(np.asarray(time)) // (float(np.asarray(dt)) * (record - 1)))
    each = int(max(1, each))
    step = float(np.asarray(time)) / (each * (record - 1))
    speed = None if rate is None else jnp.asarray(rate, dtype=float)
    keys = jax.random.split(as_key(key), seeds)
    xs, vs, off = _paths(
        follows, speed, jnp.asarray(step), x0, v0, keys, record - 1, each
    )
    xs = jnp.swapaxes(jnp.concatenate([jnp.tile(x0, (seeds, 1))[:, None], xs], 1), 0, 1)
    vs = jnp.swapaxes(jnp.concatenate([jnp.tile(v0, (seeds, 1))[:, None], vs], 1), 0, 1)
    weights = jax.vmap(jax.vmap(problem.unflat))(xs)
    at = jnp.linspace(0.0, float(np.asarray(time)), record)
    return SlowSDE(at, weights, vs, float(jnp.max(off)))


class _Follows(eqx.Module):
    manifold: Manifold
    metric: Metric
    covariance: AbstractCovariance

    def __call__(self, x: Flat) -> Array:
        if self.metric.second is None:
            return jnp.zeros(0)
        return self.metric.spread(
            self.manifold, self.covariance.diagonal(self.manifold, x)
        )


@eqx.filter_jit
def _paths(
    follows: _Follows,
    rate: Array | None,
    dt: Array,
    x0: Flat,
    v0: Array,
    keys: Array,
    records: int,
    each: int,
) -> tuple[Array, Array, Array]:
    manifold, metric, noise = follows.manifold, follows.metric, follows.covariance

    def one(carry: tuple, key: PRNGKeyArray) -> tuple:
        x, v = carry
        S = metric.S(manifold, v, x)
        R = noise.root(manifold, x)
        kick = times(S, R @ jax.random.normal(key, (R.shape[1],)))
        y = near(manifold, x + jnp.sqrt(dt) * kick, S)[0]
        if isinstance(noise, LocalSGD):
            signs = jax.random.rademacher(key, (2, x.size), dtype=x.dtype)
            for root, sign, way in zip(
                noise.beyond(manifold, x), signs, (1.0, -1.0), strict=True
            ):
                k = jnp.sqrt(dt) * times(S, root @ sign)
                # even in k: the second derivative without the first
                ends = [near(manifold, x + s * k, S)[0] for s in (1.0, -1.0)]
                y = y + way * (0.5 * (ends[0] + ends[1]) - x)
            y = near(manifold, y, S)[0]
        aim = follows(y)
        # exact for a constant aim, so that no rate is too fast for dt
        v = aim if rate is None else aim + (v - aim) * jnp.exp(-rate * dt)
        return (y, v), None

    def path(key: PRNGKeyArray) -> tuple:
        def stretch(carry: tuple, key: PRNGKeyArray) -> tuple:
            carry, _ = jax.lax.scan(one, carry, jax.random.split(key, each))
            return carry, (*carry, jnp.linalg.norm(manifold.r(carry[0])))

        return jax.lax.scan(stretch, (x0, v0), jax.random.split(key, records))[1]

    return jax.vmap(path)(keys)
