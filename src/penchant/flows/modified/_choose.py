"""How a rule is expanded: in closed form where its character tells, else by replay."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from penchant._types import Parameters, Tree
from penchant.flows.modified._moments import Coefficients, Form, MomentRule
from penchant.flows.modified._replay import (
    EVERY,
    Increment,
    linearity,
    replay,
    spread,
)
from penchant.optimizers import AbstractOptimizer
from penchant.problems import AbstractProblem, ScaledGradient

STEADY = 1e-12
"""Steps on frozen gradients that differ by less are the same but for rounding."""

TRIED = 32
"""Steps on which it is seen whether they are the same."""

LINEAR = 1e-12
"""A rule whose steps leave less beyond their derivative is linear in the step size."""

AGREES = 1e-9
"""How well a closed form must agree with a replay before it is used."""


class Engine(eqx.Module):
    """What expands a rule: `moments`, or the replay where these are None."""

    increment: Increment
    moments: MomentRule | None
    steady: bool = eqx.field(static=True)

    @classmethod
    def of(
        cls, problem: AbstractProblem, optimizer: AbstractOptimizer, h: float
    ) -> "Engine":
        """Look at a rule: is it linear in the step size, and what its character says.

        A character is taken at its word where it agrees with the rule itself, replayed
        for three steps on gradients made up; a rule that clips, say, does not.
        """
        linear, moments = examined(optimizer, problem.start)
        increment = Increment(problem, optimizer, linear)
        steady = False
        if moments is None:
            off = spread(increment, problem.start, TRIED, jnp.asarray(h))
            steady = bool(off <= STEADY)
        return cls(increment, moments, steady)


class Made(AbstractProblem):
    """A made-up problem of some shape, whose gradient is $c+Dw$."""

    w: Parameters
    c: Parameters
    D: Parameters

    @property
    def samples(self) -> int:
        return 1

    @property
    def start(self) -> Parameters:
        return self.w

    def scaled_gradient(
        self,
        w: Parameters,
        rows: Tree = None,
        row_weights: Tree = None,
        key: Any = None,
    ) -> ScaledGradient:
        g = jax.tree.map(lambda c, D, w: c + D * w, self.c, self.D, w)
        return ScaledGradient(g, jnp.zeros(()))

    def batch_loss(
        self,
        w: Parameters,
        rows: Tree = None,
        row_weights: Tree = None,
        key: Any = None,
    ) -> Any:
        parts = jax.tree.map(
            lambda c, D, w: jnp.sum((c + 0.5 * D * w) * w), self.c, self.D, w
        )
        return sum(jax.tree.leaves(parts))

    def recorded(self, w: Parameters) -> Any:
        return self.batch_loss(w)

    def identity(self, w: Parameters) -> Any:
        return self.c, self.D


def made(shapes: list[tuple[int, ...]], structure: Tree) -> Made:
    """Entries of mixed size and sign, the same each time."""
    draw = np.random.default_rng(0)
    tree = lambda: jax.tree.unflatten(
        structure, [jnp.asarray(draw.normal(size=s)) for s in shapes]
    )
    return Made(tree(), tree(), tree())


def examined(
    optimizer: AbstractOptimizer, w: Parameters
) -> tuple[bool, MomentRule | None]:
    """Whether a rule is linear in its step size, and its closed form if it has one."""
    leaves, structure = jax.tree.flatten(w)
    shapes = tuple(tuple(min(n, 3) for n in x.shape) for x in leaves)
    numbers, kind = jax.tree.flatten(optimizer)
    values = tuple(
        (np.shape(x), np.asarray(x).tobytes()) if eqx.is_array_like(x) else repr(x)
        for x in numbers
    )
    blocks = optimizer.character().second
    if blocks is not None and blocks.blocks is not None:
        shapes = tuple(x.shape for x in leaves)  # blocks have the weights' shapes
    linear, agrees = _examine(_Key(optimizer, (kind, values, shapes, structure)))
    return linear, MomentRule.of(optimizer) if agrees else None


class _Key:
    """A rule under a name that can be looked up: arrays have none."""

    def __init__(self, optimizer: AbstractOptimizer, name: Any):
        self.optimizer, self.name = optimizer, name

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.name == other.name


@functools.lru_cache(maxsize=256)
def _examine(key: _Key) -> tuple[bool, bool]:
    _, _, shapes, structure = key.name
    problem = made(list(shapes), structure)
    moments = MomentRule.of(key.optimizer)
    steps = (0, 2)
    form = known = None
    if moments is not None:
        form = moments.form
        known = [moments.coefficients(n) for n in steps]
        known = jax.tree.map(lambda *x: jnp.stack(x), *known)
    curved, *off = _seen(problem, key.optimizer, form, jnp.asarray(steps), known)
    linear = float(curved) <= LINEAR
    return linear, linear and bool(off) and float(off[0]) <= AGREES


@eqx.filter_jit
def _seen(
    problem: Made,
    optimizer: AbstractOptimizer,
    form: Form | None,
    steps: Array,
    known: Coefficients | None,
) -> list[Array]:
    """How linear a rule is, and how far a closed form is from its replay."""
    w = problem.start
    curved = linearity(problem, optimizer, jnp.asarray(1e-3))
    if form is None or known is None:
        return [curved]
    increment = Increment(problem, optimizer, True)
    add = lambda parts: jax.tree.map(lambda *x: sum(x), *parts)

    def off(inputs: Tree) -> Array:
        n, known = inputs
        seen = replay(increment, w, n, jnp.full(1, 1e-3), EVERY)
        told = form.expand(problem, w, known)
        pairs = (
            (seen.F, told.F),
            (seen.memory, add(told.memory)),
            (seen.half, add(told.half)),
        )
        step = jnp.max(jnp.abs(problem.flat(seen.F)))
        ratios = []
        for a, b in pairs:
            a, b = problem.flat(a), problem.flat(b)
            size = step + jnp.max(jnp.abs(a))
            ratios.append(jnp.max(jnp.abs(a - b)) / size)
        return jnp.max(jnp.stack(ratios))

    return [curved, jnp.max(jax.lax.map(off, (steps, known)))]
