r"""Any rule, replayed on gradients of frozen weights, with tangents pushed through it.

To first order a past point is $w_j\approx w_n+h_nV_j$ with
$V_j=\sum_{j\le s<n}\frac{h_s}{h_n}F^{(s)}$, so the gradient that the rule saw there is
off by $h_nH_jV_j$. Replaying the rule on the frozen gradients with these as tangents
gives what its memory adds; a tangent $\tfrac12F^{(n)}$ at every step gives what the
discretisation adds.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from penchant._types import Parameters, Scalar, Tree
from penchant.flows.modified._algebra import add, gradient_map, is_inexact, zeros
from penchant.optimizers import AbstractOptimizer
from penchant.problems import AbstractProblem, ScaledGradient


class Order(eqx.Module):
    """Rows of each step's batch, a step a row, and their weights; None for all."""

    rows: Int[Array, "t b"] | None
    weights: Float[Array, "t b"] | None

    def at(self, j: Any) -> tuple[Any, Any]:
        """The batch of a step."""
        take = lambda table: None if table is None else table[j]
        return take(self.rows), take(self.weights)


EVERY = Order(None, None)
"""Full batches."""


class Increment(eqx.Module):
    r"""One step of a rule as $F$ in $w\leftarrow w-hF$.

    Rules add $hF$ to weights, where $F$'s last digits are lost. As the derivative by
    the step size it keeps them. `linear` says that the rule is linear in the step size,
    and that its memory does not hold it; else $F$ is a difference.
    """

    problem: AbstractProblem
    optimizer: AbstractOptimizer
    linear: bool = eqx.field(static=True)

    def __call__(
        self, g: ScaledGradient, state: Tree, w: Parameters, h: Scalar, batch: Tree
    ) -> tuple[Parameters, Tree]:
        more = {}
        if self.optimizer.needs_loss:
            more["loss"] = lambda w: self.problem.batch_loss(w, *batch)
        if not self.linear:
            new, state = self.optimizer.update(g, state, w, h, **more)
            return jax.tree.map(lambda a, b: (a - b) / h, w, new), state

        def made(h: Scalar) -> Any:
            return self.optimizer.update(g, state, w, h, **more)

        _, rate, after = jax.jvp(made, (h,), (jnp.ones_like(h),), has_aux=True)
        return jax.tree.map(jnp.negative, rate), after


def linearity(
    problem: AbstractProblem, optimizer: AbstractOptimizer, h: Scalar
) -> Array:
    """How far a rule is from steps proportional to a step size that it forgets.

    A second step with the same gradient, of half the size: what it leaves beyond its
    derivative by the step size, and what of that derivative its memory keeps.
    """
    w = problem.start
    gradient = ScaledGradient(
        jax.tree.map(lambda x: jnp.cos(x + 1.0), w), jnp.zeros(())
    )
    more = {"loss": problem.batch_loss} if optimizer.needs_loss else {}
    _, state = optimizer.update(gradient, optimizer.init(w), w, h, **more)

    def made(k: Scalar) -> Any:
        new, after = optimizer.update(gradient, state, w, k, **more)
        floats, _ = eqx.partition(after, is_inexact)
        return new, floats

    (new, _), (rate, held) = jax.jvp(made, (0.5 * h,), (jnp.ones(()),))
    off = jax.tree.map(
        lambda a, b, r: _largest((a - b) - 0.5 * h * r) / (1.0 + _largest(a)),
        new,
        w,
        rate,
    )
    kept = [_largest(x) for x in jax.tree.leaves(held)]
    return jnp.max(jnp.stack([*jax.tree.leaves(off), *kept]))


@eqx.filter_jit
def spread(increment: Increment, w: Parameters, n: int, h: Scalar) -> Array:
    """How far `n` steps on frozen gradients differ from the first, relative to it."""
    g = increment.problem.scaled_gradient(w)
    first, state = increment(g, _strong(increment.optimizer.init(w)), w, h, EVERY.at(0))

    def one(carry: Tree, _: None) -> Any:
        state, off = carry
        F, state = increment(g, state, w, h, EVERY.at(0))
        gaps = jax.tree.map(lambda a, b: _largest(a - b), F, first)
        return (state, jnp.max(jnp.stack([off, *jax.tree.leaves(gaps)]))), None

    (_, off), _ = jax.lax.scan(one, (state, jnp.zeros(())), None, length=n)
    size = jnp.max(jnp.stack([_largest(x) for x in jax.tree.leaves(first)]))
    return off / size


def _largest(x: Array) -> Array:
    return jnp.max(jnp.abs(x), initial=0.0).astype(float)


class Replayed(eqx.Module):
    r"""$F$, and its derivatives by memory and by half a step."""

    F: Parameters
    memory: Parameters
    half: Parameters


def replay(
    increment: Increment,
    w: Parameters,
    n: Int[Array, ""],
    etas: Float[Array, " t"],
    order: Order,
    steady: bool = False,
) -> Replayed:
    """Replay steps 0 to `n` at frozen weights, and the tangents of that.

    Linear in `n`, which may be traced: steps past `n` in the tables are not looked at.
    `steady` says that frozen gradients make the same step every time: one Hessian
    product is then enough.
    """
    problem, optimizer = increment.problem, increment.optimizer
    h = lambda j: etas[jnp.minimum(j, etas.shape[0] - 1)]
    full = order.rows is None
    common: Any = gradient_map(problem, w) if full else None

    def gradient(j: Any) -> Any:
        return common if full else gradient_map(problem, w, *order.at(j))

    def primal(j: Any, carry: Tree) -> Any:
        state, total, way, _ = carry
        g = common[0] if full else problem.scaled_gradient(w, *order.at(j))
        F, state = increment(g, state, w, h(j), order.at(j))
        # what is summed are the steps before the last one
        length = jnp.where(j < n, h(j), 0.0)
        return state, add(total, F, length), way + length, F

    begin = (_strong(optimizer.init(w)), zeros(w), jnp.zeros(()), zeros(w))
    _, S, way, F = jax.lax.fori_loop(0, n + 1, primal, begin)
    here = h(n)
    u = common[1](F) if steady and full else None

    def tangents(done: Parameters) -> Parameters:
        """Of the weights when so much of the way had been made: of both kinds."""
        return jax.tree.map(
            lambda s, d, f: jnp.stack([(s - d) / here, 0.5 * f]), S, done, F
        )

    def pushed(j: Any, carry: Tree) -> Any:
        floats, others, rates, done, passed, _, _ = carry
        g, products = gradient(j)
        V = tangents(done)
        if u is None:
            dG = jax.vmap(products)(V)
        else:
            left = jnp.stack([(way - passed) / here, jnp.asarray(0.5)])
            dG = jax.tree.map(lambda x: jnp.tensordot(left, x, 0), u)

        def made(floats: Tree, direction: Parameters, w: Parameters) -> Any:
            frozen = ScaledGradient(direction, g.log_scale)
            state = eqx.combine(floats, others)
            F, state = increment(frozen, state, w, h(j), order.at(j))
            new, rest = eqx.partition(state, is_inexact)
            return (F, new), rest

        def along(rates: Tree, dG: Parameters, V: Parameters) -> Any:
            at = (floats, g.direction, w)
            return jax.jvp(made, at, (rates, dG, V), has_aux=True)

        (F, new), (dF, rates), rest = jax.vmap(along, out_axes=(None, 0, None))(
            rates, dG, V
        )
        length = jnp.where(j < n, h(j), 0.0)
        return new, rest, rates, add(done, F, length), passed + length, F, dF

    def initial(V: Parameters) -> Any:
        begin = lambda w: eqx.partition(_strong(optimizer.init(w)), is_inexact)
        return jax.jvp(begin, (w,), (V,), has_aux=True)

    floats, rates, others = jax.vmap(initial, out_axes=(None, 0, None))(
        tangents(zeros(w))
    )
    two = jax.tree.map(lambda x: jnp.zeros((2, *x.shape)), w)
    carry = (floats, others, rates, zeros(w), jnp.zeros(()), zeros(w), two)
    *_, F, dF = jax.lax.fori_loop(0, n + 1, pushed, carry)
    memory, half = (jax.tree.map(lambda x, i=i: x[i], dF) for i in range(2))
    return Replayed(F, memory, half)


def _strong(state: Tree) -> Tree:
    """Leaves of the types that they have after a step, for loops."""
    return jax.tree.map(
        lambda x: jnp.asarray(x, x.dtype) if getattr(x, "weak_type", False) else x,
        state,
    )
