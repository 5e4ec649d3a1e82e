import math

import numpy as np
from numpy.typing import NDArray

from penchant._types import Parameters
from penchant.margins._solvers.rows import PairRows
from penchant.problems import AbstractClassification

Array = NDArray[np.float64]

SEPARABLE = 1e-9
"""Margins below this share of the longest row's dual norm count as none."""


class NotSeparableError(ValueError):
    r"""No weights classify every sample, with a proof.

    `certificate` `(n,)` are simplex weights of the samples whose combination of signed
    examples is 0: $\sum_iq_iy_ix_i=0$. No $w$ can then have
    $y_i\langle w,x_i\rangle>0$ for all $i$. With several classes `pairs` `(n, k)` are
    the weights of sample and opponent, $\sum_{ic}q_{ic}(e_{y_i}-e_c)x_i^\top=0$, and
    `certificate` their row sums. `residual` is the length of the combination relative
    to the longest row, 0 but for rounding; `margin` the largest margin found.
    """

    def __init__(self, rows: PairRows, q: Array, margin: float, scale: float):
        q = refine_certificate(rows, q)
        longest = float(np.linalg.norm(rows.X, axis=1).max())
        residual = float(np.linalg.norm(rows.adjoint(q)))
        self.pairs = q
        self.certificate = q.sum(axis=1)
        self.residual = residual / longest if longest > 0 else 0.0
        self.margin = margin
        weighed = int((self.certificate > 0).sum())
        super().__init__(
            "The data are not linearly separable: the largest margin found is "
            f"{margin:.3g}, below {SEPARABLE:g} of the data's scale {scale:.3g}, and "
            f"{weighed} weighted samples cancel to {self.residual:.1e} of the longest "
            "(the weights are in .certificate)."
        )


def refine_certificate(rows: PairRows, q: Array) -> Array:
    """Simplex weights on the rows of `q` that cancel to rounding, if it is feasible.

    Few rows suffice (Carathéodory): those of weight are solved for exactly, by
    non-negative least squares.
    """
    from scipy.optimize import nnls

    size = math.prod(rows.weight_shape)
    weighty = rows.real & (q > 1e-9 * q.max())
    count = int(weighty.sum())
    if count * (size + 1) > 20_000_000:
        return q
    samples = np.flatnonzero(weighty.any(axis=1))
    part = rows.take(samples)
    A = part.dense()[weighty[samples][part.real]]
    scale = np.abs(A).max()
    if scale == 0:
        return q
    system = np.vstack([A.T / scale, np.ones((1, count))])
    try:
        weight, _ = nnls(system, np.append(np.zeros(size), 1.0), maxiter=20 * count)
    except RuntimeError:
        return q  # it did not converge; the weights at hand are a proof as they stand
    if weight.sum() <= 0:
        return q
    refined = np.zeros(q.shape)
    inner = np.zeros(part.shape)
    inner[weighty[samples] & part.real] = weight / weight.sum()
    refined[samples] = inner
    before = np.linalg.norm(rows.adjoint(q))
    return refined if np.linalg.norm(rows.adjoint(refined)) <= before else q


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
