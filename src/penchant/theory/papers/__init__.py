"""What each paper foretells: a module a paper, named by its key in `references.bib`."""

from penchant.theory.papers import (
    baek2026persample as baek2026persample,
    dunn1978conditional as dunn1978conditional,
    fan2025spectral as fan2025spectral,
    gronich2026adam as gronich2026adam,
    gunasekar2018geometry as gunasekar2018geometry,
    lyu2020gradient as lyu2020gradient,
    qian2019adagrad as qian2019adagrad,
    soudry2018implicit as soudry2018implicit,
    wang2021adaptive as wang2021adaptive,
    zhang2024adam as zhang2024adam,
)
