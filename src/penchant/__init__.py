"""Which solution does my optimizer pick, and why?"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

from penchant import _engine as _engine, _help, _moved

if TYPE_CHECKING:
    from penchant import (
        audits as audits,
        datasets as datasets,
        diagnosis as diagnosis,
        estimators as estimators,
        explorer as explorer,
        flows as flows,
        margins as margins,
        measures as measures,
        norms as norms,
        optimizers as optimizers,
        pages as pages,
        plotting as plotting,
        problems as problems,
        ssm as ssm,
        studies as studies,
        theory as theory,
        training as training,
    )
    from penchant._cite import cite as cite
    from penchant.datasets import Dataset as Dataset, load as load
    from penchant.diagnosis import (
        Comparison as Comparison,
        Diagnosis as Diagnosis,
        Examination as Examination,
        NetworkDiagnosis as NetworkDiagnosis,
        compare as compare,
        diagnose as diagnose,
        examine as examine,
    )
    from penchant.estimators import (
        Identification as Identification,
        identify as identify,
        penalties as penalties,
    )
    from penchant.explorer import explore as explore
    from penchant.flows import (
        Correction as Correction,
        Limit as Limit,
        correction as correction,
        limit as limit,
    )
    from penchant.margins import (
        KKT as KKT,
        Certificate as Certificate,
        MaxMargin as MaxMargin,
        NoMarginError as NoMarginError,
        NotSeparableError as NotSeparableError,
        NotSeparatedError as NotSeparatedError,
        UndecidedError as UndecidedError,
        certify as certify,
        kkt as kkt,
        max_margin as max_margin,
    )
    from penchant.measures import Estimate as Estimate
    from penchant.problems import (
        LinearClassification as LinearClassification,
        NetworkClassification as NetworkClassification,
        NotHomogeneousError as NotHomogeneousError,
        Objective as Objective,
        Regression as Regression,
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
        executors as executors,
        schedules as schedules,
        sweep as sweep,
        train as train,
    )

_moved.install()

_FOLDERS = (
    "audits datasets diagnosis estimators explorer flows margins measures norms "
    "optimizers pages plotting problems ssm studies theory training"
)
_NAMES = {
    "penchant._cite": "cite",
    "penchant.datasets": "Dataset load",
    "penchant.diagnosis": (
        "Comparison Diagnosis Examination NetworkDiagnosis compare diagnose examine"
    ),
    "penchant.estimators": "Identification identify penalties",
    "penchant.explorer": "explore",
    "penchant.flows": "Correction Limit correction limit",
    "penchant.margins": (
        "KKT Certificate MaxMargin NoMarginError NotSeparableError NotSeparatedError "
        "UndecidedError certify kkt max_margin"
    ),
    "penchant.measures": "Estimate",
    "penchant.problems": (
        "LinearClassification NetworkClassification NotHomogeneousError Objective "
        "Regression losses networks"
    ),
    "penchant.theory": "Assumption Prediction Verdict predict",
    "penchant.training": "Trajectory batching executors schedules sweep train",
}
"""Where each name is found when it is first asked for: help needs no engine."""

_FRAMEWORKS = "huggingface lightning optax sklearn torch"
"""Modules for other people's frameworks, which are imported with them."""

_PLACES = {name: place for place, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = importlib.metadata.version("penchant")
    elif name in _PLACES:
        value = getattr(importlib.import_module(_PLACES[name]), name)
    elif name in _FOLDERS.split() or name in _FRAMEWORKS.split():
        value = importlib.import_module(f"penchant.{name}")
    else:
        raise AttributeError(f"module 'penchant' has no attribute {name!r}")
    globals()[name] = value
    _help.tidy_all(_FOLDERS.split())
    return value


def __dir__() -> list[str]:
    return sorted([
        *_PLACES,
        *_FOLDERS.split(),
        *_FRAMEWORKS.split(),
        "__version__",
        "__doc__",
    ])
