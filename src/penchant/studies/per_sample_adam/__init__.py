"""Baek, Song, Yun (2026): what Adam and Signum find with batches of few samples."""

from penchant.studies._study import Study
from penchant.studies.per_sample_adam._batch_size import batch_size as batch_size
from penchant.studies.per_sample_adam._bistable import bistable as bistable
from penchant.studies.per_sample_adam._decays import decays as decays
from penchant.studies.per_sample_adam._epsilon import epsilon as epsilon
from penchant.studies.per_sample_adam._gaussian import gaussian as gaussian
from penchant.studies.per_sample_adam._proxy import proxy as proxy
from penchant.studies.per_sample_adam._rademacher import rademacher as rademacher
from penchant.studies.per_sample_adam._schedules import schedules as schedules
from penchant.studies.per_sample_adam._signum import signum as signum
from penchant.studies.per_sample_adam._uniqueness import uniqueness as uniqueness

STUDY = Study(
    "per-sample-adam",
    "baek2026persample",
    "Baek, Song, Yun (2026)",
    "the limits of Adam and Signum for every batch size and order, predicted and run",
    {
        "gaussian": gaussian,
        "rademacher": rademacher,
        "proxy": proxy,
        "batch-size": batch_size,
        "signum": signum,
        "epsilon": epsilon,
        "bistable": bistable,
        "decays": decays,
        "schedules": schedules,
        "uniqueness": uniqueness,
    },
)
