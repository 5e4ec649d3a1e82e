"""Wang, Meng, Chen, Liu (2021): margins of adaptive methods on homogeneous networks."""

from penchant.studies._study import Study
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
    "homogeneous-networks",
    "wang2021adaptive",
    "Wang, Meng, Chen, Liu (2021)",
    "where adaptive methods lead homogeneous networks, certified at infinite time, and "
    "what ε and step sizes decide before",
    {
        "kkt": kkt,
        "limits": limits,
        "handoff": handoff,
        "qian": qian,
        "invariant": invariant,
        "rates": rates,
        "loss-based": loss_based,
        "experiments": experiments,
        "toy": toy,
        "crossover": crossover,
        "step-sizes": step_sizes,
    },
    reads=("loss-based", "experiments"),
)
