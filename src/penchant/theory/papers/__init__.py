"""What each paper foretells: a module a paper, named by its key in `references.bib`."""

from penchant.theory.papers import (
    baek2026persample as baek2026persample,
    fan2025spectral as fan2025spectral,
    gunasekar2018geometry as gunasekar2018geometry,
    soudry2018implicit as soudry2018implicit,
    wang2021adaptive as wang2021adaptive,
    zhang2024adam as zhang2024adam,
)
