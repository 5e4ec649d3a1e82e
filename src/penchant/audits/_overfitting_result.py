"""What an audit of overfitting found, and what it says of it."""

import math
from typing import Any

import equinox as eqx
import numpy as np

from penchant import pages
from penchant._plain import plain
from penchant.audits import _left_out
from penchant.measures import Estimate

Array = np.ndarray

NORMAL = 0.01
"""Level of the test that left-out margins are normal."""

TIMES = 2.0
"""Standard errors that count as a difference."""

RISKS = ("max_margin", "interpolating", "averaging", "early_stopping")


class Measured(eqx.Module):
    """Errors on rows that were not trained on, each with its binomial error.

    None of what can't be computed: `interpolating` where the kernel is singular.
    """

    max_margin: Estimate
    interpolating: Estimate | None
    averaging: Estimate
    early_stopping: Estimate
    how: str = eqx.field(static=True)


class Overfitting(eqx.Module):
    r"""What max margin does on these data, and what it would do elsewhere.

    `is_least_squares` is exact: all rows are support vectors, so that max margin is the
    interpolator of least norm. `support` `(n,)` marks them, `share` is how many there
    are and `predicted_share` how many the mixture model foretells. `cosine` is that of
    the angle between max margin and least squares.

    `signal` ‖μ‖², `trace` tr Σ, `square` ‖Σ‖_F² and `aligned` μ'Σμ are unbiased for
    the signed rows $y_ix_i$, whatever their law; `effective_rank` is
    $(\text{tr}\,\Sigma)^2/\|\Sigma\|_F^2$.

    `max_margin`, `interpolating`, `averaging` and `early_stopping` are ρ of each, from
    margins of left-out rows, and `risk(…)` of one of them $\Phi(-\rho)$: what it errs
    on if margins of new rows are normal. `normality` is the p-value of the test that
    they are (Shapiro and Wilk, on those of averaging, whose rows are nearly
    independent). `measured` are errors on other rows, where they were asked for; with
    them `fits` says whether predicted and measured risks agree.
    """

    is_least_squares: bool = eqx.field(static=True)
    support: Array
    share: float = eqx.field(static=True)
    predicted_share: Estimate
    cosine: float = eqx.field(static=True)
    signal: Estimate
    trace: Estimate
    square: Estimate
    aligned: Estimate
    max_margin: Estimate
    interpolating: Estimate
    averaging: Estimate
    early_stopping: Estimate
    ridge: float = eqx.field(static=True)
    normality: float = eqx.field(static=True)
    measured: Measured | None
    offset: float = eqx.field(static=True)
    shape: tuple[int, int] = eqx.field(static=True)
    name: str = eqx.field(static=True)

    @property
    def effective_rank(self) -> float:
        """(tr Σ)²/‖Σ‖_F², as far as estimated."""
        if not self.square.value > 0:
            return math.nan
        return self.trace.value**2 / self.square.value

    def risk(self, of: Estimate) -> Estimate:
        """What one of the four errs on, if margins are normal.

        Its error is that of small changes; far below .01 the interval is not even
        about the value, and `risk_interval` is to be used.

        Args:
            of: Its ρ.
        """
        return _left_out.risk(of)

    def risk_interval(self, of: Estimate, level: float = 0.95) -> tuple[float, float]:
        """The risks at both ends of ρ's interval, if margins are normal.

        Args:
            of: ρ of one of the four.
            level: Of the interval.
        """
        low, high = of.interval(level)
        return _left_out.share_below(-high), _left_out.share_below(-low)

    @property
    def fits(self) -> bool:
        """Whether nothing speaks against the mixture model.

        Margins of left-out rows pass for normal, and measured errors, where there are
        any, are the predicted ones within three standard errors.
        """
        return not self._misfits()

    def _misfits(self) -> list[str]:
        found = []
        if self.normality < NORMAL:
            found.append(
                f"left-out margins are not normal (p = {self.normality:.1g}), and "
                "measured risks are to be used in place of predicted ones"
            )
        if self.measured is None:
            return found
        for name in ("max_margin", "averaging"):
            rho, seen = getattr(self, name), getattr(self.measured, name)
            if not rho.valid:
                continue
            low, high = self.risk_interval(rho, level=0.997)
            if not low - 3.0 * seen.error <= seen.value <= high + 3.0 * seen.error:
                found.append(
                    f"{name.replace('_', ' ')} errs on {seen.value:.2%}, where the "
                    f"model says {low:.2%} to {high:.2%}"
                )
        return found

    def _cost(self) -> tuple[float, float, str] | None:
        """What early stopping would gain, its error, and the two in words."""
        if self.measured is not None:
            ours, early = self.measured.max_margin, self.measured.early_stopping
            gain = ours.value - early.value
            text = f"{ours.value:.2%} measured, {early.value:.2%} with a ridge"
        elif self.normality < NORMAL or not self.max_margin.valid:
            return None
        else:
            ours, early = self.max_margin, self.early_stopping
            gain = early.value - ours.value
            risks = [self.risk(x).value for x in (ours, early)]
            text = f"{risks[0]:.2%} predicted, {risks[1]:.2%} with a ridge"
        # both are of the same rows: taken as independent, their errors are too wide
        return gain, math.hypot(ours.error, early.error), text

    @property
    def headline(self) -> str:
        """The verdict in a sentence."""
        n, d = self.shape
        if self.is_least_squares:
            first = f"Max margin is least squares: all {n} rows are support vectors"
        elif math.isnan(self.cosine):
            first = (
                f"Max margin is not least squares, which does not interpolate {n} rows "
                f"of {d} features: {int(self.support.sum())} rows are support vectors"
            )
        else:
            first = (
                f"Max margin is not least squares: {int(self.support.sum())} of {n} "
                f"rows are support vectors (cosine {self.cosine:.4f})"
            )
        return f"{first}; {self._verdict()}"

    def _verdict(self) -> str:
        cost = self._cost()
        if cost is None:
            return "whether that is harmless the model can't say: measure it."
        gain, error, text = cost
        if self.measured is None:
            nothing = self.max_margin.value < TIMES * self.max_margin.error
        else:
            seen = self.measured.max_margin
            nothing = seen.value > 0.5 - TIMES * seen.error
        if nothing:
            return f"it has learned nothing that shows ({text})."
        if gain > TIMES * error:
            return f"overfitting costs ({text})."
        return f"overfitting costs nothing that shows ({text})."

    @property
    def advice(self) -> tuple[str, ...]:
        """What to do next, a sentence each."""
        out = []
        if self.measured is None:
            out.append("Measure: give held_out=, or folds=5.")
        if self.is_least_squares:
            out.append(
                "C, and the SVM itself, change nothing here: solve least squares, "
                "whose left-out errors are free."
            )
        cost = self._cost()
        if cost is not None and cost[0] > TIMES * cost[1]:
            out.append(
                f"Stop early, or add a ridge of about {self.ridge:.3g} to the Gram "
                "matrix."
            )
        if self.offset > 0.25:
            out.append(
                f"The mean of all rows holds {self.offset:.0%} of their square: centre "
                "the features, or add a bias."
            )
        out += [f"The mixture model does not fit: {why}." for why in self._misfits()]
        return tuple(out)

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that JSON has; an estimate is [value, error]."""
        pair = lambda e: None if e is None or not e.valid else [e.value, e.error]
        names = ("predicted_share", "signal", "trace", "square", "aligned", *RISKS)
        measured: dict[str, Any] | None = None
        if self.measured is not None:
            measured = {name: pair(getattr(self.measured, name)) for name in RISKS}
            measured["how"] = self.measured.how
        return plain({
            "data": self.name,
            "headline": self.headline,
            "advice": list(self.advice),
            "n": self.shape[0],
            "d": self.shape[1],
            "is_least_squares": self.is_least_squares,
            "support": self.support.tolist(),
            "share": self.share,
            "cosine": self.cosine,
            "effective_rank": self.effective_rank,
            "normality": self.normality,
            "fits": self.fits,
            "ridge": self.ridge,
            "offset": self.offset,
            **{name: pair(getattr(self, name)) for name in names},
            "measured": measured,
        })

    def _repr_html_(self) -> str:
        first, _, rest = repr(self).partition("\n")
        return pages.card(first, self.headline, rest)

    def __repr__(self) -> str:
        n, d = self.shape
        lines = [
            f"Overfitting({self.headline})",
            f"  {n} rows of {d} features; support {self.share:.1%}, predicted "
            f"{_text(self.predicted_share, '.1%')}",
            f"  ‖μ‖² {_text(self.signal)}, tr Σ {_text(self.trace)}, ‖Σ‖_F² "
            f"{_text(self.square)}, effective rank {self.effective_rank:.4g}",
        ]
        for name in RISKS:
            rho = getattr(self, name)
            line = f"  {name.replace('_', ' ')}: ρ {_text(rho)}"
            if rho.valid:
                low, high = self.risk_interval(rho)
                line += f", predicted risk {self.risk(rho).value:.2%}"
                line += f" ({low:.2%} to {high:.2%})"
            seen = None if self.measured is None else getattr(self.measured, name)
            if seen is not None:
                line += f", measured {_text(seen, '.2%')}"
            lines.append(line)
        lines.append(f"  left-out margins normal: p = {self.normality:.2g}")
        return "\n".join([*lines, *(f"  {x}" for x in self.advice)])


def _text(x: Estimate, form: str = ".4g") -> str:
    if not x.valid:
        return f"unknown ({x.why})"
    return f"{x.value:{form}} ± {x.error:{form}}"
