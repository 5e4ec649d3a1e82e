"""The flow in the variable -log(loss), where its end is near."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from penchant._types import Scalar, Tree
from penchant.flows.adaptive._preconditioner import Flat, Preconditioner
from penchant.problems import AbstractClassification

LONGEST = 0.5
"""Nats of loss in one step of the exponential rule, at most."""


class Point(eqx.Module):
    """Where a flow is: flat parameters, log of memory, of time, and of the loss."""

    w: Any
    log_v: Any
    log_time: Any
    log_loss: Any


def integrate(
    problem: AbstractClassification,
    pre: Preconditioner,
    eta: Scalar,
    begin: Point,
    nats: np.ndarray,
    tol: float,
    most: int,
) -> Point:
    """The flow from `begin`, recorded there and after so many `nats` of loss.

    Records that are not reached in so many steps are left out.
    """
    rule, accuracy = _runge_kutta, tol
    if pre.fades:
        rule, accuracy = _exponential, tol**0.5
    path = rule(
        problem, pre, eta, begin, jnp.asarray(nats), jnp.asarray(accuracy), most
    )
    reached = np.isfinite(np.asarray(path.w)).all(axis=1)
    reached &= np.isfinite(np.asarray(path.log_loss))
    count = len(reached) if reached.all() else int(np.argmin(reached))
    return jax.tree.map(
        lambda first, rest: jnp.concatenate([first[None], rest[:count]]), begin, path
    )


@eqx.filter_jit
def _runge_kutta(
    problem: AbstractClassification,
    pre: Preconditioner,
    eta: Scalar,
    begin: Point,
    nats: Float[Array, " r"],
    tol: Scalar,
    most: int,
) -> Point:
    import diffrax

    def slope(tau: Scalar, y: Any, args: Any) -> Any:
        w, v, z = y
        F, G = log_loss_and_gradient(problem, w)
        log_v = jnp.log(jnp.maximum(v, 0.0)) + log_unit
        h, S = pre.h(log_v, G, F, z)
        speed = jnp.sum(h * G**2)  # of -F, in units of eta * gain * e^(F - S)
        log_rate = jnp.log(eta * pre.gain * speed) + F - S
        passed = jnp.exp(-log_rate - z)
        if pre.sums:
            grown = jnp.exp(2.0 * F - log_rate - log_unit) * G**2
        else:
            grown = jnp.zeros_like(v)
        return -h * G / speed, grown, passed

    # memory in units of order 1, for the sake of tolerances
    F, G = log_loss_and_gradient(problem, begin.w)
    first = 2.0 * (F + jnp.log(jnp.max(jnp.abs(G))))
    log_unit = jnp.maximum(jnp.max(begin.log_v), first)
    v = jnp.exp(begin.log_v - log_unit)
    # time counts from 0, which has no logarithm: z = log(t + t0), t0 a first nat's
    h, S = pre.h(begin.log_v, G, F, begin.log_time)
    log_t0 = S - F - jnp.log(eta * pre.gain * jnp.sum(h * G**2))
    z = jnp.logaddexp(begin.log_time, log_t0)
    field: Any = slope
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        diffrax.Tsit5(),
        t0=0.0,
        t1=nats[-1],
        dt0=None,
        y0=(begin.w, v, z),
        saveat=diffrax.SaveAt(ts=nats),
        stepsize_controller=diffrax.PIDController(rtol=tol, atol=tol * 1e-3),
        max_steps=most,
        adjoint=diffrax.ForwardMode(),
        throw=False,
    )
    assert solution.ys is not None
    w, v, z = solution.ys
    log_time = z + jnp.log(-jnp.expm1(log_t0 - z))
    log_v = jnp.log(jnp.maximum(v, 0.0)) + log_unit
    return Point(w, log_v, log_time, jax.lax.map(_flat_loss(problem), w))


@eqx.filter_jit
def _exponential(
    problem: AbstractClassification,
    pre: Preconditioner,
    eta: Scalar,
    begin: Point,
    nats: Float[Array, " r"],
    tol: Scalar,
    most: int,
) -> Point:
    """Midpoint in the parameters, exact decay of the memory between."""

    def motion(w: Flat, u: Flat, log_time: Scalar) -> Any:
        # u = v / L^2, in the frame of the loss at w
        F, G = log_loss_and_gradient(problem, w)
        h, S = pre.h(jnp.log(u) + 2.0 * F, G, F, log_time)
        speed = jnp.sum(h * G**2)
        return F, G, -h * G / speed, S - F - jnp.log(eta * speed)

    def remember(u: Flat, G: Flat, log_dt: Scalar) -> Flat:
        faded = pre.rate * jnp.exp(log_dt)
        return jnp.exp(-faded) * u + -jnp.expm1(-faded) * G**2

    def step(state: Tree) -> Any:
        point, u, size, target, count = state
        F, G, k, pace = motion(point.w, u, point.log_time)
        size = jnp.minimum(size, F - target)
        half = jnp.log(0.5 * size) + pace  # pace: the log of steps that a nat takes
        middle = point.w + 0.5 * size * k
        log_half = jnp.logaddexp(point.log_time, half)
        Fm, Gm = log_loss_and_gradient(problem, middle)
        # memory to the middle, then in the middle's frame
        um = remember(u, G, half) * jnp.exp(2.0 * (F - Fm))
        _, _, km, pace_m = motion(middle, um, log_half)
        # time goes exponentially over a step: half a nat by its middle alone loses 1 %
        bend = jnp.clip(pace_m - pace, -5.0, 5.0)
        stretched = jnp.where(jnp.abs(bend) < 1e-4, 1.0, jnp.sinh(bend) / bend)
        log_dt = jnp.log(size) + pace_m + jnp.log(stretched)
        w = point.w + size * km
        off = jnp.max(jnp.abs(km - k)) * size / jnp.max(jnp.abs(w))
        good = off <= tol
        after, _ = log_loss_and_gradient(problem, w)
        fresh = remember(u, Gm * jnp.exp(Fm - F), log_dt) * jnp.exp(2.0 * (F - after))
        log_time = jnp.logaddexp(point.log_time, log_dt)
        moved = Point(w, point.log_v, log_time, after)
        # the error of a step is of second order in its size
        factor = jnp.clip(0.9 * jnp.sqrt(tol / jnp.maximum(off, 1e-30)), 0.2, 2.0)
        size = jnp.minimum(size * factor, LONGEST)
        pick = lambda a, b: jax.tree.map(lambda x, y: jnp.where(good, x, y), a, b)
        return pick(moved, point), jnp.where(good, fresh, u), size, target, count + 1

    def go(carry: Tree, after: Scalar) -> Any:
        point, u, size, count = carry
        target = begin.log_loss - after
        short = lambda s: s[0].log_loss > target + 1e-9
        unfinished = lambda s: short(s) & (s[4] < most)
        start = (point, u, size, target, count)
        state = jax.lax.while_loop(unfinished, step, start)
        point, u, size, _, count = state
        log_v = jnp.log(u) + 2.0 * point.log_loss
        point = Point(point.w, log_v, point.log_time, point.log_loss)
        missed = jnp.where(short(state), jnp.nan, 1.0)
        record = Point(missed * point.w, log_v, point.log_time, point.log_loss)
        # a record that was close must not leave a tiny step behind
        return (point, u, jnp.maximum(size, 1e-4), count), record

    u = jnp.exp(begin.log_v - 2.0 * begin.log_loss)
    _, path = jax.lax.scan(go, (begin, u, jnp.asarray(1e-4), jnp.zeros((), int)), nats)
    return path


def log_loss_and_gradient(
    problem: AbstractClassification, w: Flat
) -> tuple[Scalar, Flat]:
    r"""$F=\log\mathcal L$ and $G=\nabla\log\mathcal L$ at flat parameters."""
    tree = problem.unflat(w)
    F = problem.log_loss(tree)
    gradient = problem.scaled_gradient(tree)
    return F, problem.flat(gradient.direction) * jnp.exp(gradient.log_scale - F)


def _flat_loss(problem: AbstractClassification) -> Any:
    return functools.partial(lambda p, w: p.log_loss(p.unflat(w)), problem)
