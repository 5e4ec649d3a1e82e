"""Run a small inner loop as one compiled function on the CPU.

XLA's CPU runtime dispatches each operation of a loop body separately, at some hundred
nanoseconds apiece; for a problem of ten samples that is nearly all of the time. It can
also emit a loop as a single native function, and does so by itself for loops of up to a
kilobyte. A call that carries the attribute below is treated the same at any size. That
form knows no products of two matrices, library calls or sorts, so it is asked for only
where the loop is small and every operation in it is known to be supported. Threefry, by
which JAX draws unless told otherwise, is made of shifts and sums, and is.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var

from penchant._types import Numbers, Tree

LARGEST = 1 << 16
"""Above so many array entries in the loop, the ordinary runtime is as fast."""

_SUPPORTED = frozenset(
    """
    abs add add_any and argmax argmin bitcast_convert_type broadcast_in_dim clamp
    concatenate convert_element_type copy copy_p custom_jvp_call custom_vjp_call div
    dynamic_slice dynamic_update_slice eq erf_inv exp expm1 floor gather ge gt
    integer_pow iota is_finite jit le log log1p logistic lt max min mul ne neg not or
    pad pjit pow reduce_and reduce_max reduce_min reduce_or reduce_sum rem reshape rev
    round rsqrt select_and_n select_n shift_left shift_right_logical sign slice split
    sqrt square squeeze stack stop_gradient sub tanh threefry2x32 transpose while xor
    """.split()  # noqa: SIM905
)

_DRAWS = frozenset(["random_bits", "random_fold_in", "random_unwrap", "random_wrap"])
"""Supported for Threefry's keys alone."""


def can_inline(loop: Callable[..., Any], *arguments: Any, products: bool) -> bool:
    """Whether `loop(*arguments)` is small and made of supported operations only.

    `products` are those of a matrix and a vector. Over lanes that share the matrix
    they would be products of two.
    """
    if jax.default_backend() != "cpu":
        return False
    closed = jax.make_jaxpr(loop)(*arguments)
    return _supported(closed.jaxpr, products) and _entries(closed.jaxpr) <= LARGEST


def over_lanes(tree: Tree) -> bool:
    """Whether any leaf differs from lane to lane of a sweep that is being traced."""
    return any(hasattr(leaf, "batch_dim") for leaf in jax.tree.leaves(tree))


def call_inlined(loop: Callable[..., Any], *arguments: Any) -> Any:
    """Call `loop`, asking the compiler to emit it as one function."""
    leaves, structure = jax.tree.flatten(arguments)
    closed, shapes = jax.make_jaxpr(loop, return_shape=True)(*arguments)
    jaxpr = closed.jaxpr
    # what XLA's emitter meets besides computed values ends the process (a failed
    # check): an argument on which no result hangs, such as the M of a Mahalanobis norm
    # by its eigenvalues or the data of a rule that reads no gradient, and a result that
    # is an argument, such as the weights of a rule that never moves. None of these
    # passes through the call.
    whence = {v: i for i, v in enumerate(jaxpr.invars)}
    made = [v for v in dict.fromkeys(jaxpr.outvars) if _is_computed(v, whence)]
    if not made:
        return loop(*arguments)
    first = [jaxpr.outvars.index(v) for v in made]
    live = _live(jaxpr, set(made))
    kept = [v in live for v in jaxpr.invars]

    def call(*given: Any) -> Any:
        rest = iter(given)
        filled = [
            next(rest) if keep else jnp.zeros(jnp.shape(leaf), leaf.dtype)
            for keep, leaf in zip(kept, leaves, strict=True)
        ]
        results = jax.tree.leaves(loop(*jax.tree.unflatten(structure, filled)))
        return [results[i] for i in first]

    with set_xla_metadata(xla_cpu_small_call="true", inlineable="false"):
        computed = jax.jit(call)(
            *(leaf for keep, leaf in zip(kept, leaves, strict=True) if keep)
        )
    values = dict(zip(made, computed, strict=True))

    def result(v: Any) -> Any:
        if not isinstance(v, Var):
            return v.val
        return leaves[whence[v]] if v in whence else values[v]

    return jax.tree.unflatten(
        jax.tree.structure(shapes), [result(v) for v in jaxpr.outvars]
    )


def _is_computed(v: Numbers, whence: dict[Var, int]) -> bool:
    """Whether a result is neither an argument nor a constant."""
    return isinstance(v, Var) and v not in whence


def _live(jaxpr: Jaxpr, wanted: set[Var]) -> set[Var]:
    """The variables on which those wanted hang, themselves among them."""
    live = set(wanted)
    for equation in reversed(jaxpr.eqns):
        asked = [v in live for v in equation.outvars]
        if any(asked):
            read = _read(equation, asked)
            live |= {
                v
                for v, needed in zip(equation.invars, read, strict=True)
                if needed and isinstance(v, Var)
            }
    return live


def _read(equation: JaxprEqn, asked: list[bool]) -> list[bool]:
    """Which operands the results asked for hang on."""
    everything = [True] * len(equation.invars)
    if equation.primitive.name != "while":
        called = _inner(equation.params)
        if len(called) != 1 or len(called[0].invars) != len(equation.invars):
            return everything
        (inner,) = called
        live = _live(inner, _chosen(inner.outvars, asked))
        return [v in live for v in inner.invars]
    body, cond = equation.params["body_jaxpr"], equation.params["cond_jaxpr"]
    before, own = equation.params["cond_nconsts"], equation.params["body_nconsts"]
    live = _live(cond.jaxpr, _chosen(cond.jaxpr.outvars, [True]))
    tested = [v in live for v in cond.jaxpr.invars]
    carried = [a or b for a, b in zip(asked, tested[before:], strict=True)]
    while True:  # what a carried value hangs on is carried itself
        live = _live(body.jaxpr, _chosen(body.jaxpr.outvars, carried))
        read = [v in live for v in body.jaxpr.invars]
        grown = [a or b for a, b in zip(carried, read[own:], strict=True)]
        if grown == carried:
            return [*tested[:before], *read[:own], *carried]
        carried = grown


def _chosen(outvars: Sequence[object], asked: list[bool]) -> set[Var]:
    return {v for v, a in zip(outvars, asked, strict=True) if a and isinstance(v, Var)}


def _inner(params: dict[str, Any]) -> list[Jaxpr]:
    found = []
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, ClosedJaxpr):
                found.append(item.jaxpr)
            elif isinstance(item, Jaxpr):
                found.append(item)
    return found


def _supported(jaxpr: Jaxpr, products: bool) -> bool:
    return all(
        _known(equation, products)
        and all(_supported(inner, products) for inner in _inner(equation.params))
        for equation in jaxpr.eqns
    )


def _known(equation: JaxprEqn, products: bool) -> bool:
    """Whether the emitter has an operation, looking at its operands where it must."""
    name = equation.primitive.name
    if name in _DRAWS:
        kinds = [str(_shaped(v).dtype) for v in (*equation.invars, *equation.outvars)]
        return all(not kind.startswith("key<") or kind == "key<fry>" for kind in kinds)
    if name == "dot_general":
        # a matrix times a vector is a loop; two matrices are a library call
        (left, right), (batch, _) = equation.params["dimension_numbers"]
        a, b = map(_shaped, equation.invars)
        free = a.ndim - len(left) + b.ndim - len(right)
        return products and not batch and free <= 1
    return name in _SUPPORTED


def _shaped(v: object) -> Any:
    return getattr(v, "aval")  # noqa: B009 - an abstract value has no shape


def _entries(jaxpr: Jaxpr) -> int:
    sizes = [getattr(v.aval, "size", 0) for v in jaxpr.invars]
    for equation in jaxpr.eqns:
        sizes += [getattr(v.aval, "size", 0) for v in equation.outvars]
        sizes += [_entries(inner) for inner in _inner(equation.params)]
    return max(sizes, default=0)
