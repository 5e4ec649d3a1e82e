"""Which rules take normalised steepest steps, and in which norm."""

from typing import NamedTuple

from penchant.norms import AbstractNorm
from penchant.optimizers import AbstractOptimizer


class Descent(NamedTuple):
    """Steps of norm one, steepest for a momentum of decay `b1` (0: the gradient)."""

    norm: AbstractNorm
    b1: float


def as_descent(optimizer: AbstractOptimizer) -> Descent | None:
    """The algorithm NSD or NMD of `fan2025spectral` that a rule is; None if neither.

    By its character. Nesterov's momentum counts: it is steepest for another mean of the
    same gradients. A step along a mix of memories with two decays, as Lion's, does not.
    """
    what = optimizer.character()
    exact = what.steepest and what.normalised and what.second is None
    if not exact or what.steps is None or what.decays:
        return None
    if what.first is not None and not (what.first.plain or what.first.nesterov):
        return None
    return Descent(what.steps, what.b1)
