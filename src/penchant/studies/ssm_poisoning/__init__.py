"""Slutzky, Alexander, Razin, Cohen (2025): clean labels that poison SSMs."""

from penchant.studies._catalogue import CATALOGUE
from penchant.studies._study import Experiment, Study
from penchant.studies.ssm_poisoning._beyond import (
    dynamics as dynamics,
    early_stopping as early_stopping,
    official_rule as official_rule,
    teachers as teachers,
)
from penchant.studies.ssm_poisoning._images import images as images
from penchant.studies.ssm_poisoning._open_set import (
    open_set as open_set,
    phases as phases,
    sizes as sizes,
    strength as strength,
    without_gap as without_gap,
)
from penchant.studies.ssm_poisoning._optimizers import (
    defences as defences,
    optimizers as optimizers,
    with_mlp as with_mlp,
)
from penchant.studies.ssm_poisoning._theorem1 import theorem1 as theorem1

STUDY = Study(
    *CATALOGUE["ssm-poisoning"],
    {
        "theorem1": Experiment(
            theorem1,
            "The table of Theorem 1",
            "With the authors' integrator their digits come out; accurate values are "
            "near them.",
        ),
        "open-set": Experiment(
            open_set,
            "The gap of the start",
            "Clean errors fall as the gap grows, poisoned ones stay up until 1e-8: the "
            "failure lives between.",
        ),
        "strength": Experiment(
            strength,
            "The amplitude of the special sequence",
            "The curve dips far below the dashed line before it rises above: a tiny "
            "special sequence repairs.",
        ),
        "without-gap": Experiment(
            without_gap,
            "Starts without the gap",
            "Medians are at or below 1: on starts that are just drawn, special "
            "sequences help as often as they hurt.",
        ),
        "phases": Experiment(
            phases,
            "The phase diagram",
            "Red cells are poisoned, blue ones repaired; both have their place.",
        ),
        "sizes": Experiment(
            sizes,
            "Other lengths, sizes and scales",
            "Every curve has a range of gaps where it is far above 1, and comes down "
            "to 1 or below where the leading pole stands out.",
        ),
        "early-stopping": Experiment(
            early_stopping,
            "Beyond Theorem 1: error by training loss",
            "The poisoned curve starts far above the other and crosses it as the loss "
            "falls: the failure is one of early stopping.",
        ),
        "official-rule": Experiment(
            official_rule,
            "The same by the authors' rule, stopped and not",
            "Where they stop the poisoned error is far above the other; the same rule, "
            "left to run, brings it down.",
        ),
        "dynamics": Experiment(
            dynamics,
            "Effective ranks along training",
            "Without special sequences the rank falls to a few, with them it stays up.",
        ),
        "teachers": Experiment(
            teachers,
            "Teachers of dimension 2 to 4",
            "Poles of the baseline limit, in the certificate, beside the teacher's.",
        ),
        "optimizers": Experiment(
            optimizers,
            "Rules, and Adam's ε",
            "The smaller ε, the nearer Adam ends to sign descent, which fails on clean "
            "data.",
        ),
        "with-mlp": Experiment(
            with_mlp,
            "A model with an MLP on top",
            "Errors with special sequences stay above those without after long "
            "training.",
        ),
        "defences": Experiment(
            defences,
            "Defences side by side",
            "Errors of each are in the certificate, the best one varies.",
        ),
        "images": Experiment(
            images,
            "Digits as sequences, and poison by gradient matching",
            "Poisons against noise of the same size and a control of as much data: "
            "three seeds say how far the three are apart.",
        ),
    },
)
