import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx

from penchant._pretty import pretty
from penchant._types import Parameters, Scalar
from penchant.optimizers._character import Character
from penchant.problems import ScaledGradient

State = Any
"""What an optimizer carries from step to step: any pytree of arrays."""

Loss = Callable[[Parameters], Scalar]
"""The mean loss of a step's batch, as a function of the weights."""


class AbstractOptimizer(eqx.Module):
    r"""A rule that moves parameters along a scaled gradient.

    Rules that ignore the gradient's scale never see it; those that don't (`eps > 0`,
    plain gradient descent) meet it exactly, at any loss. Hyper-parameters are array
    leaves, so that a sweep over them is one `vmap`.

    A rule whose numbers lie in functions, where nothing can read them, is `opaque`: a
    checkpoint then knows it by what it does.
    """

    opaque: ClassVar[bool] = False

    @property
    def needs_loss(self) -> bool:
        """Whether `update` also gets `loss=`, the loss of this batch as a function.

        A class of one's own says `needs_loss = True`. The function takes weights and
        returns a number, so a rule can search along a line, or differentiate it again.
        """
        return False

    @abc.abstractmethod
    def init(self, w: Parameters) -> State:
        """The state before the first step."""

    @abc.abstractmethod
    def update(
        self, gradient: ScaledGradient, state: State, w: Parameters, step_size: Scalar
    ) -> tuple[Parameters, State]:
        """One step from `w`: the new parameters and state."""

    def character(self) -> Character:
        """What the rule is: in which norm it steps, what it remembers and divides by.

        Predictions, flows, defaults and cautions read this and ask nothing else. A rule
        that does not say is unknown, and treated as that.
        """
        return Character.unknown()

    def log_second(self, state: State) -> Parameters | None:
        r"""$\log v$ of the squares that a state remembers; None without such memory."""
        return None

    def __repr__(self) -> str:
        return pretty(self)
