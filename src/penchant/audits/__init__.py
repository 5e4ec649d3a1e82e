"""Audits of data: what they excite, what may poison them, and what helps."""

from penchant.audits._attack import PGD as PGD, Attack as Attack
from penchant.audits._defences import (
    Defence as Defence,
    Defences as Defences,
    defences as defences,
)
from penchant.audits._overfitting import overfitting as overfitting
from penchant.audits._overfitting_result import (
    Measured as Measured,
    Overfitting as Overfitting,
)
from penchant.audits._poisoning import (
    LeaveOneOut as LeaveOneOut,
    SequenceAudit as SequenceAudit,
    audit_sequences as audit_sequences,
    leave_one_out as leave_one_out,
    poison_scores as poison_scores,
)
from penchant.audits._robustness import (
    Robustness as Robustness,
    robustness as robustness,
)
from penchant.theory.state_space import (
    Excitation as Excitation,
    excitation as excitation,
)
