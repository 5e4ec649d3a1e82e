"""Hyper-parameters as array leaves, so that a sweep over them is one `vmap`."""

from typing import Any

import jax.numpy as jnp


def as_leaf(value: object) -> Any:
    """A hyper-parameter as the array leaf that a sweep can batch.

    Raises:
        TypeError: If it is no number.
    """
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError  # "0.1" would be read as a number
        return jnp.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(f"A hyper-parameter must be a number; got {value!r}.") from None


def as_memory(decay: Any) -> Any:
    """The decay of a memory as a leaf; the number 0 itself stays a plain 0.0.

    A rule without memory then compiles without one. An array that holds 0, as in a
    sweep, gives the same steps.
    """
    if isinstance(decay, (int, float)) and decay == 0:
        return 0.0
    return as_leaf(decay)
