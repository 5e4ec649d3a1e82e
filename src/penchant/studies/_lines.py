"""One number of a study, held against what it should be."""

import dataclasses
import math

Number = float | int


@dataclasses.dataclass(frozen=True)
class Line:
    """One number held against what it should be.

    `expected` is what theory predicts, or what a loop in plain NumPy measured;
    `low` to `high` the range in which `measured` passes. `certificate` says how far
    the prediction itself is known: a gap, a residual, a standard error. `near`,
    `between`, `least` and `most` make lines by what is known of the range.

    >>> Line.near("share", expected=0.9, within=0.05, measured=0.93).passed
    True
    """

    what: str
    expected: Number
    low: Number
    high: Number
    measured: Number
    certificate: str = ""

    @classmethod
    def near(
        cls,
        what: str,
        *,
        expected: Number,
        within: Number,
        measured: Number,
        certificate: str = "",
        most: Number = math.inf,
    ) -> "Line":
        """At most `within` from what is expected, and nowhere above `most`.

        >>> Line.near("share", expected=0.99, within=0.02, most=1.0, measured=1.0).range
        '0.97 to 1'
        """
        high = min(expected + within, most)
        return cls(what, expected, expected - within, high, measured, certificate)

    @classmethod
    def between(
        cls,
        what: str,
        low: Number,
        high: Number,
        *,
        expected: Number,
        measured: Number,
        certificate: str = "",
    ) -> "Line":
        """From `low` to `high`, where `expected` is no more than a typical value.

        >>> Line.between("an angle", 10.0, 90.0, expected=32.0, measured=95.0).passed
        False
        """
        return cls(what, expected, low, high, measured, certificate)

    @classmethod
    def least(
        cls,
        what: str,
        low: Number,
        *,
        expected: Number,
        measured: Number,
        certificate: str = "",
    ) -> "Line":
        """`low` or more; what is above it passes, however large.

        >>> Line.least("growth", 1.5, expected=6.7, measured=40.0).passed
        True
        """
        return cls(what, expected, low, math.inf, measured, certificate)

    @classmethod
    def most(
        cls, what: str, high: Number, *, measured: Number, certificate: str = ""
    ) -> "Line":
        """A size that should be 0, such as a gap or a residual: from 0 to `high`.

        >>> Line.most("KKT residual", 1e-9, measured=-1e-12).passed
        False
        """
        return cls(what, 0.0, 0.0, high, measured, certificate)

    @property
    def passed(self) -> bool:
        """Whether the measured number lies in the range expected."""
        return bool(self.low <= self.measured <= self.high)

    @property
    def range(self) -> str:
        """What passes, in words, with as many digits as tell its ends apart.

        >>> Line.near("a margin", expected=0.745176, within=1e-6, measured=0.0).range
        '0.745176 ± 1e-06'
        """
        if self.low == self.high:
            return f"exactly {self.low:g}"
        if math.isinf(self.high):
            return f"at least {self.low:.4g}"
        if self.low == 0.0:
            return f"0 to {self.high:.4g}"
        below, above = self.expected - self.low, self.high - self.expected
        if below > 0 and math.isclose(below, above, rel_tol=1e-6):
            return f"{self.expected:.6g} ± {below:.2g}"
        for digits in range(4, 16):
            low, high = f"{self.low:.{digits}g}", f"{self.high:.{digits}g}"
            if low != high:
                return f"{low} to {high}"
        return f"{self.low!r} to {self.high!r}"
