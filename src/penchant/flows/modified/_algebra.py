"""Pytrees of weights as vectors."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from penchant._types import Parameters, Real, Tree
from penchant.problems import AbstractProblem, ScaledGradient


def add(a: Parameters, b: Parameters, factor: Real = 1.0) -> Parameters:
    """`a + factor * b`."""
    return jax.tree.map(lambda x, y: x + factor * y, a, b)


def times(factor: Real, a: Parameters) -> Parameters:
    """`factor * a`."""
    return jax.tree.map(lambda x: factor * x, a)


def zeros(a: Parameters) -> Parameters:
    """0 in the same shapes."""
    return jax.tree.map(jnp.zeros_like, a)


def product(a: Parameters, b: Parameters) -> Parameters:
    """Entry by entry."""
    return jax.tree.map(jnp.multiply, a, b)


def mix(weights: Array, trees: Parameters) -> Parameters:
    """The sum over a leading axis, with weights."""
    return jax.tree.map(lambda x: jnp.tensordot(weights, x, 1), trees)


def gradient_map(
    problem: AbstractProblem, w: Parameters, rows: Tree = None, row_weights: Tree = None
) -> tuple[ScaledGradient, Any]:
    r"""The gradient at `w`, and the map from $v$ to $e^{-s}Hv$ in the same frame.

    With $g=d\,e^s$ the derivative of $g$ along $v$ is $(\dot d+d\,\dot s)e^s$: the
    frame itself may stay as it is.
    """
    g, push = jax.linearize(lambda w: problem.scaled_gradient(w, rows, row_weights), w)

    def products(v: Parameters) -> Parameters:
        moved = push(v)
        return jax.tree.map(
            lambda rate, d: rate + d * moved.log_scale, moved.direction, g.direction
        )

    return g, products


def flat_gradient(problem: AbstractProblem, x: Float[Array, " p"]) -> Array:
    """The gradient at flat weights, by value, with derivatives wherever it has any.

    Where it is 0 in all entries its scaled form is a constant: what is differentiated
    further is the loss, where the problem has one by value.
    """
    if problem.has_batch_loss:
        return jax.grad(lambda x: problem.batch_loss(problem.unflat(x)))(x)
    return problem.flat(problem.scaled_gradient(problem.unflat(x)).value())


def is_inexact(leaf: Tree) -> bool:
    """Whether a leaf has derivatives."""
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
