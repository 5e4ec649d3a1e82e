import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from penchant._pretty import pretty
from penchant._types import Parameters, Scalar
from penchant.problems import ScaledGradient

State = Any
"""What an optimizer carries from step to step: any pytree of arrays."""


class AbstractOptimizer(eqx.Module):
    r"""A rule that moves parameters along a scaled gradient.

    Rules that ignore the gradient's scale never see it; those that don't (`eps > 0`,
    plain gradient descent) meet it exactly, at any loss. Hyper-parameters are array
    leaves, so that a sweep over them is one `vmap`.
    """

    @abc.abstractmethod
    def init(self, w: Parameters) -> State:
        """The state before the first step."""

    @abc.abstractmethod
    def update(
        self, gradient: ScaledGradient, state: State, w: Parameters, step_size: Scalar
    ) -> tuple[Parameters, State]:
        """One step from `w`: the new parameters and state."""

    def __repr__(self) -> str:
        return pretty(self)


def as_leaf(value: Any) -> Any:
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
