import abc
from typing import Any

import equinox as eqx

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
