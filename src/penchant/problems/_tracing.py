"""A user's function under JAX's tracing, whose errors become sentences about it."""

from collections.abc import Callable
from typing import Any

import jax

_HINTS = {
    "TracerBoolConversionError": "it branches on a value (if, and, or, while): use "
    "jnp.where, jax.lax.cond or jnp.clip",
    "TracerIntegerConversionError": "it uses a computed value as an index or a size: "
    "use jnp.take, or a number that does not depend on the data",
    "TracerArrayConversionError": "it hands a value to NumPy or to float(): use "
    "jax.numpy throughout",
    "ConcretizationTypeError": "it needs a value while it is being compiled: use "
    "jax.numpy and shapes that do not depend on values",
    "NonConcreteBooleanIndexError": "it selects by a mask: use jnp.where",
}


def shape_of(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function would return, by shapes alone.

    Raises:
        TypeError: If JAX can't trace it; the message says what to change.
    """
    try:
        return jax.eval_shape(function, *arguments)
    except jax.errors.JAXTypeError as error:
        kind = type(error).__name__
        hint = _HINTS.get(kind, "JAX can't compile it")
        raise TypeError(
            f"{name} must be a pure function of arrays that JAX can trace; {hint} "
            f"({kind}{_where(error)})."
        ) from None


def _where(error: BaseException) -> str:
    """The user's own line, last in the traceback outside of JAX."""
    line = ""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if "/jax/" not in code.co_filename and "/penchant/" not in code.co_filename:
            line = f" in {code.co_name}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return line
