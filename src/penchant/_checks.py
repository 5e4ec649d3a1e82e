"""Checks at the door: each names the argument, what must hold and what was seen."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer


def is_traced(value: object) -> bool:
    """Whether `value` is known only once a compiled function runs."""
    return isinstance(value, Tracer)


def check_number(
    name: str,
    value: object,
    *,
    least: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
    above: float = -math.inf,
    finite: bool = False,
) -> None:
    """Require a real number, or an array of them, within bounds.

    Raises:
        TypeError: If `value` is not numeric.
        ValueError: If any entry is NaN or out of bounds.
    """
    if is_traced(value):
        return
    try:
        seen = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(
            f"{name} must be a number; got {value!r} of type {type(value).__name__}."
        ) from None
    bounds = [
        (f">= {least:g}", seen >= least, least != -math.inf),
        (f"<= {most:g}", seen <= most, most != math.inf),
        (f"> {above:g}", seen > above, above != -math.inf),
        (f"< {below:g}", seen < below, below != math.inf),
    ]
    wanted = " and ".join(text for text, _, asked in bounds if asked)
    if np.isnan(seen).any():
        raise ValueError(
            f"{name} must be a number {wanted}; got NaN.".replace("  ", " ")
        )
    if finite and not np.isfinite(seen).all():
        raise ValueError(f"{name} must be finite; got {seen[()]}.")
    for _, holds, asked in bounds:
        if asked and not holds.all():
            raise ValueError(f"{name} must be {wanted}; got {seen[()]}.")


def as_numbers(name: str, value: object) -> Any:
    """An array of real numbers, as it came if it is one of JAX already.

    Raises:
        TypeError: If it is something else.
    """
    if isinstance(value, Array):  # traced ones too
        if jnp.issubdtype(value.dtype, jnp.complexfloating):
            raise TypeError(f"{name} must be real numbers; got {value.dtype}.")
        return value
    try:
        seen = np.asarray(value)
    except (TypeError, ValueError):
        seen = np.empty((), object)
    if seen.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} must be an array of numbers; got {value!r:.100} of type "
            f"{type(value).__name__}."
        )
    return jnp.asarray(seen, None if seen.dtype.kind == "f" else float)


def check_count(name: str, value: object, *, least: int = 1) -> int:
    """Require a whole number of at least `least`, and return it as an `int`.

    Raises:
        TypeError: If `value` is no integer.
        ValueError: If it is too small, or does not fit into 64 bits.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # 1e6 steps is how people write it
        else:
            raise TypeError(
                f"{name} must be a whole number; got {value!r} "
                f"of type {type(value).__name__}."
            )
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {value}.")
    if value >= 2**63:
        raise ValueError(f"{name} must be below 2^63; got {value}.")
    return int(value)


def check_instance(
    name: str, value: object, kind: type | tuple[type, ...], on_offer: str
) -> None:
    """Require an instance of `kind`; the message says what is on offer.

    Raises:
        TypeError: If `value` is of another type.
    """
    if not isinstance(value, kind):
        raise TypeError(
            f"{name} must be {on_offer}; got {value!r} of type {type(value).__name__}."
        )
