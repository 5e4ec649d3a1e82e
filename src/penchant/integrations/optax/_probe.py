"""A transformation that keeps a sample of what it saw; its updates are those inside."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from penchant._types import Tree

SAMPLE = 2000
"""Most coordinates of a tensor that are looked at."""

FIRST = {
    "mu": "exp_avg",
    "nu": "exp_avg_sq",
    "sum_of_squares": "sum",
    "trace": "momentum_buffer",
}
"""Moments by their names in optax's states, and as the table of rules has them."""


class ProbeState(NamedTuple):
    """The state inside, updates made, and samples of the last one, a leaf an array."""

    inner_state: Any
    count: Array  # type: ignore[assignment] - as every state of optax has it
    before: tuple[Array, ...]
    gradient: tuple[Array, ...]
    update: tuple[Array, ...]
    past: dict[str, tuple[Array, ...]]


def probe(tx: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """The same transformation, with a state that a probe can read.

    Its updates are those of `tx`. The state keeps at most 2 000 coordinates a tensor of
    weights, gradients, updates and first moments, under names that `optax.tree.get`
    finds too. About the whole chain gradients are those before clipping; about its
    last part they are what that part is given.

    >>> import optax, jax.numpy as jnp, penchant as pn
    >>> tx = pn.optax.probe(optax.sgd(0.5))
    >>> w = jnp.ones(3)
    >>> updates, state = tx.update(w, tx.init(w), w)
    >>> updates.tolist(), state.before[0].tolist(), int(state.count)
    ([-0.5, -0.5, -0.5], [1.0, 1.0, 1.0], 1)

    Args:
        tx: Any transformation. Its `update` must be given the weights.

    Raises:
        TypeError: If it is none.
    """
    if not isinstance(tx, optax.GradientTransformation):
        raise TypeError(
            "tx must be an optax transformation; got "
            f"{tx!r:.100} of type {type(tx).__name__}."
        )
    inner = optax.with_extra_args_support(tx)

    def init(params: optax.Params) -> ProbeState:
        state = inner.init(params)
        nothing = tuple(jnp.zeros_like(x) for x in sample(params))
        return ProbeState(
            state, jnp.zeros((), jnp.int32), nothing, nothing, nothing, past(state)
        )

    def update(
        updates: optax.Updates,
        state: Tree,
        params: optax.Params | None = None,
        **extra: Any,
    ) -> tuple[optax.Updates, ProbeState]:
        if params is None:
            raise ValueError(
                "params must be given to update: what a step does to weights can't be "
                "seen without them; got None."
            )
        made, new = inner.update(updates, state.inner_state, params, **extra)
        like = lambda tree: tuple(
            x.astype(w.dtype) for x, w in zip(sample(tree), state.before, strict=True)
        )
        return made, ProbeState(
            new,
            jnp.asarray(optax.safe_increment(state.count)),
            like(params),
            like(updates),
            like(made),
            past(state.inner_state),
        )

    return optax.GradientTransformationExtraArgs(init, update)


def places(i: int, size: int) -> np.ndarray:
    """Which coordinates of leaf `i` are looked at: always the same ones."""
    if size <= SAMPLE:
        return np.arange(size)
    return np.unique(np.random.default_rng(i).integers(0, size, SAMPLE))


def sample(tree: Tree) -> tuple[Array, ...]:
    """The coordinates that are looked at, of each leaf."""
    return tuple(
        jnp.ravel(x)[places(i, x.size)] for i, x in enumerate(jax.tree.leaves(tree))
    )


def moments(state: Tree) -> list[dict[str, Any]]:
    """Of each state inside that has moments: those, by the table's names, and a count.

    States in wrappers (chains, injected hyper-parameters, schedules) are found too.
    """
    found: list[dict[str, Any]] = []

    def visit(node: Tree) -> None:
        fields = getattr(node, "_fields", ())
        own = {FIRST[name]: getattr(node, name) for name in fields if name in FIRST}
        if own:
            # a tuple without that field has a method of its name
            count = node.count if "count" in fields else None
            found.append({**own, "kind": type(node).__name__, "count": count})
            return
        if isinstance(node, dict):
            node = list(node.values())
        if isinstance(node, (tuple, list)):
            for part in node:
                visit(part)

    visit(state)
    return found


def past(state: Tree) -> dict[str, tuple[Array, ...]]:
    """Samples of first moments, where there is one set of them."""
    seen = moments(state)
    if len(seen) != 1:
        return {}
    return {
        name: sample(seen[0][name])
        for name in ("exp_avg", "momentum_buffer")
        if name in seen[0]
    }


def state_of(opt_state: Tree) -> ProbeState | None:
    """The probe's part of an optimizer's state; None where it has none."""
    if isinstance(opt_state, ProbeState):
        return opt_state
    inside = list(opt_state.values()) if isinstance(opt_state, dict) else opt_state
    if isinstance(inside, (tuple, list)):
        for part in inside:
            found = state_of(part)
            if found is not None:
                return found
    return None
