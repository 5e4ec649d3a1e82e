"""Array types by the letters the field writes."""

from typing import Any, TypeAlias

from jaxtyping import Array, Bool, Float, Int

Scalar: TypeAlias = Float[Array, ""]
Vector: TypeAlias = Float[Array, " d"]
Examples: TypeAlias = Float[Array, "n d"]
Labels: TypeAlias = Int[Array, " n"]
Mask: TypeAlias = Bool[Array, " n"]

Weights: TypeAlias = Float[Array, "..."]
"""A parameter array: `(d,)` for two classes, `(k, d)` for several."""

Real: TypeAlias = Any
"""A number, or a scalar array or tracer in its place."""

Parameters: TypeAlias = Any
"""Any pytree of parameter arrays."""
