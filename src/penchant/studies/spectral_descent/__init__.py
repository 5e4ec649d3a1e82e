"""Fan, Schmidt, Thrampoulidis (2025): which margin each descent method reaches."""

from penchant.studies._catalogue import CATALOGUE
from penchant.studies._study import Experiment, Study
from penchant.studies.spectral_descent._batches import batches as batches
from penchant.studies.spectral_descent._frameworks import (
    both_installed,
    frameworks as frameworks,
)
from penchant.studies.spectral_descent._geometries import (
    closed_forms as closed_forms,
    geometries as geometries,
)
from penchant.studies.spectral_descent._margins import (
    correlations as correlations,
    margin_ratios as margin_ratios,
)
from penchant.studies.spectral_descent._memories import memories as memories
from penchant.studies.spectral_descent._network import network as network
from penchant.studies.spectral_descent._polars import polars as polars
from penchant.studies.spectral_descent._rates import bounds as bounds, rates as rates

_FIGURES = {
    "margins": Experiment(
        margin_ratios,
        "Figure 1: margins of each method in three norms",
        "In each picture the lowest curve is the method whose steps are steepest "
        "in that "
        "norm; the others level off.",
    ),
    "correlations": Experiment(
        correlations,
        "Figure 2: cosines with three solutions",
        "Cosines with the ℓ2 and the spectral solution are close for every method: "
        "they "
        "tell methods apart much less than shares of the margin do.",
    ),
    "network": Experiment(
        network,
        "Figure 3: a network with one hidden layer",
        "With both layers trained spectral descent ends with the largest "
        "margin over the spectral norm; with the first alone all stay near 0.",
        takes_data=True,
    ),
    "geometries": Experiment(
        geometries,
        "Largest margins in nine norms",
        "Each curve falls towards 0: steepest descent in a norm heads for the largest "
        "margin in it.",
    ),
    "closed-forms": Experiment(
        closed_forms, "Margins known in closed form", "The solver against formulas."
    ),
    "bounds": Experiment(
        bounds,
        "What is proved along a run",
        "With the paper's constants the bound is negative and says nothing; "
        "with sharper ones it is a part of the margin reached.",
    ),
    "rates": Experiment(
        rates,
        "How fast gaps fall, by step sizes",
        "The slower steps fall, the faster the gap does in the end; the "
        "deficit, in the second pictures, levels off.",
    ),
    "polars": Experiment(
        polars,
        "What practical Muon maximises",
        "Newton–Schulz stops short of the spectral margin where the exact "
        "factor and Polar Express go on.",
    ),
    "memories": Experiment(
        memories,
        "Adam and Shampoo: how long a memory hides the geometry",
        "The longer the memory, the lower the share of the margin after as many steps.",
    ),
    "batches": Experiment(
        batches,
        "Batch size against momentum",
        "Without memory, on the left, single samples end below 0, not separated; "
        "with a "
        "memory of many epochs, on the right, they reach what full batches do.",
    ),
}

if both_installed():
    _FIGURES["frameworks"] = Experiment(
        frameworks,
        "Muon of optax and of torch beside ours",
        "The same shares by three implementations.",
    )

STUDY = Study(
    *CATALOGUE["spectral-descent"],
    _FIGURES,
)
