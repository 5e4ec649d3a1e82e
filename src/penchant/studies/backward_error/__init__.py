"""Cattaneo, Klusowski, Shigida (2024) and after: what finite steps add to a loss."""

from penchant.studies._catalogue import CATALOGUE
from penchant.studies._study import Experiment, Study
from penchant.studies.backward_error._batches import batches as batches
from penchant.studies.backward_error._edge import edge as edge
from penchant.studies.backward_error._memory import memory as memory
from penchant.studies.backward_error._orders import orders as orders, single as single
from penchant.studies.backward_error._toy import (
    bilinear as bilinear,
    equilibrium as equilibrium,
    integral as integral,
)
from penchant.studies.backward_error._u_curve import u_curve as u_curve
from penchant.studies.backward_error._validity import validity as validity

STUDY = Study(
    *CATALOGUE["backward-error"],
    {
        "integral": Experiment(
            integral,
            "Figure 1 (2024): the penalty on one parameter",
            "Curves bend down where β₂ is above β₁: large gradients are not penalised.",
        ),
        "toy": Experiment(
            bilinear,
            "Figures 2 and 3 (2024): a bilinear model",
            "The one-norm moves as foretold, by little: nothing comes near the "
            "flattest minimiser.",
        ),
        "equilibrium": Experiment(
            equilibrium,
            "A rest that is no minimum",
            "The corrected flow stops where the gradient equals its correction.",
        ),
        "orders": Experiment(
            orders,
            "Orders of accuracy",
            "Plain flows fall with slope 1, corrected ones with slope 2.",
        ),
        "single": Experiment(
            single,
            "Single precision hides the effect",
            "The drift grows to the size of what is to be seen.",
        ),
        "memory": Experiment(
            memory,
            "Figure 1 (2025): a network against its memoryless map",
            "The corrected map stays closer, by an order where it is valid.",
            takes_data=True,
        ),
        "edge": Experiment(
            edge,
            "Figures 5 and 6 (2025): the edge of stability",
            "With β₁ = .9 the sharpness comes to the line.",
        ),
        "u-curve": Experiment(
            u_curve,
            "The one-norm at matched loss over both decays",
            "Right of the minimum it is bias, left of it oscillation.",
        ),
        "batches": Experiment(
            batches,
            "Mini-batches, by Monte Carlo",
            "Small batches pull the term towards a penalty.",
        ),
        "validity": Experiment(
            validity,
            "A small transformer: is it valid at all?",
            "At usual step sizes it is not; the first moment's part is sooner.",
        ),
    },
)
