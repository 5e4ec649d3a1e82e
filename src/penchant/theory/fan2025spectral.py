"""Fan, Schmidt, Thrampoulidis (2025): normalised descent on separable classes."""

import numpy as np

from penchant._types import Real
from penchant.norms import L2, AbstractLp, AbstractNorm, AbstractSchatten, Spectral
from penchant.optimizers import ExactPolar, Muon
from penchant.theory._prediction import Assumption, Prediction, Verdict
from penchant.theory._setting import Setting


def normalized_descent(
    setting: Setting, norm: AbstractNorm, momentum: Real
) -> Prediction:
    r"""Normalised steepest descent, momentum or not: the max margin of `norm`.

    $$\gamma-\frac{\min_iq_i(W_t)}{\|W_t\|}\to0,\qquad
    \gamma=\max_{\|W\|\le1}\min_iq_i(W)$$

    Theorem 1 without momentum, Theorem 2 with it: Signum, Muon with exact polar
    factors. The bounds are $O(\log t/\sqrt t)$ for steps $\eta_t\propto t^{-1/2}$; what
    is measured is $1/\sum\eta$. A margin, not a direction: in the max and spectral
    norms several directions may attain it.

    Two classes are the case $k=2$, with $W=(-w,w)/2$.
    """
    beta = float(np.asarray(momentum))
    treated = isinstance(norm, (AbstractLp, AbstractSchatten))
    theorem = "Theorem 1" if beta == 0 else "Theorem 2"
    return setting.predict(
        norm,
        f"fan2025spectral, {theorem}",
        f"Every step is the steepest in the {norm.label} norm, so the {norm.label} "
        "margin tends to its largest.",
        (
            setting.separable(),
            setting.every_sample(),
            setting.exponential_tail(),
            setting.decreasing_steps(norm),
            Assumption(
                "the norm is entry-wise or Schatten",
                Verdict.HOLDS if treated else Verdict.UNKNOWN,
                repr(norm),
            ),
        ),
    )


def muon(setting: Setting) -> Prediction:
    r"""Muon: spectral with exact polar factors; with Newton--Schulz, no norm's.

    Newton--Schulz with the usual coefficients leaves singular values between about 0.7
    and 1.2. Measured on the paper's data at constant steps, five such steps end at .946
    of the spectral and .990 of the Frobenius margin; 15 cubic steps at .9996 and .945.
    """
    optimizer = setting.optimizer
    assert isinstance(optimizer, Muon)
    if isinstance(optimizer.polar, ExactPolar):
        return normalized_descent(setting, Spectral(), optimizer.b1)
    if setting.problem.binary:  # one column: any polynomial of it is a multiple of it
        return normalized_descent(setting, L2(), optimizer.b1)
    return setting.unknown(
        f"{optimizer.polar!r} gives no exact polar factor, and no theorem says which "
        "margin its steps maximise: between the spectral one and the Frobenius one.",
        candidates=(Spectral(), L2()),
    )
