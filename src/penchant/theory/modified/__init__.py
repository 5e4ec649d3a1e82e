"""What a finite step adds to the loss: which norm, with which sign, and where."""

from penchant.theory.modified._foretell import (
    FiniteStep as FiniteStep,
    StepAt as StepAt,
    foretell_step as foretell_step,
)
from penchant.theory.modified._losses import (
    ModifiedLoss as ModifiedLoss,
    epoch_loss as epoch_loss,
    modified_loss as modified_loss,
)
from penchant.theory.modified._term import (
    AddedTerm as AddedTerm,
    added_term as added_term,
)
