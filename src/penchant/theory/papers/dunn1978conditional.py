"""Dunn and Harshbarger (1978): decoupled decay is Frank and Wolfe's method."""

import numpy as np

from penchant.theory._prediction import Prediction
from penchant.theory._setting import Setting
from penchant.theory.descent._regularized import path_deficit
from penchant.theory.descent._rules import Descent


def decayed(setting: Setting, rule: Descent) -> Prediction:
    r"""Normalised descent with decoupled decay: no max margin, a point of the path.

    $\|W_{t+1}\|\le(1-\eta\lambda)\|W_t\|+\eta$, so weights stay within $R=1/\lambda$ of
    0, and without momentum the update is Frank and Wolfe's on that ball: the loss tends
    to its least one there (`dunn1978conditional`, for $\eta_t\to0$,
    $\sum\eta_t=\infty$). How much margin that point has at least, `path_deficit` says.
    """
    radius = 1.0 / float(np.asarray(setting.character.decay))
    norm = rule.norm
    gamma = float(setting.best(norm).upper_bound)
    lost = path_deficit(setting.problem, gamma, radius) / (gamma * radius)
    least = (
        f"at least {1.0 - lost:.3g} of the largest margin"
        if lost < 1
        else "no share of the largest margin that could be promised: the bound is "
        "vacuous, for the decay is too strong"
    )
    covered = (
        ""
        if rule.b1 == 0
        else " With momentum the ball is the same; the end is not proved."
    )
    return setting.unknown(
        f"Decay keeps the {norm.label} norm of the weights within 1/λ = {radius:.4g}, "
        "where the loss has a minimum: the end is that point of the regularisation "
        f"path and no maximum margin. It has {least}.{covered}",
        source="dunn1978conditional",
        candidates=(norm,),
    )
