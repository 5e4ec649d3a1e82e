"""Frei, Vardi, Bartlett, Srebro (2023): ReLU networks, accurate and fragile."""

from penchant.studies._catalogue import CATALOGUE
from penchant.studies._study import Experiment, Study
from penchant.studies.robustness._main import (
    kkt as kkt,
    main as main,
    sweeps as sweeps,
    variants as variants,
)
from penchant.studies.robustness._others import (
    published as published,
    reconstruction as reconstruction,
    sphere as sphere,
)
from penchant.studies.robustness._remedies import remedies as remedies

STUDY = Study(
    *CATALOGUE["robustness"],
    {
        "main": Experiment(
            main,
            "A trained network against one written down",
            "The trained one flips where a linear classifier does; the written one has "
            "several times its radius.",
        ),
        "sweeps": Experiment(
            sweeps,
            "Features and clusters",
            "Slopes of one half, up and down: √(d/k) without a constant.",
        ),
        "variants": Experiment(
            variants,
            "Means, noise, heads and balance",
            "All at 1: what bounds in theory hang on does not show.",
        ),
        "kkt": Experiment(
            kkt,
            "How near to a KKT point",
            "With all slopes at kinks the residual falls; without it stays.",
        ),
        "published": Experiment(
            published,
            "Averages of features, in the published setting",
            "Cosines of units with the means of their class, near .447.",
        ),
        "remedies": Experiment(
            remedies,
            "Remedies side by side",
            "Powers of ReLU and finer labels keep the clusters apart, and accuracy up "
            "to the ceiling.",
        ),
        "sphere": Experiment(
            sphere,
            "Points on the sphere, with random labels",
            "One direction flips half of the points near √(d/m).",
        ),
        "reconstruction": Experiment(
            reconstruction,
            "What of the training points is in the weights",
            "Little: sums over a class, and in the plane not the points either.",
        ),
    },
)
