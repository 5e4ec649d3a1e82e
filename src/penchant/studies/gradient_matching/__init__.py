"""Rudoler, Tan, Hooker, Kording (2026): which penalty acted, by exact estimators."""

from penchant.studies._study import Experiment, Study
from penchant.studies.gradient_matching._adamw import adamw as adamw
from penchant.studies.gradient_matching._dropout import dropout as dropout
from penchant.studies.gradient_matching._early_stopping import (
    early_stopping as early_stopping,
)
from penchant.studies.gradient_matching._finite_steps import (
    finite_steps as finite_steps,
)

STUDY = Study(
    "gradient-matching",
    (
        "rudoler2026estimating",
        "ali2019continuous",
        "barrett2021implicit",
        "wei2020implicit",
    ),
    "Rudoler, Tan, Hooker, Kording (2026)",
    "which penalty acted on a run: early stopping, dropout, finite steps and decay, by "
    "exact estimators",
    {
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
        ),
        "adamw": Experiment(
            adamw,
            "What AdamW's decay is",
            "Exact beside the steps; at rest a ridge that noise scales.",
        ),
    },
)
