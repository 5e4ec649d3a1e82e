"""Prediction, training and certificates side by side: the verdict and its report."""

from penchant.diagnosis._cautions import Caution as Caution
from penchant.diagnosis._convergence import Convergence as Convergence
from penchant.diagnosis._diagnose import diagnose as diagnose
from penchant.diagnosis._diagnosis import Diagnosis as Diagnosis, Table as Table
from penchant.diagnosis._measure import Path as Path, Row as Row
from penchant.diagnosis._minimiser import Minimiser as Minimiser
from penchant.diagnosis._network import (
    NetworkDiagnosis as NetworkDiagnosis,
    NetworkRow as NetworkRow,
)
