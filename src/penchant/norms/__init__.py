"""Norms, their duals, their steepest directions and the projections on their balls."""

from penchant.norms._base import AbstractNorm as AbstractNorm, Conjugate as Conjugate
from penchant.norms._blockwise import Blockwise as Blockwise
from penchant.norms._entrywise import (
    conjugate_exponent as conjugate_exponent,
    p_norm as p_norm,
    p_project as p_project,
    project_simplex as project_simplex,
)
from penchant.norms._layerwise import Layerwise as Layerwise
from penchant.norms._lp import (
    L1 as L1,
    L2 as L2,
    AbstractLp as AbstractLp,
    Linf as Linf,
    Lp as Lp,
    lp as lp,
)
from penchant.norms._mahalanobis import Mahalanobis as Mahalanobis
from penchant.norms._read import read as read
from penchant.norms._rowwise import (
    AbstractLines as AbstractLines,
    Columnwise as Columnwise,
    Rowwise as Rowwise,
)
from penchant.norms._schatten import (
    AbstractSchatten as AbstractSchatten,
    Frobenius as Frobenius,
    Nuclear as Nuclear,
    Schatten as Schatten,
    Spectral as Spectral,
    schatten as schatten,
)
