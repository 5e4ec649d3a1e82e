"""Array types by the letters the field writes."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from jaxtyping import Array, Float, Int

Scalar: TypeAlias = Float[Array, ""]
Vector: TypeAlias = Float[Array, " d"]
PerSample: TypeAlias = Float[Array, " n"]
Examples: TypeAlias = Float[Array, "n d"]
Labels: TypeAlias = Int[Array, " n"]

Weights: TypeAlias = Float[Array, "..."]
"""A parameter array: `(d,)` for two classes, `(k, d)` for several."""

if TYPE_CHECKING:
    from jaxtyping import ArrayLike, PRNGKeyArray, PyTree

    Real: TypeAlias = float | Array
    Parameters: TypeAlias = PyTree[Array]
    Tree: TypeAlias = PyTree
    StepSize: TypeAlias = Real | Callable[[Any], Any]
    Key: TypeAlias = int | PRNGKeyArray
    Numbers: TypeAlias = ArrayLike | Sequence[object]
else:
    # what is wrong is said by checks at the door, in a sentence that names the argument
    Real = Parameters = Tree = StepSize = Key = Numbers = Any
