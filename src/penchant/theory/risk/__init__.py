"""Mixtures of two classes: the risk of max margin, and when overfitting is harmless."""

from penchant.theory.risk._diagram import (
    RiskDiagram as RiskDiagram,
    risk_diagram as risk_diagram,
)
from penchant.theory.risk._exponents import (
    Condition as Condition,
    Exponent as Exponent,
    conditions as conditions,
    exponents as exponents,
)
from penchant.theory.risk._mixture_risk import (
    MixtureRisk as MixtureRisk,
    mixture_risk as mixture_risk,
    mixture_risks as mixture_risks,
)
from penchant.theory.risk._paths import (
    AbstractDualStep as AbstractDualStep,
    DualPath as DualPath,
    LogisticSteps as LogisticSteps,
    NormalisedSteps as NormalisedSteps,
    RidgePath as RidgePath,
    dual_path as dual_path,
    ridge_path as ridge_path,
)
from penchant.theory.risk._tail import tail_risk as tail_risk
