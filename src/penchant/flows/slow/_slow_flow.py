import functools
import math
from collections.abc import Hashable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Bool, Float, Int

from penchant import optimizers
from penchant._checks import check_count, check_instance, check_number
from penchant._threads import one_blas_thread
from penchant._types import Parameters, Real, Tree
from penchant.flows.slow._manifold import (
    Flat,
    Manifold,
    manifold_of,
    tangent,
    times,
)
from penchant.flows.slow._metric import Metric
from penchant.flows.slow._projection import _finish, by_flow, check_interpolates
from penchant.optimizers import AbstractOptimizer
from penchant.problems import AbstractProblem

PULL = 50.0
"""Rate at which the flow is drawn back to the manifold, in units of slow time."""

FLOOR = 1e-4
"""Coordinates below this share of the largest at the start have died."""

RTOL, ATOL = 1e-12, 1e-14
"""Tolerances of the integrator; monitors need more digits than a figure does."""

MOST_STEPS = 200_000


class MonitorError(RuntimeError):
    """A law that the slow flow obeys was violated: the flow is not to be used."""


class SlowFlow(eqx.Module):
    r"""The slow flow on the manifold of minimisers, recorded at `times` `(r,)`.

    `weights` and `second` (the second moment at every entry; for Shampoo the two
    factors of every array, as one vector) lead with time. `potential` `(r,)` is the
    Lyapunov function, None where there is none. `settled` says that the flow has come
    to rest; `speed` `(r,)` is $|\dot\zeta|$. `extinct` marks coordinates that have
    died, `extinction` the times at which they did (infinite where not): there the
    Hessian has lost rank, and the theory its smoothness. `rank` `(r,)` counts
    directions in which the loss is curved. `convergence` is how far the start was
    from the manifold, and `tangency` the largest share of the drift across it.
    """

    times: Float[Array, " r"]
    weights: Parameters
    second: Parameters
    potential: Float[Array, " r"] | None
    settled: bool = eqx.field(static=True)
    speed: Float[Array, " r"]
    extinct: Bool[Array, " p"]
    extinction: Float[Array, " p"]
    rank: Int[Array, " r"]
    convergence: float
    tangency: float
    problem: AbstractProblem
    optimizer: AbstractOptimizer

    @property
    def last(self) -> Parameters:
        """The weights at the end."""
        return jax.tree.map(lambda w: w[-1], self.weights)

    def __repr__(self) -> str:
        rest = "settled" if self.settled else "still moving"
        died = int(self.extinct.sum())
        more = f", {died} of {self.extinct.size} coordinates extinct" if died else ""
        fell = ""
        if self.potential is not None:
            first, last = float(self.potential[0]), float(self.potential[-1])
            fell = f", potential {first:.5g} to {last:.5g}"
        return (
            f"SlowFlow({type(self.optimizer).__name__} to T = "
            f"{float(self.times[-1]):g}, {rest}{fell}{more})"
        )


def slow_flow(
    problem: AbstractProblem,
    optimizer: AbstractOptimizer | str | object,
    *,
    noise: Real,
    time: Real,
    start: Parameters | None = None,
    second: Tree = None,
    rate: Real | None = None,
    step_size: Real | None = None,
    record: int = 60,
) -> SlowFlow:
    r"""Where label noise takes an optimizer along the minimisers, on the slow clock.

    $$\dot\zeta=-\tfrac\alpha4\,\partial\Phi_S\,S\,\nabla_\zeta\langle H(\zeta),S\rangle
      ,\qquad \dot v=c\,(V(\alpha H)-v),\qquad S=S(v),$$

    in $T=\sum_t\eta_t^2$, with noise $\Sigma=\alpha H$ on the manifold and
    $1-\beta_2=c\,\eta^2$. The form printed in `li2025sharpness` has a further factor
    $S$ on the left and a factor 2; it leaves the manifold, and runs do not follow it
    (`test_the_printed_form_misses`). With $S=I$ it is the flow of `li2022what`.

    The flow descends $E=\sum_j\alpha H_{jj}s(v_j)+\Phi(v_j)$, $\Phi'=-vs'$, for every
    $c$; quasi-static that is, up to a factor, $\sum_jH_{jj}^{1-\lambda}$ for the power
    $\lambda$, which alone need not fall where $v$ lags. Shampoo's has no potential.
    Three laws are watched, and a violation raises: the drift is tangent, $S\to\kappa S$
    multiplies it by $\kappa^2$, and $E$ never rises.

    Coordinates that the flow can't cross, such as those of a diagonal network, are
    followed by their logarithm, down to $10^{-4}$ of the largest at the start: below,
    they are extinct. Where kinks or extinct coordinates end the constant rank that the
    theory asks for, `extinct` and `rank` say so.

    >>> import jax.numpy as jnp, penchant as pn
    >>> apply = lambda w, X: (w[0] * w[1] ** 2 * w[2] ** 3)[None] + 0 * X[:, 0]
    >>> w = jnp.array([2.0, 0.5, 2.0 ** (1 / 3)])
    >>> problem = pn.Regression(apply, w, [[1.0]], [1.0])
    >>> adam = pn.optimizers.Adam(eps=0.0)
    >>> flow = pn.flows.slow_flow(problem, adam, noise=1.0, time=100.0)
    >>> [round(float(x), 6) for x in flow.last], flow.settled
    ([1.0, 1.0, 1.0], True)

    Args:
        problem: A regression or an objective whose loss falls to 0 near `start`.
        optimizer: Gradient descent, or a rule that divides by a power of a running
            mean of squares, of entries, blocks or Shampoo's factors. Momentum drops
            out, but for a sum's factor $1/(1-\mu)$ on the step. Decoupled decay adds
            $-\frac\lambda\eta\,\partial\Phi_S\zeta$, which needs `step_size`.
        noise: $\alpha>0$: $\delta^2/b$ for label noise $\delta$ and batches of $b$.
        time: Slow time to go, above 0.
        start: Weights; projected to the manifold first where they are off it.
        second: $v$ at the start, a pytree like the weights; None: $V(\alpha H)$ there.
        rate: $c$; None: quasi-static, $v=V(\alpha H)$ throughout.
        step_size: $\eta$, for decoupled decay alone.
        record: Number of records, the start among them.

    Raises:
        TypeError: If an argument is of the wrong kind, or no slow flow here describes
            the rule.
        ValueError: If a number is out of its range, or decay has no step size.
        NotInterpolatingError: If there is no manifold of minimisers near `start`.
        MonitorError: If a law of the flow is violated.
    """
    rule = optimizers.read(optimizer)
    check_number("noise", noise, above=0.0, finite=True)
    check_number("time", time, above=0.0, finite=True)
    if rate is not None:
        check_number("rate", rate, above=0.0, finite=True)
    record = check_count("record", record, least=2)
    metric = Metric.of(rule)
    pull_in = 0.0
    if metric.decay > 0:
        if step_size is None:
            raise ValueError(
                "step_size must be given for a rule with decoupled decay: its term is "
                "decay / step_size on the slow clock."
            )
        check_number("step_size", step_size, above=0.0, finite=True)
        pull_in = metric.decay / float(np.asarray(step_size))
    check_instance("problem", problem, AbstractProblem, "a Regression or an Objective")
    w = problem.start if start is None else problem.read(start, "start")
    x = problem.flat(w)
    manifold = manifold_of(problem, x)
    alpha = jnp.asarray(noise, dtype=float)
    if second is not None:
        second = problem.flat(problem.read(second, "second"))
        check_number("second", np.asarray(second), least=0.0)
        if metric.kind == "factors":
            raise ValueError(
                "second must be None for Shampoo: its moments are factors."
            )
        second = metric.spread(manifold, second)
    x0, far = onto(manifold, metric, x, alpha, second)
    v0 = metric.follows(manifold, x0, alpha) if second is None else second
    if metric.second is None:
        v0 = jnp.zeros(0)
    check_dead(metric, v0)
    logs = invariant(manifold, x0)
    field = _Field(
        manifold,
        metric,
        alpha,
        None if rate is None else jnp.asarray(rate, dtype=float),
        jnp.asarray(pull_in),
        jnp.asarray(logs),
        jnp.sign(x0),
        jnp.asarray(math.log(FLOOR * float(jnp.max(jnp.abs(x0))))),
    )
    _check_scaling(field, x0, v0)
    z0 = jnp.where(logs, jnp.log(jnp.abs(jnp.where(logs, x0, 1.0))), x0)
    at = np.linspace(0.0, float(np.asarray(time)), record)
    # its systems are small: threads would wait for one another most of the time
    with one_blas_thread():
        states, died = _integrate(field, np.asarray(z0), np.asarray(v0), at)
    return _result(field, states, died, at, far, problem, rule)


def onto(
    manifold: Manifold, metric: Metric, x: Flat, alpha: Array, second: Array | None
) -> tuple[Flat, float]:
    r"""The start, brought to the manifold by the convergence phase; how far that was.

    Raises:
        NotInterpolatingError: If there is none near it.
    """
    problem = manifold.problem
    v = metric.follows(manifold, x, alpha) if second is None else second
    S = metric.S(manifold, jnp.maximum(v, 1e-12 * jnp.max(v, initial=0.0)), x)
    near, _ = _finish(manifold, by_flow(manifold, x, S), S)
    check_interpolates(manifold, near)
    del problem
    return near, float(jnp.linalg.norm(near - x))


def check_dead(metric: Metric, v: Array) -> None:
    """Refuse coordinates without a second moment where no epsilon stands by.

    Raises:
        ValueError: If there are some.
    """
    if metric.kind in ("none", "factors") or metric.eps > 0 or metric.exponent == 0:
        return
    dead = int(jnp.sum(v <= 0))
    if dead:
        raise ValueError(
            f"start has {dead} coordinates with H_jj = 0, whose second moment is 0: "
            "with eps = 0 the rule divides by it. Give the rule an eps, or a start "
            "where every coordinate matters."
        )


class _Field(eqx.Module):
    """The right-hand side, in coordinates that are logarithms where `logs` says."""

    manifold: Manifold
    metric: Metric
    alpha: Array
    rate: Array | None
    decay: Array
    logs: Array
    signs: Array
    floor: Array

    def x(self, z: Array) -> Flat:
        return jnp.where(self.logs, self.signs * jnp.exp(z), z)

    def moment(self, x: Flat, v: Array) -> Array:
        """V itself, or what it is quasi-statically."""
        if self.rate is None:
            return self.metric.follows(self.manifold, x, self.alpha)
        return v

    def drift(self, x: Flat, S: Array) -> Flat:
        r"""$-\frac\alpha4\partial\Phi_SS\nabla\langle H,S\rangle$, and decay's term."""
        q = jax.grad(lambda x: self.manifold.inner(x, jax.lax.stop_gradient(S)))(x)
        u = -0.25 * self.alpha * times(S, q) - self.decay * x
        return tangent(self.manifold, x, S, u)

    def __call__(self, state: Array) -> Array:
        p = self.logs.size
        z, v = state[:p], state[p:]
        x = self.x(z)
        now = self.moment(x, v)
        S = self.metric.S(self.manifold, now, x)
        dx = self.drift(x, S) - PULL * self.manifold.back(x, S)
        # z = log|x|: dz = dx / x, which ends smoothly at the floor
        near = jnp.clip((z - self.floor) / 0.5, 0.0, 1.0)
        dz = dx / jnp.where(self.logs, x, 1.0)
        dz = jnp.where(self.logs & (dz < 0), near * dz, dz)
        if self.rate is None:
            return dz
        aim = self.metric.follows(self.manifold, x, self.alpha)
        return jnp.concatenate([dz, self.rate * (aim - v)])


@functools.partial(jax.jit, static_argnums=0)
def _right(structure: Hashable, leaves: list[Array], state: Array) -> Array:
    return jax.tree.unflatten(structure, leaves)(state)


@functools.partial(jax.jit, static_argnums=0)
def _slopes(structure: Hashable, leaves: list[Array], state: Array) -> Array:
    return jax.jacfwd(jax.tree.unflatten(structure, leaves))(state)


@eqx.filter_jit
def _seen(field: _Field, state: Array) -> tuple[Array, ...]:
    """What is recorded: x, v, speed, the share of drift across, diag H, rank."""
    p = field.logs.size
    x = field.x(state[:p])
    v = field.moment(x, state[p:])
    S = field.metric.S(field.manifold, v, x)
    # on to the manifold to rounding: the potential has a slope across it
    x = x - field.manifold.back(x, S)
    v = field.moment(x, state[p:])
    S = field.metric.S(field.manifold, v, x)
    drift = field.drift(x, S)
    J = field.manifold.normals(x)[0]
    across = jnp.linalg.norm(J @ drift)
    whole = jnp.linalg.norm(J) * jnp.linalg.norm(drift)
    a = jnp.linalg.eigvalsh(J @ J.T)
    rank = jnp.sum(a > 1e-10 * a[-1])
    share = across / jnp.where(whole > 0, whole, 1.0)
    h = field.alpha * field.manifold.diagonal(x)
    return x, v, jnp.linalg.norm(drift), share, h, rank


@eqx.filter_jit
def _scaled(field: _Field, x: Flat, v: Array) -> tuple[Array, Array, Array]:
    S = field.metric.S(field.manifold, field.moment(x, v), x)
    off = eqx.tree_at(lambda f: f.decay, field, jnp.zeros(()))
    return off.drift(x, S), off.drift(x, 3.0 * S), S


def _check_scaling(field: _Field, x: Flat, v: Array) -> None:
    r"""$S\to\kappa S$ is a change of the step size: the drift takes $\kappa^2$.

    Raises:
        MonitorError: If it does not.
    """
    one, three, _ = _scaled(field, x, v)
    size = float(jnp.linalg.norm(one))
    if float(jnp.linalg.norm(three - 9.0 * one)) > 1e-6 * max(9.0 * size, 1e-12):
        raise MonitorError("three times S must make nine times the drift; it does not.")


def invariant(manifold: Manifold, x: Flat) -> np.ndarray:
    r"""Coordinates that the flow can't cross: at $x_j=0$ no residual depends on them.

    Those of a diagonal network, whose residuals have squares of them.
    """
    if not manifold.by_residuals:
        return np.zeros(x.size, bool)
    return np.asarray(_invariant(manifold, x))


@eqx.filter_jit
def _invariant(manifold: Manifold, x: Flat) -> Array:
    def one(j: Array) -> Array:
        e = jnp.zeros_like(x).at[j].set(1.0)
        slope = lambda x: jax.jvp(manifold.r, (x,), (e,))[1]
        there, here = slope(x * (1.0 - e)), slope(x)
        small = 1e-12 * jnp.max(jnp.abs(here))
        return (jnp.max(jnp.abs(there)) <= small) & (jnp.max(jnp.abs(here)) > 0)

    return jax.lax.map(one, jnp.arange(x.size), batch_size=64) & (x != 0)


def _integrate(
    field: _Field, z0: np.ndarray, v0: np.ndarray, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """States at the recorded times, and when coordinates died."""
    first = z0 if field.rate is None else np.concatenate([z0, v0])
    # taken apart once, and not in each of some ten thousand calls
    leaves, structure = jax.tree.flatten(field)
    right = lambda t, s: np.asarray(_right(structure, leaves, s))
    slopes = lambda t, s: np.asarray(_slopes(structure, leaves, s))
    solver = scipy.integrate.LSODA(
        right, 0.0, first, at[-1], rtol=RTOL, atol=ATOL, jac=slopes
    )
    states, died = [first], np.full(z0.size, np.inf)
    logs, floor = np.asarray(field.logs), float(field.floor)
    for _ in range(MOST_STEPS):
        why = solver.step()
        if solver.status == "failed" or not np.isfinite(solver.y).all():
            raise MonitorError(
                f"the flow could not be followed past T = {solver.t:.4g}: {why}. A "
                "coordinate at a kink does that; give the rule a larger eps, or stop "
                "earlier."
            )
        inside = solver.dense_output()
        while len(states) < len(at) and at[len(states)] <= solver.t:
            states.append(inside(at[len(states)]))
        gone = logs & (solver.y[: z0.size] < floor + 0.5) & np.isinf(died)
        died[gone] = solver.t
        if solver.status == "finished":
            return np.stack(states), died
    raise MonitorError(f"the flow took more than {MOST_STEPS} steps.")


def _result(
    field: _Field,
    states: np.ndarray,
    died: np.ndarray,
    at: np.ndarray,
    far: float,
    problem: AbstractProblem,
    rule: AbstractOptimizer,
) -> SlowFlow:
    rows = [
        [np.asarray(a) for a in _seen(field, jnp.asarray(state))] for state in states
    ]
    x, v, speed, share, h, rank = (
        np.stack(column) for column in zip(*rows, strict=True)
    )
    moving = speed > 1e-9 * max(float(speed.max()), 1e-300)
    tangency = float(np.max(np.where(moving, share, 0.0)))
    if tangency > 1e-5:
        raise MonitorError(
            f"the drift must be along the manifold; {tangency:.2g} of it is across."
        )
    potential = None
    if field.metric.decay == 0:
        potential = lyapunov(field, h, v)
    whole = jax.vmap(problem.unflat)
    per_entry = v.shape[1] == x.shape[1]
    return SlowFlow(
        times=jnp.asarray(at),
        weights=whole(jnp.asarray(x)),
        second=whole(jnp.asarray(v)) if per_entry else jnp.asarray(v),
        potential=potential,
        settled=bool(speed[-1] <= 1e-6 * max(float(speed.max()), 1e-300)),
        speed=jnp.asarray(speed),
        extinct=jnp.asarray(np.isfinite(died)),
        extinction=jnp.asarray(died),
        rank=jnp.asarray(rank),
        convergence=far,
        tangency=tangency,
        problem=problem,
        optimizer=rule,
    )


def lyapunov(field: _Field, h: np.ndarray, v: np.ndarray) -> Array | None:
    """The potential at every record.

    Raises:
        MonitorError: If it rises by more than the integrator's error.
    """
    values = [field.metric.lyapunov(a, b) for a, b in zip(h, v, strict=True)]
    if any(value is None for value in values):
        return None
    E = np.array(values, dtype=float)
    rise = float(np.max(np.diff(E), initial=0.0))
    if rise > 1e-7 * float(np.abs(E).max()):
        raise MonitorError(f"the potential must not rise; it did, by {rise:.2g}.")
    return jnp.asarray(E)
