"""Prediction, training and certificates side by side: the verdict and its report."""

from penchant.diagnosis._cautions import Caution as Caution
from penchant.diagnosis._diagnose import diagnose as diagnose
from penchant.diagnosis._diagnosis import Diagnosis as Diagnosis, Table as Table
from penchant.diagnosis.linear._measure import Path as Path, Row as Row
from penchant.diagnosis.linear._minimiser import Minimiser as Minimiser
from penchant.diagnosis.network._network import (
    NetworkDiagnosis as NetworkDiagnosis,
    NetworkRow as NetworkRow,
)
from penchant.estimators import Convergence as Convergence
