r"""The maps of the entry-wise $\ell_p$ norms, for every $p\in[1,\infty]$.

They take a plain array and the number $p$; the norms of both families, entry-wise
(`_lp.py`) and Schatten (`_schatten.py`), are built of them.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from penchant._checks import as_numbers, check_number
from penchant._types import Real, Scalar, Tree, Weights


def conjugate_exponent(p: float) -> float:
    r"""$q$ with $1/p + 1/q = 1$."""
    if p == 1.0:
        return math.inf
    return 1.0 if math.isinf(p) else p / (p - 1.0)


def p_norm(x: Weights, p: float) -> Scalar:
    r"""$(\sum_i|x_i|^p)^{1/p}$; nothing over- or underflows on the way.

    Its derivative is the dual ball's steepest point, which is 0 at 0.
    """
    return _p_norm(as_numbers("x", x), _exponent(p))


def _exponent(p: float) -> float:
    check_number("p", p, least=1.0)
    return float(p)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _p_norm(x: Weights, p: float) -> Scalar:
    if x.size == 0:
        return jnp.zeros((), x.dtype)
    size = jnp.abs(x)
    largest = jnp.max(size)
    if math.isinf(p):
        return largest
    if p == 1.0:
        return jnp.sum(size)
    share = size / jnp.where(largest > 0, largest, 1.0)
    if p == 2.0:
        return largest * jnp.sqrt(jnp.sum(share**2))
    return largest * jnp.sum(share**p) ** (1.0 / p)


@_p_norm.defjvp
def _(p: float, primals: Tree, tangents: Tree) -> Any:
    (x,), (dx,) = primals, tangents
    slope = p_steepest(x, conjugate_exponent(p))
    return _p_norm(x, p), jnp.sum(slope * dx)


def p_steepest(g: Weights, p: float) -> Weights:
    r"""The point of the $\ell_p$ ball furthest along `g`.

    $p=1$: one coordinate, the first of the largest. $p=\infty$: the signs, 0 where
    $g_i=0$. Else $\mathrm{sign}(g)|g|^{q-1}$ scaled to length one. 0 at $g=0$.
    """
    g, p = as_numbers("g", g), _exponent(p)
    if g.size == 0:
        return g
    if math.isinf(p):
        return jnp.sign(g)
    size = jnp.abs(g)
    if p == 1.0:
        flat = jnp.ravel(g)
        first = jax.nn.one_hot(jnp.argmax(jnp.abs(flat)), flat.size, dtype=g.dtype)
        return jnp.reshape(jnp.sign(flat) * first, g.shape)
    largest = jnp.max(size)
    unit = g / jnp.where(largest > 0, largest, 1.0)
    if p == 2.0:
        square = jnp.sum(unit**2)
        direction = unit / jnp.sqrt(jnp.where(square > 0, square, 1.0))
        return jnp.where(largest > 0, direction, 0.0)
    # |u|^{q-1}, with 0 kept out of the power so that its derivative is no 0 * inf
    share = jnp.abs(unit)
    power = 1.0 / (p - 1.0)  # q - 1
    raised = jnp.where(share > 0, jnp.where(share > 0, share, 1.0) ** power, 0.0)
    return jnp.sign(unit) * raised / jnp.where(largest > 0, p_norm(raised, p), 1.0)


def p_project(x: Weights, p: float, radius: Real = 1.0) -> Weights:
    r"""The nearest point of $\{\|x\|_p\le r\}$ in the Euclidean distance."""
    x, p = as_numbers("x", x), _exponent(p)
    if math.isinf(p):
        return jnp.clip(x, -radius, radius)
    if p == 1.0:
        return _project_sum(x, radius)
    if p == 2.0:
        length = p_norm(x, 2.0)
        outside = length > radius
        return jnp.where(outside, x * (radius / jnp.where(outside, length, 1.0)), x)
    r = jnp.asarray(radius, x.dtype)
    return jnp.where(r > 0, r * _project_unit(x / jnp.where(r > 0, r, 1.0), p), 0.0)


def _project_sum(x: Weights, radius: Real) -> Weights:
    size = jnp.abs(x)
    inside = jnp.sum(size) <= radius
    level = _threshold(size, radius)
    return jnp.where(inside, x, jnp.sign(x) * jnp.maximum(size - level, 0.0))


def project_simplex(x: Weights) -> Weights:
    r"""The nearest point of $\{q\ge0,\ \sum_i q_i=1\}$.

    Raises:
        TypeError: If `x` is no array of real numbers.
    """
    x = as_numbers("x", x)
    return jnp.maximum(x - _threshold(x, 1.0), 0.0)


def _threshold(x: Weights, total: Real) -> Scalar:
    r"""The level $\tau$ with $\sum_i\max(x_i-\tau,0)=$ `total` $>0$.

    Newton's method on a convex, piecewise linear function: monotone from the left, and
    exact after finitely many steps, without a sort.
    """

    def level(tau: Scalar) -> Scalar:
        above = x > tau
        count = jnp.sum(above, dtype=x.dtype)
        kept = jnp.sum(jnp.where(above, x, 0.0))
        return (kept - total) / jnp.maximum(count, 1.0)

    def rises(state: Tree) -> Any:
        before, tau, count = state
        return (tau > before) & (count < 100)

    def step(state: Tree) -> Any:
        _, tau, count = state
        return tau, level(tau), count + 1

    lowest = jnp.full((), -jnp.inf, x.dtype)  # entries of -inf are never above
    start = (lowest, level(lowest), jnp.zeros((), int))
    # the loop finds which entries are above; one step outside it has the derivative
    found = jax.lax.while_loop(rises, step, jax.lax.stop_gradient(start))
    return level(jax.lax.stop_gradient(found[0]))


# Projection on the unit l_p ball, 1 < p < inf, p != 2. Outside the ball the solution
# has the signs of x and solves
#     u_i + nu u_i^{p-1} = |x_i|,   sum_i u_i^p = 1
# for a multiplier nu > 0. For given nu each u_i is a scalar root of a function that is
# increasing and, in u (p > 2) or in u^{p-1} (p < 2), convex, so Newton from above is
# monotone. log sum u^p falls with log nu; that root is bracketed and found by Newton
# steps, with bisection where they leave the bracket.


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _project_unit(x: Weights, p: float) -> Weights:
    return _unit_projection(x, p)[0]


@_project_unit.defjvp
def _(p: float, primals: Tree, tangents: Tree) -> Any:
    (x,), (dx,) = primals, tangents
    out, nu = _unit_projection(x, p)
    u = jnp.abs(out)
    du = dx * jnp.sign(x)
    positive = u > 0
    safe = jnp.where(positive, u, 1.0)
    # (1 + nu (p-1) u^{p-2}) du + u^{p-1} dnu = d|x|,  sum u^{p-1} du = 0
    inverse = jnp.where(positive, 1.0 / (1.0 + nu * (p - 1.0) * safe ** (p - 2.0)), 0.0)
    pull = jnp.where(positive, safe ** (p - 1.0), 0.0)
    weight = jnp.sum(pull**2 * inverse)
    dnu = jnp.sum(pull * inverse * du) / jnp.where(weight > 0, weight, 1.0)
    inside = nu <= 0
    return out, jnp.where(inside, dx, jnp.sign(x) * inverse * (du - pull * dnu))


def _roots(a: Weights, nu: Scalar, p: float) -> Weights:
    """`u` with `u + nu u^(p-1) = a`, for `a >= 0` and `nu > 0`."""
    positive = a > 0
    a = jnp.where(positive, a, 1.0)
    e = p - 1.0
    if p > 2.0:
        start = jnp.minimum(a, (a / nu) ** (1.0 / e))

        def newton(_: Tree, u: Weights) -> Weights:
            power = u ** (e - 1.0)
            return u - (u + nu * u * power - a) / (1.0 + nu * e * power)

        u = jax.lax.fori_loop(0, 12, newton, start)
    else:  # in v = u^{p-1}: v^{1/e} + nu v = a
        start = jnp.minimum(a / nu, a**e)

        def newton_raised(_: Tree, v: Weights) -> Weights:
            power = v ** (1.0 / e - 1.0)
            return v - (v * power + nu * v - a) / (power / e + nu)

        u = jnp.maximum(jax.lax.fori_loop(0, 12, newton_raised, start), 0.0) ** (
            1.0 / e
        )
    return jnp.where(positive, u, 0.0)


def _unit_projection(x: Weights, p: float) -> tuple[Weights, Scalar]:
    a = jnp.abs(x)
    length = p_norm(a, p)
    outside = length > 1.0
    a = jnp.where(outside, a, jnp.ones_like(a))  # a stand-in that is safely outside
    length = jnp.where(outside, length, p_norm(jnp.ones_like(a), p))
    q = conjugate_exponent(p)
    low = jnp.log((length - 1.0) / a.size)
    high = jnp.log(p_norm(a, q))

    def gap(log_nu: Scalar) -> tuple[Scalar, Scalar]:
        u = _roots(a, jnp.exp(log_nu), p)
        positive = u > 0
        safe = jnp.where(positive, u, 1.0)
        nu = jnp.exp(log_nu)
        total = jnp.sum(jnp.where(positive, safe**p, 0.0))
        # d u / d log nu = - nu u^{p-1} / (1 + nu (p-1) u^{p-2})
        slope = -jnp.sum(
            jnp.where(
                positive,
                p
                * safe ** (2 * p - 2)
                * nu
                / (1.0 + nu * (p - 1.0) * safe ** (p - 2.0)),
                0.0,
            )
        )
        return jnp.log(total), slope / total

    def narrow(state: Tree) -> Any:
        low, high, at, _, count = state
        value, slope = gap(at)
        low = jnp.where(value > 0, at, low)
        high = jnp.where(value > 0, high, at)
        step = at - value / slope
        within = (step > low) & (step < high)
        following = jnp.where(within, step, 0.5 * (low + high))
        return low, high, following, jnp.abs(following - at), count + 1

    def unfinished(state: Tree) -> Any:
        _, _, at, moved, count = state
        precise = moved > 4e-16 * (1.0 + jnp.abs(at))
        return (count < 100) & precise

    start = 0.5 * (low + high)
    state = (low, high, start, jnp.asarray(jnp.inf, x.dtype), jnp.zeros((), int))
    nu = jnp.exp(jax.lax.while_loop(unfinished, narrow, state)[2])
    u = _roots(a, nu, p)
    u = u / p_norm(u, p)  # the last rounding: never outside the ball by more than that
    return (
        jnp.where(outside, jnp.sign(x) * u, x),
        jnp.where(outside, nu, 0.0),
    )
