"""What a rule is, read off its steps: a black box in, a character out."""

from penchant.estimators.identification._findings import Findings as Findings
from penchant.estimators.identification._identify import identify as identify
from penchant.estimators.identification._result import (
    Identification as Identification,
)
from penchant.estimators.identification._tightness import Tightness as Tightness
