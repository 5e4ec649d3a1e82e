"""Wang, Meng, Chen, Liu (2021): margins of adaptive methods on homogeneous networks."""

from penchant.studies._catalogue import CATALOGUE
from penchant.studies._study import Experiment, Study
from penchant.studies.homogeneous_networks._cnn import cnn as cnn
from penchant.studies.homogeneous_networks._crossover import crossover as crossover
from penchant.studies.homogeneous_networks._digits import (
    experiments as experiments,
    loss_based as loss_based,
)
from penchant.studies.homogeneous_networks._invariant import (
    invariant as invariant,
    rates as rates,
)
from penchant.studies.homogeneous_networks._limits import (
    handoff as handoff,
    kkt as kkt,
    limits as limits,
)
from penchant.studies.homogeneous_networks._qian import qian as qian
from penchant.studies.homogeneous_networks._step_sizes import step_sizes as step_sizes
from penchant.studies.homogeneous_networks._toy import toy as toy

STUDY = Study(
    *CATALOGUE["homogeneous-networks"],
    {
        "kkt": Experiment(
            kkt,
            "How far from a KKT point a run is",
            "Residuals fall like a power of the log of the loss, no faster; "
            "AdaGrad's in ℓ2 stays up, where its limit is no KKT point.",
        ),
        "limits": Experiment(
            limits,
            "Limits at infinite time",
            "Directions turn less and less, down to rounding: each curve has arrived.",
        ),
        "handoff": Experiment(
            handoff,
            "Real runs, continued to their limits",
            "Where steps end, and where their flow does, the residual is a tenth "
            "or more; where the tail ends it is rounding.",
        ),
        "qian": Experiment(
            qian,
            "AdaGrad on two samples",
            "Curves end far above their dashed limits: most of the way is still "
            "missing.",
        ),
        "invariant": Experiment(
            invariant,
            "What AdaGrad's flow conserves",
            "The relative change stays at the integrator's tolerance all the way down.",
        ),
        "rates": Experiment(
            rates,
            "The sharp constant of the rate",
            "Curves fall: the constant tends to 1.",
        ),
        "loss-based": Experiment(
            loss_based,
            "Steps in proportion to 1/loss",
            "The margin goes on growing where test accuracy has stopped to.",
            takes_data=True,
        ),
        "experiments": Experiment(
            experiments,
            "Experiments 1 and 3: rules at equal loss",
            "At one loss AdaGrad's margin is the least and a larger ε gives more; "
            "accuracies hardly differ.",
            takes_data=True,
        ),
        "cnn": Experiment(
            cnn,
            "Experiments 1 and 3 with the slides' four layers",
            "At one loss RMSProp and Adam have larger margins than AdaGrad; a larger "
            "ε gives more; accuracies hardly differ.",
            takes_data=True,
        ),
        "toy": Experiment(
            toy,
            "Experiment 2: the preconditioner by the start",
            "AdaGrad's circles are scattered, one direction a start; those of the "
            "other "
            "rules lie on one point.",
        ),
        "crossover": Experiment(
            crossover,
            "When ε takes over",
            "The share of ε rises from 0 to 1 around one step, later the smaller "
            "it is; "
            "from there the angle to ℓ2 falls like 1/x.",
        ),
        "step-sizes": Experiment(
            step_sizes,
            "Without ε, which step sizes lead to ℓ∞",
            "With the same steps, a = .6, RMSProp's gap ends above that of sign "
            "descent, which has no memory.",
        ),
    },
)
