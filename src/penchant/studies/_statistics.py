"""What several seeds say together: means with Student's intervals, and in words."""

from collections.abc import Sequence

import numpy as np


def student(values: Sequence[float]) -> tuple[float, float]:
    """The mean and half the 95 % interval of Student's t; NaN for one value."""
    from scipy.special import stdtrit

    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        return float(x.mean()), float("nan")
    half = stdtrit(len(x) - 1, 0.975) * x.std(ddof=1) / len(x) ** 0.5
    return float(x.mean()), float(half)


def interval(values: Sequence[float]) -> str:
    """Mean with its 95 % interval, least and greatest, in words.

    Two values have an interval of 13 standard errors, which says no more than the two.
    """
    if len(values) == 1:
        return "one run"
    mean, half = student(values)
    text = f"mean of {len(values)} seeds {mean:.4g}"
    if len(values) > 2:
        text += f" ± {half:.2g} (95 %, t)"
    least, most = f"{min(values):.4g}", f"{max(values):.4g}"
    return (
        f"{text}, all of them" if least == most else f"{text}, from {least} to {most}"
    )
