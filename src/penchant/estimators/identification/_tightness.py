"""How far a rule's steps are from the steepest ones in a norm."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from penchant.estimators.identification._box import AbstractBox
from penchant.estimators.identification._gradients import as_in_training
from penchant.norms import AbstractNorm


@dataclasses.dataclass(frozen=True)
class Tightness:
    r"""$\langle g,-u\rangle/(N(u)\,N_*(g))\le1$ over gradients as in training.

    1 exactly where steps are steepest in $N$. `length` is $N(u)$: its median, and
    `spread` the largest relative deviation from that; `gain` the median of
    $N(u)/N_*(g)$.
    """

    worst: float
    median: float
    length: float
    spread: float
    gain: float


def tightness(
    box: AbstractBox, norm: AbstractNorm, scale: float, seed: int
) -> Tightness:
    """First steps, over a dozen gradients with spectra as in training."""
    value = jax.jit(lambda g, u: (jnp.sum(g * u), norm(u), norm.dual(g)))
    shares, lengths, gains = [], [], []
    for g in as_in_training(box.shape, seed):
        u = -box.first(scale * g)
        product, length, dual = (
            float(x) for x in value(jnp.asarray(g), jnp.asarray(u))
        )
        if length > 0 and dual > 0:
            shares.append(product / (length * dual))
            lengths.append(length)
            gains.append(length / (scale * dual))
    if not shares:
        return Tightness(*(math.nan,) * 5)
    middle = float(np.median(lengths))
    spread = float(np.max(np.abs(np.array(lengths) / middle - 1.0)))
    median = lambda x: float(np.median(x))
    return Tightness(min(shares), median(shares), middle, spread, median(gains))
