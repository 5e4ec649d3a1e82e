"""Which penalty was at work: at an endpoint, along a run, under noise, by duals."""

from penchant.estimators.matching._curl import Curl as Curl, curl as curl
from penchant.estimators.matching._dual import match_dual as match_dual
from penchant.estimators.matching._early_stopping import (
    FullMatrix as FullMatrix,
    early_stopping as early_stopping,
    early_stopping_matrix as early_stopping_matrix,
    match_matrix as match_matrix,
)
from penchant.estimators.matching._endpoint import match as match
from penchant.estimators.matching._interventions import (
    marginal as marginal,
    match_interventions as match_interventions,
)
from penchant.estimators.matching._logs import (
    LoggedGradient as LoggedGradient,
    load_log as load_log,
)
from penchant.estimators.matching._match import (
    Kink as Kink,
    Match as Match,
    Shape as Shape,
)
from penchant.estimators.matching._residuals import (
    AbstractResidual as AbstractResidual,
    FlowReference as FlowReference,
    Replay as Replay,
    Velocity as Velocity,
)
from penchant.estimators.matching._retrain import (
    Recovery as Recovery,
    recovery as recovery,
    retrain as retrain,
)
from penchant.estimators.matching._run import (
    LoggedRun as LoggedRun,
    match_run as match_run,
)
from penchant.estimators.matching._weight_profile import (
    WeightProfile as WeightProfile,
    weight_profile as weight_profile,
)
