"""How tight data are to separate, and whether that is a matter of units."""

import equinox as eqx
import jax.numpy as jnp

from penchant.norms import L2
from penchant.problems import LinearClassification
from penchant.theory import longest_row

TIGHT = 1e-3
"""Share of the longest row from which a largest margin is not tight."""

UNLIKE = 30.0
"""Ratio of two columns' standard deviations from which units are far apart."""


class Tightness(eqx.Module):
    r"""The largest $\ell_2$ margin over the longest row, $\gamma/R$; columns' spread.

    No rescaling of the whole data changes either. A perceptron separates the data
    within $(R/\gamma)^2$ corrections [novikoff1962convergence]; `spread` is the largest
    ratio of two columns' standard deviations, columns of one value left out.
    """

    share: float = eqx.field(static=True)
    spread: float = eqx.field(static=True)

    @classmethod
    def of(cls, problem: LinearClassification, margin: float) -> "Tightness":
        """Of a problem with a known largest margin in ℓ2."""
        scales = jnp.std(problem.X, axis=0)
        scales = scales[scales > 0.0]
        spread = float(jnp.max(scales) / jnp.min(scales)) if scales.size else 1.0
        return cls(margin / longest_row(problem, L2()), spread)

    @property
    def tight(self) -> bool:
        """Whether the margin is so small that separation is a long way off."""
        return self.share < TIGHT

    @property
    def units(self) -> bool:
        """Whether, besides, columns are on scales far apart."""
        return self.tight and self.spread > UNLIKE
