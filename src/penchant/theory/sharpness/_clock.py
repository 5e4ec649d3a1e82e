import jax.numpy as jnp
import numpy as np

from penchant._checks import check_count
from penchant._types import StepSize
from penchant.training.schedules import as_schedule, cumulative


def slow_time(step_size: StepSize, steps: int) -> float:
    r"""$T=\sum_{t<\text{steps}}\eta_t^2$: how far the slow clock has come.

    Noise moves weights along their minimisers at a rate of $\eta^2$ a step
    (`li2025sharpness`); a step size of $10^{-3}$ needs a million steps for $T=1$.

    >>> import penchant as pn
    >>> pn.theory.sharpness.slow_time(1e-3, 100_000)
    0.1

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a number is out of its range.
    """
    steps = check_count("steps", steps)
    schedule = as_schedule(step_size)
    scale = getattr(schedule, "scale", None)
    if scale is not None and not hasattr(schedule, "exponent"):
        return round(float(np.asarray(scale)) ** 2 * steps, 12)
    squared = lambda t: jnp.square(jnp.asarray(schedule(t), dtype=float))
    return float(cumulative(squared, np.array([steps]))[0])
