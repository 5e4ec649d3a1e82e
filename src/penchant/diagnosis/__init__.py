"""Prediction, training and certificates side by side: the verdict and its report."""

from penchant import _moved
from penchant.diagnosis._cautions import Caution as Caution, Kind as Kind
from penchant.diagnosis._diagnose import diagnose as diagnose
from penchant.diagnosis._result import (
    AbstractDiagnosis as AbstractDiagnosis,
    AbstractRow as AbstractRow,
    AbstractTable as AbstractTable,
    read as read,
)
from penchant.diagnosis.comparison._compare import compare as compare
from penchant.diagnosis.comparison._comparison import (
    ComparedRule as ComparedRule,
    Comparison as Comparison,
    Spread as Spread,
)
from penchant.diagnosis.comparison._recipe import (
    Recipe as Recipe,
    read_recipes as read_recipes,
)
from penchant.diagnosis.linear._chosen import Chosen as Chosen, Entry as Entry
from penchant.diagnosis.linear._diagnosis import Diagnosis as Diagnosis, Table as Table
from penchant.diagnosis.linear._examination import (
    Examination as Examination,
    ExaminedRow as ExaminedRow,
    ExaminedTable as ExaminedTable,
    examine as examine,
)
from penchant.diagnosis.linear._held_out import (
    Accuracy as Accuracy,
    HeldOut as HeldOut,
    Pair as Pair,
)
from penchant.diagnosis.linear._measure import MarginPath as MarginPath, Row as Row
from penchant.diagnosis.linear._minimiser import (
    Minimiser as Minimiser,
    find_minimiser as find_minimiser,
)
from penchant.diagnosis.network._diagnosis import (
    NetworkDiagnosis as NetworkDiagnosis,
    NetworkRow as NetworkRow,
    NetworkTable as NetworkTable,
)
from penchant.diagnosis.probe._differences import (
    Difference as Difference,
    differences as differences,
)
from penchant.diagnosis.probe._findings import Finding as Finding
from penchant.diagnosis.probe._reading import (
    GroupRow as GroupRow,
    Reading as Reading,
    reading as reading,
)
from penchant.diagnosis.probe._recording import (
    Recording as Recording,
    read_recording as read_recording,
)
from penchant.diagnosis.probe._verdicts import Said as Said
from penchant.diagnosis.regression._diagnosis import (
    RegressionDiagnosis as RegressionDiagnosis,
    SharpnessRow as SharpnessRow,
    SharpnessTable as SharpnessTable,
)
from penchant.diagnosis.state_space._diagnosis import (
    ModelRow as ModelRow,
    ModelTable as ModelTable,
    StateSpaceDiagnosis as StateSpaceDiagnosis,
)

__getattr__ = _moved.moved(
    __name__,
    {"Convergence": "penchant.estimators", "Path": __name__},
    renamed={"Path": "MarginPath"},
)
