"""An interval for the largest eigenvalue of a matrix that is known by samples."""

import dataclasses
import math

import numpy as np

from penchant._types import Numbers


@dataclasses.dataclass(frozen=True)
class Bracket:
    """`lower` and `upper` ends for the largest eigenvalue; `how` they were got."""

    lower: float
    upper: float
    how: str = ""

    @property
    def wide(self) -> bool:
        """Whether the ends are further apart than a factor 2: too few examples."""
        return not (self.lower > 0 and self.upper <= 2.0 * self.lower)

    def __repr__(self) -> str:
        return f"[{self.lower:.4g}, {self.upper:.4g}]"


def bracket(
    across: Numbers, whole: Numbers, residual: float, largest: float | None = None
) -> Bracket:
    r"""A bracket for $\lambda_1$ of a mean of matrices, from a few of them.

    The largest eigenvalue of a mean of few matrices is too large: its vector follows
    their noise. The quotient of a vector found on *other* matrices is too small. So
    `lower` is the mean of quotients across two halves, `upper` the eigenvalue of all,
    each widened by two standard errors over parts, and `upper` by the residual of
    Lanczos besides.

    >>> import penchant as pn
    >>> pn.measures.bracket([2.0, 2.0], [3.0, 3.0], 0.0)
    [2, 3]

    Args:
        across: Quotients $v^\top H_iv$, $v$ from the half without part $i$. Fewer than
            two: there is no sampling, and the residual alone widens the ends.
        whole: Quotients of the vector of all parts, one a part.
        residual: Of Lanczos on the mean of all parts.
        largest: The Ritz value there; None for the mean of `whole`.
    """
    a, b = np.asarray(across, float), np.asarray(whole, float)
    top = float(np.mean(b)) if largest is None else largest
    if a.size < 2:
        return Bracket(top, top + residual, "one part: no error of sampling")
    lower = float(np.mean(a)) - 2.0 * float(np.std(a, ddof=1)) / math.sqrt(a.size)
    upper = top + residual + 2.0 * float(np.std(b, ddof=1)) / math.sqrt(b.size)
    return Bracket(lower, upper, f"{b.size} parts, ends widened by 2 s.e.")
