import numpy as np
from numpy.typing import NDArray

from penchant._types import Parameters
from penchant.margins._solvers import accurate
from penchant.margins._solvers.rows import PairRows
from penchant.problems import AbstractClassification

Array = NDArray[np.float64]

SEPARABLE = 1e-9
"""Share of the longest row's dual norm below which a method stops and others decide."""


class NoMarginError(ValueError):
    r"""There is no largest margin to give: no weights separate, or it is not decided.

    Caught where any reason will do. The two reasons are classes of their own,
    [`NotSeparableError`][penchant.NotSeparableError], which is a proof, and
    [`UndecidedError`][penchant.UndecidedError], which is none: who catches the first
    never takes the second for it.

    `pairs` `(n, c)` are simplex weights of sample and opponent, and `certificate`
    `(n,)` their row sums, of which $\sum_{ic}q_{ic}a_{ic}$ is nearly, or but for
    rounding, 0. `residual` is what is left of it: in the feature where that is most,
    the share of $\sum_{ic}q_{ic}|a_{ic}|$. It does not depend on units. `margin` is
    that of the best weights found.
    """

    certificate: Array
    pairs: Array
    residual: float
    margin: float

    def __init__(self, message: str, rows: PairRows, q: Array, margin: float):
        super().__init__(message)
        self.pairs = q
        self.certificate = q.sum(axis=1)
        self.residual = left_over(rows, q)
        self.margin = margin


class NotSeparableError(NoMarginError):
    r"""No weights classify every sample, with a proof.

    `certificate` `(n,)` are simplex weights of the samples whose combination of signed
    examples is 0: $\sum_iq_iy_ix_i=0$. No $w$ can then have
    $y_i\langle w,x_i\rangle>0$ for all $i$. With several classes `pairs` `(n, k)` are
    the weights of sample and opponent, $\sum_{ic}q_{ic}(e_{y_i}-e_c)x_i^\top=0$, and
    `certificate` their row sums.

    That some weights cancel exactly is proved, `proof` says how: in whole numbers, or
    by a bound on all rounding. Those given are the nearest doubles, so `residual` is
    of the order of rounding, whatever the units of the features. No tolerance enters.
    """

    def __init__(self, rows: PairRows, q: Array, margin: float, proof: str):
        self.proof = proof
        weighed = int((q.sum(axis=1) > 0).sum())
        super().__init__(
            f"The data are not linearly separable: {weighed} weighted samples cancel, "
            f"proved {proof}; with weights rounded to doubles, as they are in "
            f".certificate, to {left_over(rows, q):.1e} of their size in each feature.",
            rows,
            q,
            margin,
        )


class UndecidedError(NoMarginError):
    r"""Whether any weights classify every sample could not be decided.

    The largest margin lies between `lower`, which is 0, and `upper`, both in the norm
    and the units of the problem. `scale` is the largest dual norm of a row: what
    `upper` is small against, or not. Neither weights nor a certificate could be proved
    in floating-point arithmetic, and the problem is too large for whole numbers.
    """

    def __init__(
        self,
        rows: PairRows,
        q: Array,
        margin: float,
        *,
        upper: float,
        scale: float,
        label: str,
    ):
        self.lower, self.upper, self.scale = 0.0, upper, scale
        share = upper / scale if scale > 0 else 0.0
        super().__init__(
            "It is not decided whether the data are linearly separable: the largest "
            f"{label} margin lies in [0, {upper:.3g}]. The upper bound is {share:.1e} "
            f"of the longest row's dual norm, {scale:.3g}, and samples weighted by "
            f".certificate cancel to {left_over(rows, q):.1e} of their size in every "
            f"feature; the best weights found have the margin {margin:.3g}. There are "
            f"{rows.count} margins of {rows.X.shape[1]} features, too many or too "
            "close for exact arithmetic.",
            rows,
            q,
            margin,
        )


def left_over(rows: PairRows, q: Array) -> float:
    """What a mixture leaves, relative to its terms, in the worst feature."""
    G, error, size = accurate.mixture(rows, q)
    G, size = np.abs(G) + error, size
    return float((G[size > 0] / size[size > 0]).max(initial=0.0))


class NotSeparatedError(ValueError):
    """Weights that leave samples on the wrong side, where all must be on theirs.

    `wrong` is how many; whether other weights would do is not said.
    """

    def __init__(self, problem: AbstractClassification, w: Parameters):
        q = np.asarray(problem.margins(w))
        self.wrong = int((q <= 0).sum())
        super().__init__(
            f"the weights must classify every sample; {self.wrong} of {len(q)} have a "
            f"margin of at most 0, the least {q.min():.4g}. Train for longer, with "
            "other steps, or from another start; a network may also be too small."
        )
