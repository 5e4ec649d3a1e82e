"""Which rules take normalised steepest steps, and in which norm."""

from typing import NamedTuple

import numpy as np

from penchant.norms import AbstractNorm, Linf, Spectral
from penchant.optimizers import (
    AbstractOptimizer,
    ExactPolar,
    Lion,
    Muon,
    Shampoo,
    SignDescent,
    Signum,
    SteepestDescent,
)


class Descent(NamedTuple):
    """Steps of norm one, steepest for a momentum of decay `b1` (0: the gradient)."""

    norm: AbstractNorm
    b1: float


def as_descent(optimizer: AbstractOptimizer) -> Descent | None:
    """The algorithm NSD or NMD of `fan2025spectral` that a rule is; None if neither.

    Nesterov's momentum counts: it is steepest for another mean of the same gradients.
    """
    if isinstance(optimizer, SteepestDescent):
        if not optimizer.normalized:
            return None
        return Descent(optimizer.norm, _number(optimizer.b1))
    if isinstance(optimizer, SignDescent):
        return Descent(Linf(), 0.0)
    if isinstance(optimizer, Signum):
        return Descent(Linf(), _number(optimizer.b1))
    if isinstance(optimizer, Muon) and isinstance(optimizer.polar, ExactPolar):
        return Descent(Spectral(), _number(optimizer.b1))
    if isinstance(optimizer, Lion):
        b1, b2 = _number(optimizer.b1), _number(optimizer.b2)
        return Descent(Linf(), b1) if b1 == b2 else None
    if isinstance(optimizer, Shampoo) and _number(optimizer.b2) == 0.0:
        return Descent(Spectral(), 0.0)
    return None


def _number(value: object) -> float:
    return float(np.asarray(value))
