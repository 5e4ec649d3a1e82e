import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array

from penchant import optimizers
from penchant._checks import check_instance, check_number
from penchant._types import Parameters, Real
from penchant.flows.slow._manifold import Flat, Manifold, manifold_of, tangent, times
from penchant.flows.slow._metric import Metric
from penchant.flows.slow._slow_flow import MonitorError, onto
from penchant.optimizers import AbstractOptimizer
from penchant.problems import AbstractProblem, Regression

MOST_UNITS = 1e4
"""Longest way to a point of rest, in multiples of the weights' length by the drift."""

ROUNDS = 80
"""Damped rounds that make the second moment agree with itself."""


class Stationary(eqx.Module):
    r"""Where a rule of a finite step size comes to rest on the manifold.

    `second` is the $v$ that agrees with the noise it makes, `edge` is
    $\eta\frac{1-\beta_1}{1+\beta_1}\lambda_1(SH)/2$, below 1 where steps are stable,
    `residual` the drift left.
    """

    weights: Parameters
    second: Parameters | None
    edge: float
    residual: float

    def __repr__(self) -> str:
        return (
            f"Stationary: {self.edge:.2f} of the way to instability, drift "
            f"{self.residual:.1g}"
        )


def stationary(
    problem: AbstractProblem,
    optimizer: AbstractOptimizer | str | object,
    *,
    noise: Real,
    step_size: Real,
    start: Parameters | None = None,
) -> Stationary:
    r"""Where label noise takes a rule whose step size is not small.

    The point where the semi-gradient, $S$ frozen, along the manifold of
    $$R=-\frac1{2b}\operatorname{tr}\log\bigl(I-\tfrac b2SH\bigr),\qquad
      b=\eta\frac{1-\beta_1}{1+\beta_1}$$
    vanishes, with $S=S(v)$ and $v=\alpha\operatorname{diag}\bigl[P^{-1}(H'+\eta H'^2
    (2I-bH')^{-1})P^{-1}\bigr]$, $H'=PHP$, $P=S^{1/2}$: momentum matters here, to the
    order of $\eta\lambda_1(SH)$. For gradient descent $R$ is that of
    `damian2021label`; the rest is derived here and checked against runs
    (`test_large_steps_end_where_foretold`). As $\eta\to0$ it is the end of
    [`slow_flow`][penchant.flows.slow_flow].

    >>> import jax.numpy as jnp, penchant as pn
    >>> def apply(w, X):
    ...     x, y, z = w
    ...     return jnp.array([[x**2 * y, y**2 * z]]) + 0 * X
    >>> problem = pn.Regression(apply, jnp.ones(3), jnp.ones((1, 2)), jnp.ones((1, 2)))
    >>> far = pn.flows.stationary(problem, "gd", noise=0.01, step_size=1e-5)
    >>> round(float(far.weights[0]), 4)
    0.9758

    Args:
        problem: A regression that is fitted exactly near `start`.
        optimizer: Gradient descent, or a rule with a second moment of entries or
            blocks.
        noise: $\alpha$, as for `slow_flow`.
        step_size: $\eta$.
        start: Weights from which the point is sought.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a number is out of its range, or steps are not stable.
        MonitorError: If no rest is reached.
    """
    check_instance("problem", problem, Regression, "a Regression")
    rule = optimizers.read(optimizer)
    check_number("noise", noise, above=0.0, finite=True)
    check_number("step_size", step_size, above=0.0, finite=True)
    metric = Metric.of(rule)
    what = rule.character()
    summed = what.first is not None and what.first.kind == "sum"
    if metric.kind == "factors" or metric.decay > 0 or summed:
        raise TypeError(
            "optimizer must be gradient descent without a sum for momentum, or divide "
            f"by squares of entries or blocks, without decay; got {rule!r}."
        )
    x = problem.flat(problem.start if start is None else problem.read(start, "start"))
    manifold = manifold_of(problem, x)
    alpha, eta = jnp.asarray(noise, float), jnp.asarray(step_size, float)
    x, _ = onto(manifold, metric, x, alpha, None)
    field = _Finite(manifold, metric, alpha, eta, jnp.asarray(metric.b1))
    edge = float(_edge(field, x))
    if not edge < 1.0:
        raise ValueError(
            "step_size must be below where steps turn unstable; it is "
            f"{edge:.3g} times that."
        )
    # in units of the time in which the first drift would go the weights' length
    first = float(jnp.linalg.norm(_drift(field, x)))
    unit = float(jnp.linalg.norm(x)) / max(first, 1e-300)
    gain = jnp.asarray(min(unit, 1e12))
    right = lambda t, y: np.asarray(_right(field, gain, jnp.asarray(y)))
    solver = scipy.integrate.LSODA(
        right, 0.0, np.asarray(x), MOST_UNITS, rtol=1e-10, atol=1e-12
    )
    speed = first
    while solver.status == "running" and speed > 1e-9 * first and first > 1e-14:
        solver.step()
        speed = float(jnp.linalg.norm(_drift(field, jnp.asarray(solver.y))))
        first = max(first, speed)
    if not (speed <= 1e-6 * first or first <= 1e-14):
        raise MonitorError(
            f"no rest was reached: the drift is still {speed / first:.2g} of its "
            "largest."
        )
    end = jnp.asarray(solver.y)
    second = None
    if metric.second is not None:
        second = problem.unflat(field.moment(end))
    return Stationary(problem.unflat(end), second, float(_edge(field, end)), speed)


class _Finite(eqx.Module):
    manifold: Manifold
    metric: Metric
    alpha: Array
    eta: Array
    b1: Array

    @property
    def b(self) -> Array:
        return self.eta * (1.0 - self.b1) / (1.0 + self.b1)

    def moment(self, x: Flat) -> Array:
        r"""$v$ that agrees with the covariance of gradients it makes."""
        manifold, metric = self.manifold, self.metric
        J = manifold.normals(x)[0]

        def gathered(S: Array) -> Flat:
            # with K = J S J' = U a U' and f(a) = 1 + eta a / (2 - b a):
            # H' + eta H'^2 (2 - b H')^-1 = P J' U f(a) U' J P
            a, U = jnp.linalg.eigh(J @ times(S, J.T))
            f = 1.0 + self.eta * a / jnp.maximum(2.0 - self.b * a, 1e-9)
            M = U.T @ J
            return self.alpha * jnp.sum(f[:, None] * M**2, axis=0)

        def one(v: Array, _: None) -> tuple[Array, None]:
            aim = metric.spread(manifold, gathered(metric.S(manifold, v, x)))
            return jnp.sqrt(v * aim), None  # halfway, in logs

        start = metric.follows(manifold, x, self.alpha)
        return jax.lax.scan(one, start, None, length=ROUNDS)[0]

    def S(self, x: Flat) -> Array:
        if self.metric.second is None:
            return self.metric.S(self.manifold, jnp.zeros(0), x)
        return self.metric.S(self.manifold, self.moment(x), x)

    def __call__(self, x: Flat) -> Flat:
        S = self.S(x)

        def R(x: Flat) -> Array:
            J = self.manifold.normals(x)[0]
            K = J @ times(S, J.T)
            inside = jnp.eye(len(K)) - 0.5 * self.b * K
            return -jnp.linalg.slogdet(inside)[1] / (2.0 * self.b)

        u = -self.alpha * times(S, jax.grad(R)(x))
        return tangent(self.manifold, x, S, u)


@eqx.filter_jit
def _drift(field: _Finite, x: Flat) -> Flat:
    return field(x)


@eqx.filter_jit
def _right(field: _Finite, gain: Array, x: Flat) -> Flat:
    return gain * field(x) - 50.0 * field.manifold.back(x, field.S(x))


@eqx.filter_jit
def _edge(field: _Finite, x: Flat) -> Array:
    J = field.manifold.normals(x)[0]
    return 0.5 * field.b * jnp.linalg.eigvalsh(J @ times(field.S(x), J.T))[-1]
