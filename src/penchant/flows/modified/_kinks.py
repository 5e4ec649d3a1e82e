"""Where a function of arrays has no derivative, as far as its program shows it."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

NAMED = ("relu", "leaky_relu", "relu6", "hard_tanh", "hard_sigmoid", "hard_swish")
"""Functions with kinks that JAX has a name for."""


def kinks_of_loss(function: Callable[..., Any], *arguments: Any) -> tuple[str, ...]:
    """Kinks in a loss: relu and its like, a maximum or minimum with a number.

    A maximum that is taken off and put back, as in a softmax, is none. Others are seen
    by what gradients do, if at all.
    """
    found: dict[str, None] = {}
    for jaxpr in _programs(function, *arguments):
        for equation in jaxpr.eqns:
            name = equation.primitive.name
            called = str(equation.params.get("name", ""))
            if called in NAMED:
                found[called] = None
            elif name in ("max", "min") and _with_number(equation):
                found[name] = None
    if "relu" in found:  # which is a maximum itself
        found.pop("max", None)
    return tuple(found)


def kinks_of_rule(function: Callable[..., Any], *arguments: Any) -> tuple[str, ...]:
    """Kinks in a rule of somebody else's: signs, and maxima over memories."""
    found: dict[str, None] = {}
    for jaxpr in _programs(function, *arguments):
        for equation in jaxpr.eqns:
            name = equation.primitive.name
            floats = equation.invars and equation.invars[0].aval.dtype.kind == "f"
            wide = bool(floats) and equation.outvars[0].aval.ndim > 0
            if name in ("sign", "max", "min", "abs") and wide:
                found[name] = None
    return tuple(found)


def _programs(function: Callable[..., Any], *arguments: Any) -> Iterator[Any]:
    """The program of a function, and those of all functions within it."""
    with jax.numpy_dtype_promotion("standard"):
        waiting = [jax.make_jaxpr(function)(*arguments).jaxpr]
    while waiting:
        jaxpr = waiting.pop()
        yield jaxpr
        for equation in jaxpr.eqns:
            for value in equation.params.values():
                for sub in value if isinstance(value, (tuple, list)) else (value,):
                    sub = getattr(sub, "jaxpr", sub)
                    if hasattr(sub, "eqns"):
                        waiting.append(sub)


def _with_number(equation: Any) -> bool:
    """Whether one side is a finite number that stands in the program."""
    for v in equation.invars:
        value = getattr(v, "val", None)
        if value is not None and np.ndim(value) == 0 and math.isfinite(float(value)):
            return equation.outvars[0].aval.ndim > 0
    return False
