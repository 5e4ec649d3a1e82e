"""Data to train on: the papers' constructions, and users' files."""

from penchant.datasets import noises as noises
from penchant.datasets._class_centres import class_centres as class_centres
from penchant.datasets._clusters import (
    Clusters as Clusters,
    Slack as Slack,
    clusters as clusters,
    random_means as random_means,
)
from penchant.datasets._dataset import Dataset as Dataset
from penchant.datasets._digits import digits as digits
from penchant.datasets._errors import DataError as DataError
from penchant.datasets._gaussian import gaussian as gaussian
from penchant.datasets._load import load as load
from penchant.datasets._mixture import (
    Mixture as Mixture,
    MixtureSample as MixtureSample,
)
from penchant.datasets._per_sample import (
    PAPER_SIGNS as PAPER_SIGNS,
    bistable as bistable,
    fold as fold,
    pitchfork as pitchfork,
    scaled_rademacher as scaled_rademacher,
    shifted_diagonal as shifted_diagonal,
)
from penchant.datasets._sequences import (
    Sequences as Sequences,
    load_sequences as load_sequences,
)
from penchant.datasets._split import Split as Split, split as split
