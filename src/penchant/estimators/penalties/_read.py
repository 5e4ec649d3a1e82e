"""A penalty from what a user may give for one."""

from collections.abc import Callable
from typing import Any

from penchant._words import look_up, read_number
from penchant.estimators.penalties._base import AbstractPenalty, Custom
from penchant.estimators.penalties._entrywise import L1, Hypentropy, Power, Ridge
from penchant.estimators.penalties._matrices import Group, Nuclear, SchattenPower
from penchant.estimators.penalties._of_the_loss import GradientNorm

ROUNDED = 1e-6
"""The ε of powers that are read from words, whose kinks it rounds."""

WORDS: dict[str, Callable[[float | None], AbstractPenalty]] = {
    "ridge": lambda number: Ridge(),
    "l1": lambda number: L1(smooth=number),
    "power": lambda number: Power(_needed("power", number), ROUNDED),
    "hypentropy": lambda number: Hypentropy(_needed("hypentropy", number)),
    "group": lambda number: Group(1 if number is None else int(number)),
    "nuclear": lambda number: Nuclear(),
    "schatten": lambda number: SchattenPower(_needed("schatten", number), ROUNDED),
    "gradient-norm": lambda number: GradientNorm(secant=number),
}


def read(penalty: object) -> AbstractPenalty:
    """A penalty from one, from a function of the weights, or from a word.

    Words are `ridge`, `l1`, `group`, `nuclear` and `gradient-norm`, and with a number
    after a colon `l1:0.01` (smoothed), `power:1.5`, `schatten:1.5`, `hypentropy:0.1`,
    `group:0` (the axis) and `gradient-norm:0.1` (the secant).

    >>> import penchant as pn
    >>> pn.penalties.read("l1:0.01"), pn.penalties.read("ridge")
    (L1(smooth=0.01, zero=1e-09), Ridge())

    Raises:
        TypeError: If it is none of them.
        ValueError: If there is no such word, or it lacks its number.
    """
    if isinstance(penalty, AbstractPenalty):
        return penalty
    if isinstance(penalty, str):
        word, colon, number = penalty.partition(":")
        value = read_number(f"penalty {word}", number) if colon else None
        return look_up("penalty", word, WORDS)(value)
    function: Any = penalty
    return Custom(function)


def _needed(word: str, number: float | None) -> float:
    if number is None:
        raise ValueError(f"penalty {word} needs a number, as in {word}:1.5.")
    return number
