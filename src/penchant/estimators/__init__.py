"""What is inferred from a run or a flow: laws, alignments, penalties; with errors."""

from penchant.estimators import (
    interventions as interventions,
    penalties as penalties,
    rounding as rounding,
)
from penchant.estimators._alignment import (
    AlignmentRow as AlignmentRow,
    alignment as alignment,
)
from penchant.estimators._applied_decay import applied_decay as applied_decay
from penchant.estimators._convergence import (
    Convergence as Convergence,
    fit_convergence as fit_convergence,
)
from penchant.estimators._divisors import (
    Divisors as Divisors,
    divisors as divisors,
    noise_signal as noise_signal,
    signal as signal,
)
from penchant.estimators._edge import edge_threshold as edge_threshold
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
from penchant.estimators._memory import (
    MemoryTerm as MemoryTerm,
    adaptive_memory as adaptive_memory,
    first_memory as first_memory,
    memory_term as memory_term,
    path_since as path_since,
)
from penchant.estimators._share_of_eps import share_of_eps as share_of_eps
from penchant.estimators._staleness import (
    Staleness as Staleness,
    staleness as staleness,
)
from penchant.estimators.identification import (
    Findings as Findings,
    Identification as Identification,
    Tightness as Tightness,
    identify as identify,
)
from penchant.estimators.matching import (
    AbstractResidual as AbstractResidual,
    Curl as Curl,
    FlowReference as FlowReference,
    FullMatrix as FullMatrix,
    Kink as Kink,
    LoggedGradient as LoggedGradient,
    LoggedRun as LoggedRun,
    Match as Match,
    Recovery as Recovery,
    Replay as Replay,
    Shape as Shape,
    Velocity as Velocity,
    WeightProfile as WeightProfile,
    curl as curl,
    early_stopping as early_stopping,
    early_stopping_matrix as early_stopping_matrix,
    load_log as load_log,
    marginal as marginal,
    match as match,
    match_dual as match_dual,
    match_interventions as match_interventions,
    match_matrix as match_matrix,
    match_run as match_run,
    recovery as recovery,
    retrain as retrain,
    weight_profile as weight_profile,
)
