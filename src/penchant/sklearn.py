"""For scikit-learn: `from penchant.sklearn import MaxMarginClassifier`."""

from penchant.integrations.sklearn import (
    MaxMarginClassifier as MaxMarginClassifier,
    NotSeparableWarning as NotSeparableWarning,
)
