"""A rule together with a character that it does not say itself."""

from typing import ClassVar

from penchant._checks import check_instance
from penchant._types import Parameters, Scalar
from penchant.optimizers._base import AbstractOptimizer, Loss, State
from penchant.optimizers._character import Character
from penchant.problems import ScaledGradient


class Measured(AbstractOptimizer):
    """A rule, and what it was measured to be: its steps are its own.

    [`identify`][penchant.identify] measures; predictions and limits then read the
    character, and runs make the rule's steps.

    >>> import optax, penchant as pn
    >>> sign = pn.optimizers.SignDescent().character()
    >>> pn.optimizers.Measured(pn.optimizers.FromOptax(optax.sign_sgd(1.0)), sign)
    Measured(FromOptax(…))

    Args:
        rule: What makes the steps.
        what: What it is.

    Raises:
        TypeError: If an argument is of another kind.
    """

    opaque: ClassVar[bool] = True

    rule: AbstractOptimizer
    what: Character

    def __check_init__(self):
        check_instance(
            "rule", self.rule, AbstractOptimizer, "one of penchant.optimizers"
        )
        check_instance("what", self.what, Character, "a Character")

    @property
    def needs_loss(self) -> bool:
        return self.rule.needs_loss

    def init(self, w: Parameters) -> State:
        return self.rule.init(w)

    def character(self) -> Character:
        return self.what

    def log_second(self, state: State) -> Parameters | None:
        return self.rule.log_second(state)

    def update(
        self,
        gradient: ScaledGradient,
        state: State,
        w: Parameters,
        step_size: Scalar,
        **loss: Loss,
    ) -> tuple[Parameters, State]:
        return self.rule.update(gradient, state, w, step_size, **loss)

    def __repr__(self) -> str:
        return f"Measured({self.rule!r})"


class Described(AbstractOptimizer):
    """A rule of which only the character is known: for predictions, not for runs.

    >>> import penchant as pn
    >>> pn.optimizers.Described(pn.optimizers.Muon().character()).character().steps
    Spectral()

    Args:
        what: What it is.

    Raises:
        TypeError: If `what` is no character; and when it is asked for a step.
    """

    what: Character

    def __check_init__(self):
        check_instance("what", self.what, Character, "a Character")

    def init(self, w: Parameters) -> State:
        raise TypeError(
            "optimizer must be a rule that runs; of this one only the character is "
            f"known: {self.what!r}."
        )

    def character(self) -> Character:
        return self.what

    def update(
        self, gradient: ScaledGradient, state: State, w: Parameters, step_size: Scalar
    ) -> tuple[Parameters, State]:
        return self.init(w), state
