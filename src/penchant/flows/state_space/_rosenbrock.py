r"""Gradient flow of poles alone: ROS2 with Woodbury's formula, past any plateau.

With $h=\sum_jw_ja_j^l$, $\rho=Fh-f$ and $m=2F^\top\rho$ the flow and its Jacobian are

    v = -w ∘ (P' m),   J = -(Diag(D) + U Uᵀ),   D = w ∘ (P'' m),   U = √2 w ∘ (P' Fᵀ),

$P_{jl}=a_j^l$. A step of ROS2, $\gamma=1-1/\sqrt2$, is

    (I - γhJ) k₁ = v(a),   (I - γhJ) k₂ = v(a + h k₁) - 2 k₁,   a ← a + h (3k₁ + k₂)/2,

second order and L-stable: stiff directions are damped however large the step. The step
size follows the rate at which poles grow, not time, so that a plateau of 10^12 costs no
more than one of 10; the matrix of a solve has the rank of the data.
Where poles slide along $\rho=0$ a step leaves it a little, and $D$, the rate at which
they drift apart, is made of that very residual: a step is taken back and halved if it
changes $hD$ by more than `eps`.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

GAMMA = 1.0 - 0.5**0.5
MOST = 2_000_000
"""Steps after which a flow of poles is given up."""

MOST_TOGETHER = 20_000
"""The same for many side by side, of which all wait for the slowest."""

CLOSE = 1e-13
"""Share of the target below which a residual counts as 0."""

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


def _local(a: Array, w: Array, F: Array, f: Array) -> _Local:
    length = F.shape[1]
    P = _powers(a, length)
    l = jnp.arange(1.0, length)
    first = P[:, :-1] * l[None, :]
    second = P[:, :-2] * (l[1:] * l[:-1])[None, :]
    rho = F @ (w @ P) - f
    m = 2.0 * (rho @ F)
    v = -w * (first @ m[1:])
    size = jnp.abs(w) * (jnp.abs(first) @ (2.0 * jnp.abs(rho) @ jnp.abs(F))[1:])
    D = w * (second @ m[2:]) if length > 2 else jnp.zeros_like(a)
    U = 2.0**0.5 * w[:, None] * (first @ F[:, 1:].T)
    return _Local(v, D, U, rho, size)


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


def _step(
    s: Poles, w: Array, F: Array, f: Array, eps: Array, horizon: Array, scale: Array
) -> Poles:
    here = s.here
    h = jnp.minimum(jnp.minimum(s.h, eps / _rate(s.a, here)), horizon - s.time)
    g = GAMMA * h
    E = 1.0 + g * here.D
    UE = here.U / E[:, None]
    G = jnp.eye(F.shape[0]) + g * (here.U.T @ UE)

    def solved(y: Array) -> Array:
        return y / E - g * (UE @ _solve(G, UE.T @ y))

    k1 = solved(here.v)
    k2 = solved(_local(s.a + h * k1, w, F, f).v - 2.0 * k1)
    a = s.a + h * (1.5 * k1 + 0.5 * k2)
    there = _local(a, w, F, f)
    taken = jnp.all(jnp.isfinite(a)) & (h * jnp.max(jnp.abs(there.D - here.D)) <= eps)
    keep = lambda new, old: jnp.where(taken, new, old)
    here = jax.tree.map(keep, there, here)
    a, time = keep(a, s.a), keep(s.time + h, s.time)
    fits = jnp.max(jnp.abs(here.rho)) <= CLOSE * scale
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
    return Poles(a0, zero, count, ended, jnp.asarray(jnp.inf), _local(a0, w, F, f))


def _scale(f: Array) -> Array:
    return jnp.maximum(jnp.max(jnp.abs(f)), 1e-300)


def _limit(
    a0: Float[Array, " d"],
    w: Float[Array, " d"],
    F: Float[Array, "r k"],
    f: Float[Array, " r"],
    eps: Float[Array, ""],
    horizon: Float[Array, ""],
) -> Poles:
    """The end of the flow alone, for many side by side."""
    scale = _scale(f)
    return jax.lax.while_loop(
        lambda s: ~s.ended & (s.steps < MOST_TOGETHER),
        lambda s: _step(s, w, F, f, eps, horizon, scale),
        _start(a0, w, F, f),
    )


poles_limits = jax.jit(jax.vmap(_limit, (0, None, 0, 0, None, None)))


@partial(jax.jit, static_argnames="records")
def poles_path(
    a0: Float[Array, " d"],
    w: Float[Array, " d"],
    F: Float[Array, "r k"],
    f: Float[Array, " r"],
    eps: Float[Array, ""],
    horizon: Float[Array, ""],
    records: int,
) -> tuple[Poles, Path]:
    """The flow with records, at most twice as many as asked for."""
    scale, size = _scale(f), 2 * records

    def body(carry: tuple[Poles, Path]) -> tuple[Poles, Path]:
        s, path = carry
        s = _step(s, w, F, f, eps, horizon, scale)
        due = (s.steps % path.stride == 0) & ~s.ended
        at = jnp.where(due, path.filled, size - 1)
        path = Path(
            path.times.at[at].set(jnp.where(due, s.time, path.times[at])),
            path.a.at[at].set(jnp.where(due, s.a, path.a[at])),
            path.filled + due.astype(int),
            path.stride,
        )
        return s, jax.lax.cond(path.filled >= size - 1, _thinned, lambda p: p, path)

    start = _start(a0, w, F, f)
    d = a0.shape[0]
    empty = Path(
        jnp.zeros(size),
        jnp.zeros((size, d)).at[0].set(a0),
        jnp.ones((), dtype=int),
        jnp.ones((), dtype=int),
    )
    return jax.lax.while_loop(
        lambda c: ~c[0].ended & (c[0].steps < MOST), body, (start, empty)
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
