"""How far a run is from its maximum margin, and by which law the rest goes."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from penchant._checks import check_instance, check_number
from penchant._types import Real
from penchant.estimators._log_slope import FEWEST, log_slope
from penchant.norms import AbstractNorm
from penchant.training import Trajectory
from penchant.training.schedules import Constant, Power

BURN_IN = 30.0
r"""$\gamma\|W_t\|$ from which gaps follow their law; before, fits are of transients."""

SPAN = 10**0.5
"""Factor of steps that records after burn-in must span for a fit."""

FLAT = 0.2
"""Change over a decade of steps up to which a deficit counts as constant."""

GROWN = 2.0
"""Growth of the weights over the last decade from which a gap that stays is a floor."""


class GapLaw(eqx.Module):
    r"""The deficit $D_t=\gamma\|W_t\|-\min_iq_i(W_t)$ of a run, and what it tells.

    The share of the margin that is missing is $D_t/(\gamma\|W_t\|)$ exactly. In all
    stable runs measured $D_t$ settles at a constant of order one, for every norm and
    every power law of the steps, so that the gap falls like $1/\sum\eta$: faster than
    what is proved for steps that fall slowly, and without its factors in $n$ and $d$.
    No theorem says so. On the regularisation path
    $D\le\log(n(k-1))+o(1)$ is one (`path_deficit`).

    `deficits` `(r,)` and `gaps` `(r,)` are at the records of `steps`. `exponent` is the
    slope of $-\log$ gap against $\log t$ with standard error `error`, over the last
    decade of steps and after burn-in only, that is where $\gamma\|W_t\|\ge30$;
    `against_length` with `length_error` is the same against $\log\|W_t\|$, which the
    law wants to be 1. Both are NaN where fewer than 8 records remain, or those of less
    than half a decade: the gap of spectral descent has plateaus before, and a slope of
    those is nonsense.

    `expected` is $1-a$ for steps $\propto t^{-a}$, NaN for other schedules. `settled`
    says that the deficit changed by less than a fifth over the last decade. `stalled`
    says that the gap has stopped falling while weights more than doubled: steps too
    large for this problem, and a floor, not a limit.
    """

    steps: Int[Array, " r"]
    deficits: Float[Array, " r"]
    gaps: Float[Array, " r"]
    exponent: float = eqx.field(static=True)
    error: float = eqx.field(static=True)
    against_length: float = eqx.field(static=True)
    length_error: float = eqx.field(static=True)
    expected: float = eqx.field(static=True)
    records: int = eqx.field(static=True)
    settled: bool = eqx.field(static=True)
    stalled: bool = eqx.field(static=True)

    @property
    def deficit(self) -> float:
        """The last deficit."""
        return float(self.deficits[-1])

    def __repr__(self) -> str:
        text = f"GapLaw(deficit={self.deficit:.3g}, gap={float(self.gaps[-1]):.3g}, "
        if math.isnan(self.exponent):
            text += "no fit: too little of the run is after burn-in"
        else:
            text += f"gap ~ t^-({self.exponent:.3f} ± {self.error:.1g})"
            if not math.isnan(self.expected):
                text += f", expected {self.expected:.3f}"
        states = [s for s in ("settled", "stalled") if getattr(self, s)]
        return f"{', '.join([text, *states])})"


def gap_law(run: Trajectory, norm: AbstractNorm, gamma: Real) -> GapLaw:
    r"""The deficit along a run, and the rate at which its gap falls.

    >>> import penchant as pn
    >>> problem = pn.datasets.gaussian(10, 20, seed=0).problem()
    >>> from penchant.theory.papers.fan2025spectral import scale_free_step
    >>> step_size = scale_free_step(problem, pn.norms.Linf())
    >>> run = pn.train(
    ...     problem, pn.optimizers.SignDescent(), steps=20_000, step_size=step_size
    ... )
    >>> gamma = pn.max_margin(problem, pn.norms.Linf()).margin
    >>> law = pn.estimators.gap_law(run, pn.norms.Linf(), gamma)
    >>> law.settled, abs(law.exponent - 1) < 0.02  # constant steps: the gap is D / t
    (True, True)

    Args:
        run: A run of `train` on a `LinearClassification`.
        norm: The norm whose margin it maximises.
        gamma: The largest margin in it, from `max_margin`. Where its own error is not
            far below the gap, take its upper bound.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If `gamma` is not positive.
    """
    check_instance("run", run, Trajectory, "a Trajectory of penchant.train")
    check_instance("norm", norm, AbstractNorm, "one of penchant.norms")
    check_number("gamma", gamma, above=0.0)
    best = float(np.asarray(gamma))
    steps = np.asarray(run.steps)
    lengths = np.asarray(run.lengths(norm))
    least = np.asarray(jnp.min(run.margins, axis=1))
    deficits = best * lengths - least
    gaps = np.where(lengths > 0, deficits / np.where(lengths > 0, best * lengths, 1), 1)

    decade = steps >= steps[-1] / 10.0
    late = decade & (best * lengths >= BURN_IN) & (gaps > 0)
    spanned = bool(late.any()) and steps[-1] >= SPAN * steps[np.argmax(late)]
    records = int(late.sum()) if spanned else 0
    exponent = error = against = length_error = math.nan
    if records >= FEWEST:
        slope, error = log_slope(steps[late], gaps[late])
        exponent = -slope
        slope, length_error = log_slope(lengths[late], gaps[late])
        against = -slope
    past = deficits[late]
    settled = records >= FEWEST and bool(np.ptp(past) <= FLAT * np.abs(past).max())
    first = int(np.argmax(decade))
    grown = lengths[-1] >= GROWN * lengths[first] > 0
    # a floor: less than an eighth of what weights of that length should have brought
    floor = records >= FEWEST and against < 0.125
    return GapLaw(
        steps=run.steps,
        deficits=jnp.asarray(deficits),
        gaps=jnp.asarray(gaps),
        exponent=exponent,
        error=error,
        against_length=against,
        length_error=length_error,
        expected=_expected(run.rule.schedule),
        records=records,
        settled=settled,
        stalled=bool(floor and grown),
    )


def _expected(schedule: object) -> float:
    """The exponent at which the sum of the steps grows, where it has one."""
    if isinstance(schedule, Constant):
        return 1.0
    if isinstance(schedule, Power):
        return max(1.0 - float(np.asarray(schedule.exponent)), 0.0)
    return math.nan
