"""Fan, Schmidt, Thrampoulidis (2025): which margin each descent method reaches."""

from penchant.studies._study import Study
from penchant.studies.spectral_descent._batches import batches as batches
from penchant.studies.spectral_descent._geometries import (
    closed_forms as closed_forms,
    geometries as geometries,
)
from penchant.studies.spectral_descent._margins import (
    correlations as correlations,
    margin_ratios as margin_ratios,
)
from penchant.studies.spectral_descent._network import network as network
from penchant.studies.spectral_descent._polars import (
    both_installed,
    frameworks as frameworks,
    memories as memories,
    polars as polars,
)
from penchant.studies.spectral_descent._rates import bounds as bounds, rates as rates

_FIGURES = {
    "margins": margin_ratios,
    "correlations": correlations,
    "network": network,
    "geometries": geometries,
    "closed-forms": closed_forms,
    "bounds": bounds,
    "rates": rates,
    "polars": polars,
    "memories": memories,
    "batches": batches,
}

STUDY = Study(
    "spectral-descent",
    "fan2025spectral",
    "Fan, Schmidt, Thrampoulidis (2025)",
    "normalised descent in many norms, the margins it reaches, how fast, and what "
    "practical Muon maximises",
    {**_FIGURES, "frameworks": frameworks} if both_installed() else _FIGURES,
    reads=("network",),
)
