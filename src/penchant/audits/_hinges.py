"""Any function of JAX with its hinges made smooth, for the sake of gradients."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal
from jaxtyping import Array

CALLS = frozenset({"jit", "pjit", "closed_call", "core_call", "remat", "checkpoint"})
"""Primitives that hold a function and do nothing of their own."""


def smoothed(function: Callable[[Array], Array], gain: float) -> Callable[..., Array]:
    r"""The function with a softplus for every $\max(z,0)$.

    $\frac sg\log(1+e^{gz/s})$ with $s$ the mean size of the entries of $z$. Where ReLU
    network is locally constant its own gradient is 0; this one's shows the way out.
    What is written otherwise (`where(z > 0, z, 0)`) stays as it is, and so do hinges
    within loops and callbacks. A function that has its own, `function.smoothed(gain)`,
    is asked for it.
    """
    own = getattr(function, "smoothed", None)
    if own is not None:
        return own(gain)

    def through(x: Array) -> Array:
        closed = jax.make_jaxpr(function)(x)
        return _evaluate(closed.jaxpr, closed.consts, [x], gain)[0]

    return through


def has_hinges(function: Callable[[Array], Array], x: Array) -> bool:
    """Whether there is anything that `smoothed` replaces."""
    if getattr(function, "smoothed", None) is not None:
        return True
    return _hinged(jax.make_jaxpr(function)(x).jaxpr)


def _evaluate(jaxpr: Any, consts: Any, given: list[Any], gain: float) -> list[Any]:
    values: dict[Any, Any] = {}

    def read(v: Any) -> Any:
        return v.val if isinstance(v, Literal) else values[v]

    values.update(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, given, strict=True))
    for eqn in jaxpr.eqns:
        inputs = [read(v) for v in eqn.invars]
        inner = _inner(eqn)
        if _is_hinge(eqn):
            out = [_softplus(inputs[_is_zero(eqn.invars[0])], gain)]
        elif inner is not None and _hinged(inner.jaxpr):
            out = _evaluate(inner.jaxpr, inner.consts, inputs, gain)
        else:
            out = eqn.primitive.bind(*inputs, **_params(eqn))
            out = out if eqn.primitive.multiple_results else [out]
        values.update(zip(eqn.outvars, out, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _params(eqn: Any) -> dict[str, Any]:
    found: Any = eqn.primitive.get_bind_params(eqn.params)
    # before JAX 0.10.1 functions came apart, first; none of ours had any
    return found[1] if isinstance(found, tuple) else found


def _inner(eqn: Any) -> ClosedJaxpr | None:
    name = eqn.primitive.name
    if name in CALLS:
        found = eqn.params.get("jaxpr")
    elif name == "custom_jvp_call":  # jax.nn.relu is one
        found = eqn.params.get("call_jaxpr")
    else:
        return None
    return found if isinstance(found, ClosedJaxpr) else None


def _hinged(jaxpr: Any) -> bool:
    for eqn in jaxpr.eqns:
        inner = _inner(eqn)
        if _is_hinge(eqn) or (inner is not None and _hinged(inner.jaxpr)):
            return True
    return False


def _is_hinge(eqn: Any) -> bool:
    return eqn.primitive.name == "max" and any(map(_is_zero, eqn.invars))


def _is_zero(v: Any) -> bool:
    return isinstance(v, Literal) and jnp.ndim(v.val) == 0 and float(v.val) == 0.0


def _softplus(z: Array, gain: float) -> Array:
    size = jax.lax.stop_gradient(jnp.mean(jnp.abs(z)))
    size = jnp.where(size > 0, size, 1.0) / gain
    return jax.nn.softplus(z / size) * size
