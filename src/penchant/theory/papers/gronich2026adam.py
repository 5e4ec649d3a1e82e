r"""Gronich and others (2026): Adam without ε, and signs, on homogeneous networks."""

from penchant.norms import AbstractNorm
from penchant.theory._prediction import Assumption, Prediction, Regime, Verdict
from penchant.theory._setting import Setting
from penchant.theory.papers.lyu2020gradient import network_assumptions
from penchant.theory.regimes._run_geometry import step_condition


def steepest_kkt(
    setting: Setting, norm: AbstractNorm, regimes: tuple[Regime, ...] = ()
) -> Prediction:
    r"""A KKT point of the margin problem in the norm of the steps.

    For $\ell_\infty$ (Adam and RMSProp with $\varepsilon=0$, sign descent, Signum) and
    $\ell_2$, if the direction converges and steps shrink faster than $t^{1/L-1}$
    (`gronich2026adam`; its conditions recalled, not checked against the paper).
    """
    return setting.stationary(
        norm,
        "gronich2026adam",
        setting.name,
        (
            *network_assumptions(setting),
            step_condition(setting.schedule, setting.problem.degree or 1.0),
            Assumption(
                "the direction converges", Verdict.UNKNOWN, "the theorem assumes it"
            ),
        ),
        regimes,
    )
