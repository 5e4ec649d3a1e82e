"""Which solution does my optimizer pick, and why?"""

from penchant import (
    _engine as _engine,
    datasets as datasets,
    diagnosis as diagnosis,
    estimators as estimators,
    flows as flows,
    margins as margins,
    norms as norms,
    optimizers as optimizers,
    plotting as plotting,
    problems as problems,
    theory as theory,
    training as training,
)
from penchant._cite import cite as cite
from penchant.diagnosis import Diagnosis as Diagnosis, diagnose as diagnose
from penchant.flows import Limit as Limit, limit as limit
from penchant.margins import (
    KKT as KKT,
    Certificate as Certificate,
    MaxMargin as MaxMargin,
    NotSeparableError as NotSeparableError,
    NotSeparatedError as NotSeparatedError,
    certify as certify,
    kkt as kkt,
    max_margin as max_margin,
)
from penchant.problems import (
    LinearClassification as LinearClassification,
    NetworkClassification as NetworkClassification,
    NotHomogeneousError as NotHomogeneousError,
    losses as losses,
    networks as networks,
)
from penchant.theory import (
    Assumption as Assumption,
    Prediction as Prediction,
    Verdict as Verdict,
    predict as predict,
)
from penchant.training import (
    Trajectory as Trajectory,
    batching as batching,
    schedules as schedules,
    sweep as sweep,
    train as train,
)
