import dataclasses
import math

import jax
import scipy


# no equinox module, which takes 30 times as long to make: a probe makes some a look
@dataclasses.dataclass(frozen=True, repr=False)
class Estimate:
    r"""A number with its standard error, and how it was got.

    `exact` numbers have the error of rounding only. `n` is the number of independent
    draws behind `error`, None where it is no statistical one; `how` names the method.
    `valid` is False where the number must not be used; `why` then says why.

    >>> import penchant as pn
    >>> x = pn.Estimate(12.0, 0.5, how="8 draws", n=8)
    >>> x
    12 ± 0.5 (8 draws)
    >>> [round(end, 2) for end in x.interval()]
    [10.82, 13.18]
    """

    value: float
    error: float
    exact: bool = False
    how: str = ""
    n: int | None = None
    valid: bool = True
    why: str = ""

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Student's interval with `n - 1` degrees of freedom; normal without `n`."""
        freedom = math.inf if self.n is None else max(1, self.n - 1)
        half = float(scipy.special.stdtrit(freedom, 0.5 + level / 2)) * self.error
        return self.value - half, self.value + half

    def covers(self, value: float, level: float = 0.95) -> bool:
        """Whether the interval holds a value."""
        low, high = self.interval(level)
        return bool(low <= value <= high)

    def __float__(self) -> float:
        return float(self.value)

    def __repr__(self) -> str:
        if not self.valid:
            return f"not identifiable: {self.why}"
        error = "" if self.exact else f" ± {self.error:.2g}"
        how = f" ({self.how})" if self.how else ""
        return f"{self.value:.6g}{error}{how}"


def not_identifiable(why: str) -> Estimate:
    """No number, and the reason."""
    return Estimate(math.nan, math.nan, valid=False, why=why)


jax.tree_util.register_dataclass(
    Estimate,
    data_fields=["value", "error"],
    meta_fields=["exact", "how", "n", "valid", "why"],
)
