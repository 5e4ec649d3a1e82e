"""Array types by the letters the field writes."""

from typing import Any, TypeAlias

from jaxtyping import Array, Float, Int

Scalar: TypeAlias = Float[Array, ""]
Vector: TypeAlias = Float[Array, " d"]
PerSample: TypeAlias = Float[Array, " n"]
Examples: TypeAlias = Float[Array, "n d"]
Labels: TypeAlias = Int[Array, " n"]

Weights: TypeAlias = Float[Array, "..."]
"""A parameter array: `(d,)` for two classes, `(k, d)` for several."""

Real: TypeAlias = Any
"""A number, or a scalar array or tracer in its place."""

Parameters: TypeAlias = Any
"""Any pytree of parameter arrays."""
