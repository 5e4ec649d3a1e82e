"""Li, Wen, Lyu (2025): which sharpness adaptive methods lower near minimisers."""

from penchant.studies._catalogue import CATALOGUE
from penchant.studies._study import Experiment, Study
from penchant.studies.adam_sharpness._ellipse import ellipse as ellipse
from penchant.studies.adam_sharpness._flow import flow as flow
from penchant.studies.adam_sharpness._recovery import (
    clock as clock,
    powers as powers,
    samples as samples,
)
from penchant.studies.adam_sharpness._scales import (
    epsilon as epsilon,
    memory as memory,
    steps as steps,
)
from penchant.studies.adam_sharpness._sensing import deep as deep, sensing as sensing
from penchant.studies.adam_sharpness._table import shampoo as shampoo, table as table

STUDY = Study(
    *CATALOGUE["adam-sharpness"],
    {
        "table": Experiment(
            table,
            "Table 1: where each rule ends on a surface of minimisers",
            "Every rule comes to rest on its own closed form, at its own slow time.",
        ),
        "ellipse": Experiment(
            ellipse,
            "Figure 1: a noisy ellipse",
            "SGD turns to the flattest tip, Adam to the kink nearer an axis.",
        ),
        "flow": Experiment(
            flow,
            "The slow flow, corrected and as printed",
            "Circles lie on the solid curves; the dashed ones, as printed, leave.",
        ),
        "samples": Experiment(
            samples,
            "Figure 2: sparse recovery by the number of samples",
            "SGD's gradual decrease turns into a drop as its clock goes on; no method "
            "recovers below ℓ1's statistical dimension.",
        ),
        "powers": Experiment(
            powers,
            "Figure 2b: AdamE by its power",
            "The test loss falls with the power up to Adam's ½: smaller ones are late.",
        ),
        "clock": Experiment(
            clock,
            "Figure 2 at scale: when rules recover",
            "Both curves cross the line, SGD's later: the gap is one of speed.",
        ),
        "sensing": Experiment(
            sensing,
            "Figure 3: matrix sensing with two layers",
            "Adam's curve starts above SGD's and ends below it.",
        ),
        "deep": Experiment(
            deep,
            "Figure 4: matrix sensing with more layers",
            "Run on, Adam ends no higher than SGD.",
        ),
        "steps": Experiment(
            steps,
            "Large steps, and momentum, move the end",
            "The larger the step, the farther from where small ones end.",
        ),
        "memory": Experiment(
            memory,
            "β₂ off the scale of η²",
            "The end shifts by about 1 - β₂: nothing at .999, a tenth at .9.",
        ),
        "epsilon": Experiment(
            epsilon,
            "ε between Adam and SGD",
            "The end moves from Adam's towards SGD's as ε grows.",
        ),
        "shampoo": Experiment(
            shampoo,
            "Shampoo lowers nothing",
            "Around a loop the integral is not 0: no function has this slope.",
        ),
    },
)
