"""Rudoler, Tan, Hooker, Kording (2026): which penalty acted, by exact estimators."""

from penchant.studies._catalogue import CATALOGUE
from penchant.studies._study import Experiment, Study
from penchant.studies.gradient_matching._adamw import adamw as adamw
from penchant.studies.gradient_matching._averaging import averaging as averaging
from penchant.studies.gradient_matching._dropout import dropout as dropout
from penchant.studies.gradient_matching._early_stopping import (
    early_stopping as early_stopping,
)
from penchant.studies.gradient_matching._elastic_net import elastic_net as elastic_net
from penchant.studies.gradient_matching._finite_steps import (
    finite_steps as finite_steps,
)
from penchant.studies.gradient_matching._long_horizon import (
    long_horizon as long_horizon,
)
from penchant.studies.gradient_matching._norms import norms as norms
from penchant.studies.gradient_matching._shapes import shapes as shapes
from penchant.studies.gradient_matching._terms import terms as terms

STUDY = Study(
    *CATALOGUE["gradient-matching"],
    {
        "elastic-net": Experiment(
            elastic_net,
            "Figure 3: an elastic net in a network",
            "Where Adam ends its noise hides small penalties, and the bound says so; "
            "at rest they are read off.",
        ),
        "early-stopping": Experiment(
            early_stopping,
            "Figure 4: least squares, stopped early",
            "The best ridge is neither the mean eigenvalue of the exact penalty nor "
            "one over the time.",
        ),
        "dropout": Experiment(
            dropout,
            "Figure 5: is dropout like ℓ2?",
            "Exactly, with scales, for one layer; in a deep network the Gauss–Newton "
            "term explains what a ridge does not.",
            takes_data=True,
        ),
        "finite-steps": Experiment(
            finite_steps,
            "Figure 6: what finite steps add",
            "As published the error falls with the step size; extrapolated it is gone.",
            takes_data=True,
        ),
        "long-horizon": Experiment(
            long_horizon,
            "Figure 7: whole runs by the corrected flow",
            "A ratio of the order of the step size, but for ReLU, whose kinks the "
            "Hessian does not have.",
            takes_data=True,
        ),
        "terms": Experiment(
            terms,
            "Backward error read off runs",
            "Both terms of Adam's memory, and the spread of reshuffled batches, have "
            "the coefficients of theory up to the order of the step size.",
        ),
        "norms": Experiment(
            norms,
            "Which regulariser six rules imitate",
            "Each comes to the constrained minimiser of the norm of its own steps.",
        ),
        "adamw": Experiment(
            adamw,
            "What AdamW's decay is",
            "Exact beside the steps; at rest a ridge that noise scales.",
        ),
        "averaging": Experiment(
            averaging,
            "Averaged weights",
            "A ridge about where the average began, not about 0.",
            takes_data=True,
        ),
        "shapes": Experiment(
            shapes,
            "Free exponents, and three penalties at once",
            "At a minimiser all of them are exact; away from it the interval widens.",
        ),
    },
)
