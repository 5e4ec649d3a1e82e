"""What is inferred from a run or a flow: laws and alignments, with their errors."""

from penchant.estimators._alignment import (
    AlignmentRow as AlignmentRow,
    alignment as alignment,
)
from penchant.estimators._convergence import (
    Convergence as Convergence,
    fit_convergence as fit_convergence,
)
from penchant.estimators._flow_rates import (
    norm_ratio as norm_ratio,
    rate_constant as rate_constant,
    surrogate_margins as surrogate_margins,
)
from penchant.estimators._gap_law import GapLaw as GapLaw, gap_law as gap_law
from penchant.estimators._imitation import (
    Exponent as Exponent,
    Imitation as Imitation,
    imitation as imitation,
)
from penchant.estimators._share_of_eps import share_of_eps as share_of_eps
from penchant.estimators._staleness import (
    Staleness as Staleness,
    staleness as staleness,
)
