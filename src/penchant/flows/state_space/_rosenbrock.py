r"""Gradient flow of poles alone, past any plateau: residuals are unknowns too.

With $h=\sum_jw_ja_j^l$, $\rho=Fh-f$ and $U=\sqrt2\,w\circ(P'F^\top)$, $P_{jl}=a_j^l$,

    da/dt = -√2 U ρ,    dρ/dt = -K ρ,    K = UᵀU,

a linear equation for $\rho$ as far as poles stand still. A step takes $K$ at the middle
and the second-order L-stable function of ROS2, $\gamma=1-1/\sqrt2$, in the form that
solves with a positive definite matrix and subtracts nothing:

    y₁ = (I + γhK)⁻¹ ρ,    y₂ = (I + γhK)⁻¹ y₁,
    a ← a - √2 h U ((1-γ)y₂ + γy₁),    ρ ← (1+β)y₂ - βy₁,    β = (1-2γ)/γ.

The step size follows the rate at which poles grow or drift apart,
$D=w\circ(P''\,2F^\top\rho)$, not time, so that a plateau of 10^12 costs no more than
one of 10. Where poles slide along $\rho\approx0$ for as long, $\rho$ may be 10^-18, far
below the rounding of $Fh-f$, and is right all the same: it decides where they end. What
$Fh-f$ has come off from $\rho$ is put right by one implicit step of the poles alone.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

ROOT2 = 2.0**0.5
GAMMA = 1.0 - 0.5**0.5
BETA = (1.0 - 2.0 * GAMMA) / GAMMA
MOST = 2_000_000
"""Steps after which a flow of poles is given up."""

MOST_TOGETHER = 20_000
"""The same for many side by side, of which all wait for the slowest."""

CLOSE = 1e-13
"""Share of its own terms below which a residual counts as 0."""

BALANCED = 1e-13
"""Share of its own terms below which a velocity counts as 0."""

UNROLLED = 24
"""Longest sequences, and highest ranks, whose loops are written out."""


class _Local(NamedTuple):
    v: Array
    D: Array
    U: Array
    rho: Array
    size: Array
    terms: Array


class Poles(NamedTuple):
    """Where a flow of poles is: poles, time, steps, and whether it has ended."""

    a: Float[Array, " d"]
    time: Float[Array, ""]
    steps: Int[Array, ""]
    ended: Bool[Array, ""]
    h: Float[Array, ""]
    here: _Local


class Path(NamedTuple):
    """Records of a flow: every `stride`-th step, half of them dropped when full."""

    times: Float[Array, " r"]
    a: Float[Array, "r d"]
    filled: Int[Array, ""]
    stride: Int[Array, ""]


def _powers(a: Array, length: int) -> Array:
    if length > UNROLLED:
        steps = jnp.broadcast_to(a[:, None], (a.shape[0], length - 1))
        ones = jnp.ones((a.shape[0], 1))
        return jnp.cumprod(jnp.concatenate([ones, steps], axis=1), axis=1)
    P = [jnp.ones_like(a)]
    for _ in range(length - 1):
        P.append(P[-1] * a)
    return jnp.stack(P, axis=1)


def _slopes(a: Array, w: Array, F: Array) -> Array:
    """U, of which K = UᵀU."""
    length = F.shape[1]
    first = _powers(a, length)[:, :-1] * jnp.arange(1.0, length)[None, :]
    return ROOT2 * w[:, None] * (first @ F[:, 1:].T)


def _local(a: Array, rho: Array, w: Array, F: Array, f: Array) -> _Local:
    length = F.shape[1]
    P = _powers(a, length)
    l = jnp.arange(1.0, length)
    U = _slopes(a, w, F)
    v = -ROOT2 * (U @ rho)
    size = ROOT2 * (jnp.abs(U) @ jnp.abs(rho))
    D = jnp.zeros_like(a)
    if length > 2:
        second = P[:, :-2] * (l[1:] * l[:-1])[None, :]
        D = w * (second @ (2.0 * (rho @ F))[2:])
    terms = jnp.abs(f) + jnp.abs(F) @ jnp.abs(w @ P)
    return _Local(v, D, U, rho, size, terms)


def _solve(G: Array, y: Array) -> Array:
    """G x = y of a small positive definite matrix, without calls to LAPACK."""
    r = G.shape[0]
    if r > UNROLLED:
        return jnp.linalg.solve(G, y)
    rows = [[G[i, j] for j in range(r)] for i in range(r)]
    x = [y[i] for i in range(r)]
    for i in range(r):
        for k in range(i + 1, r):
            factor = rows[k][i] / rows[i][i]
            for j in range(i, r):
                rows[k][j] = rows[k][j] - factor * rows[i][j]
            x[k] = x[k] - factor * x[i]
    for i in reversed(range(r)):
        for j in range(i + 1, r):
            x[i] = x[i] - rows[i][j] * x[j]
        x[i] = x[i] / rows[i][i]
    return jnp.stack(x)


def _solver(U: Array, g: Array) -> Callable[[Array], Array]:
    """(I + gK)⁻¹; what residuals decay to in an implicit step of length g."""
    G = jnp.eye(U.shape[1]) + g * (U.T @ U)
    return lambda y: _solve(G, y)


def _step(s: Poles, w: Array, F: Array, f: Array, eps: Array, horizon: Array) -> Poles:
    here = s.here
    h = jnp.minimum(jnp.minimum(s.h, eps / _rate(s.a, here)), horizon - s.time)
    half = 0.5 * h
    U = _slopes(s.a - ROOT2 * half * (here.U @ _solver(here.U, half)(here.rho)), w, F)
    solved = _solver(U, GAMMA * h)
    y1 = solved(here.rho)
    y2 = solved(y1)
    a = s.a - ROOT2 * h * (U @ ((1.0 - GAMMA) * y2 + GAMMA * y1))
    rho = (1.0 + BETA) * y2 - BETA * y1
    off = _solver(U, h)(F @ (w @ _powers(a, F.shape[1])) - f - rho)
    a = a - ROOT2 * h * (U @ off)
    there = _local(a, rho + off, w, F, f)
    taken = jnp.all(jnp.isfinite(a)) & (h * jnp.max(jnp.abs(there.D - here.D)) <= eps)
    keep = lambda new, old: jnp.where(taken, new, old)
    here = jax.tree.map(keep, there, here)
    a, time = keep(a, s.a), keep(s.time + h, s.time)
    fits = jnp.all(jnp.abs(here.rho) <= CLOSE * here.terms)
    rests = jnp.max(jnp.abs(here.v)) <= BALANCED * jnp.max(here.size)
    ended = fits | rests | (time >= horizon)
    return Poles(a, time, s.steps + 1, ended, jnp.where(taken, 2.0 * h, 0.5 * h), here)


def _rate(a: Array, here: _Local) -> Array:
    """How fast poles grow, relative to themselves."""
    moving = jnp.max(jnp.abs(here.v)) / (jnp.max(jnp.abs(a)) + 1e-300)
    return jnp.max(jnp.abs(here.D)) + moving + 1e-60


def _start(a0: Array, w: Array, F: Array, f: Array) -> Poles:
    zero, count = jnp.zeros(()), jnp.zeros((), dtype=int)
    ended = jnp.zeros((), dtype=bool)
    rho = F @ (w @ _powers(a0, F.shape[1])) - f
    here = _local(a0, rho, w, F, f)
    return Poles(a0, zero, count, ended, jnp.asarray(jnp.inf), here)


def _limit(
    a0: Float[Array, " d"],
    w: Float[Array, " d"],
    F: Float[Array, "r k"],
    f: Float[Array, " r"],
    eps: Float[Array, ""],
    horizon: Float[Array, ""],
) -> Poles:
    """The end of the flow alone, for many side by side."""
    return jax.lax.while_loop(
        lambda s: ~s.ended & (s.steps < MOST_TOGETHER),
        lambda s: _step(s, w, F, f, eps, horizon),
        _start(a0, w, F, f),
    )


poles_limits = jax.jit(jax.vmap(_limit, (0, None, 0, 0, None, None)))


@partial(jax.jit, static_argnames="records")
def poles_path(
    a0: Float[Array, " d"],
    w: Float[Array, " d"],
    F: Float[Array, "r k"],
    f: Float[Array, " r"],
    eps: Float[Array, " e"],
    horizon: Float[Array, ""],
    records: int,
) -> tuple[Poles, Path]:
    """The flow at several accuracies side by side, with records of the last.

    There are at most twice as many of them as asked for.
    """
    size = 2 * records
    stepped = jax.vmap(_step, (0, None, None, None, 0, None))

    def body(carry: tuple[Poles, Path]) -> tuple[Poles, Path]:
        s, path = carry
        new = stepped(s, w, F, f, eps, horizon)
        rest = lambda old, x: jnp.where(
            s.ended.reshape(-1, *[1] * (x.ndim - 1)), old, x
        )
        s = jax.tree.map(rest, s, new)
        steps, ended = s.steps[-1], s.ended[-1]
        due = (steps % path.stride == 0) & ~ended
        at = jnp.where(due, path.filled, size - 1)
        path = Path(
            path.times.at[at].set(jnp.where(due, s.time[-1], path.times[at])),
            path.a.at[at].set(jnp.where(due, s.a[-1], path.a[at])),
            path.filled + due.astype(int),
            path.stride,
        )
        return s, jax.lax.cond(path.filled >= size - 1, _thinned, lambda p: p, path)

    one = _start(a0, w, F, f)
    start = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(eps), *x.shape)), one)
    d = a0.shape[0]
    empty = Path(
        jnp.zeros(size),
        jnp.zeros((size, d)).at[0].set(a0),
        jnp.ones((), dtype=int),
        jnp.ones((), dtype=int),
    )
    return jax.lax.while_loop(
        lambda c: jnp.any(~c[0].ended & (c[0].steps < MOST)), body, (start, empty)
    )


def _thinned(path: Path) -> Path:
    """Every other record, the first one among them."""
    half = path.times.shape[0] // 2
    times, a = path.times[::2], path.a[::2]
    count = (path.filled + 1) // 2
    return Path(
        jnp.concatenate([times, jnp.zeros(half)]),
        jnp.concatenate([a, jnp.zeros((half, a.shape[1]))]),
        count,
        2 * path.stride,
    )
