"""State space models: what clean data lead to, and when a few of them undo it."""

from penchant.theory.state_space._constructions import (
    fits_without_generalising as fits_without_generalising,
    pole_invariants as pole_invariants,
    second_pole as second_pole,
    sign_descent_error as sign_descent_error,
)
from penchant.theory.state_space._excitation import (
    Excitation as Excitation,
    excitation as excitation,
)
from penchant.theory.state_space._foretell import (
    EarlyStop as EarlyStop,
    StateSpacePrediction as StateSpacePrediction,
    foretell_state_space as foretell_state_space,
    greedy_share as greedy_share,
)
from penchant.theory.state_space._phases import (
    PhaseDiagram as PhaseDiagram,
    phase_diagram as phase_diagram,
)
