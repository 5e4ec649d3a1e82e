"""Data to train on: the papers' constructions, and users' files."""

from penchant.datasets._class_centres import class_centres as class_centres
from penchant.datasets._dataset import Dataset as Dataset
from penchant.datasets._digits import digits as digits
from penchant.datasets._errors import DataError as DataError
from penchant.datasets._gaussian import gaussian as gaussian
from penchant.datasets._load import load as load
