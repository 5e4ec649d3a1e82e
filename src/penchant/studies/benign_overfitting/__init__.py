"""Cao, Gu, Belkin (2021): max margin on mixtures, where overfitting is harmless."""

from penchant.studies._catalogue import CATALOGUE
from penchant.studies._study import Experiment, Study
from penchant.studies.benign_overfitting._rates import (
    plane as plane,
    rates as rates,
    tight as tight,
)
from penchant.studies.benign_overfitting._spectra import (
    flips as flips,
    noise as noise,
    rare_weak as rare_weak,
    spectra as spectra,
)
from penchant.studies.benign_overfitting._support import (
    bias as bias,
    descent as descent,
    support as support,
)

STUDY = Study(
    *CATALOGUE["benign-overfitting"],
    {
        "rates": Experiment(
            rates,
            "Risk by signal, samples and features",
            "Points lie on the curve, which leaves the leading order where d/n is not "
            "large.",
        ),
        "tight": Experiment(
            tight,
            "One setting, many draws",
            "The finite ratio is told apart from the leading order.",
        ),
        "plane": Experiment(
            plane,
            "The plane of dimension and signal",
            "Between the two lines overfitting is benign and the earlier bound silent.",
        ),
        "spectra": Experiment(
            spectra,
            "Spectra that decay",
            "Off the top axis ρ² rises far above 4: the large directions of noise are "
            "projected out.",
        ),
        "rare-weak": Experiment(
            rare_weak,
            "Rare and weak signals",
            "The line is flat: only sγ² counts.",
        ),
        "flips": Experiment(
            flips,
            "Flipped labels",
            "With a tenth of the labels flipped ρ² saturates where noiseless it grows.",
        ),
        "noise": Experiment(
            noise,
            "Noise that is not Gaussian",
            "Covariances decide while the mean is spread.",
        ),
        "support": Experiment(
            support,
            "When all rows are support vectors",
            "Curves of all n turn near d = 2n log n.",
        ),
        "descent": Experiment(
            descent,
            "Gradient descent on the way",
            "With few features ρ falls along the path: the first step is the best.",
        ),
        "bias": Experiment(
            bias,
            "With a bias and without",
            "A bias costs nothing that shows where features are many.",
        ),
    },
)
