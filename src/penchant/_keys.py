"""Random keys from what a user may give."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from penchant._types import Key


def as_key(key: Key) -> Any:
    """A typed JAX key from an integer seed or a key.

    Raises:
        TypeError: If it is neither.
        ValueError: If the seed does not fit into 64 bits.
    """
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        if not -(2**63) <= key < 2**63:
            raise ValueError(f"key must lie between -2^63 and 2^63 - 1; got {key}.")
        return jax.random.key(int(key))
    raise TypeError(f"key must be an integer seed or a jax.random.key; got {key!r}.")
