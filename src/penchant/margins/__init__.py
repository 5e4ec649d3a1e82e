"""Margins, the largest margin in a norm, and certificates for both."""

from penchant.margins import geometry as geometry, gradients as gradients
from penchant.margins._certificate import (
    Certificate as Certificate,
    certify as certify,
    run_bounds as run_bounds,
)
from penchant.margins._kkt import KKT as KKT, kkt as kkt
from penchant.margins._max_margin import (
    AbstractSolver as AbstractSolver,
    Attempt as Attempt,
    Exact as Exact,
    FirstOrder as FirstOrder,
    LooseMarginWarning as LooseMarginWarning,
    MaxMargin as MaxMargin,
    find_max_margin as find_max_margin,
    is_exact as is_exact,
    max_margin as max_margin,
    newton_rows as newton_rows,
    promised_gap as promised_gap,
)
from penchant.margins._normalized import (
    normalized_margin as normalized_margin,
    smoothed_margin as smoothed_margin,
)
from penchant.margins._separability import (
    NoMarginError as NoMarginError,
    NotSeparableError as NotSeparableError,
    NotSeparatedError as NotSeparatedError,
    UndecidedError as UndecidedError,
)
from penchant.margins._uniqueness import is_unique as is_unique
