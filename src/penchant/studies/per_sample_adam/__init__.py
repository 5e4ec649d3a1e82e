"""Baek, Song, Yun (2026): what Adam and Signum find with batches of few samples."""

from penchant.studies._catalogue import CATALOGUE
from penchant.studies._study import Experiment, Study
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
    *CATALOGUE["per-sample-adam"],
    {
        "gaussian": Experiment(
            gaussian,
            "Figures 1 and 3: one sample a step, or all of them",
            "Curves that fall arrive where theory says: full batches at the ℓ∞ "
            "optimum, "
            "single samples at a fixed point of their own near ℓ2, which is not ℓ2.",
        ),
        "rademacher": Experiment(
            rademacher,
            "Figure 2: rows of one size",
            "One sample a step falls to the ℓ2 optimum for every pair of decays; two a "
            "step, or all of them, stay away from it.",
        ),
        "proxy": Experiment(
            proxy,
            "AdamProxy as an algorithm",
            "The angle of the weights falls like 1/s, a line of slope -1: slow, "
            "which is "
            "why limits are read from increments.",
        ),
        "batch-size": Experiment(
            batch_size,
            "Figure 6: every batch size and order",
            "With larger batches, in turn or drawn with replacement, the limit "
            "leaves ℓ2; circles (runs) lie on the curves (predictions).",
        ),
        "signum": Experiment(
            signum,
            "Signum: how much momentum each order needs",
            "With a long memory, on the left, the gap of the ℓ∞ margin closes; without "
            "one, on the right, single samples lose most of it.",
        ),
        "epsilon": Experiment(
            epsilon,
            "The default ε ends every geometry but ℓ2",
            "Once a run passes the dashed margin of its ε it falls towards ℓ2; with "
            "ε = 0 it never does.",
        ),
        "bistable": Experiment(
            bistable,
            "Two rows on which the start decides",
            "Which of two limits Adam ends at hangs on which side of a line it starts; "
            "past r_c the two become one.",
        ),
        "decays": Experiment(
            decays,
            "How far finite β₂ is from the fixed point",
            "The distance falls with the epoch over the memory, N (1 - b2); those "
            "of 50 samples and more lie on one curve.",
        ),
        "schedules": Experiment(
            schedules,
            "Step sizes: the limit, the speed, the read-out",
            "Under every schedule increments come near the limit long before the "
            "weights do.",
        ),
        "uniqueness": Experiment(
            uniqueness,
            "Many data sets, one limit each",
            "On every data set the fixed point is nearer ℓ2 than ℓ∞, and reaches "
            "neither.",
        ),
    },
)
