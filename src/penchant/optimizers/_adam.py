import equinox as eqx

from penchant._checks import check_number
from penchant._leaves import as_leaf
from penchant._types import Parameters, Real, Scalar
from penchant.norms import Linf
from penchant.optimizers._base import AbstractOptimizer
from penchant.optimizers._character import Character, Divisor, as_memory_of
from penchant.optimizers._moments import (
    TwoMoments,
    adaptive_ratio,
    correct,
    decay_both,
    move,
    no_moments,
)
from penchant.problems import ScaledGradient


class Adam(AbstractOptimizer):
    r"""Adam: $w\leftarrow w-\eta\,\dfrac{m}{\sqrt v+\varepsilon}$ of `kingma2015adam`.

    $m\leftarrow\beta_1m+(1-\beta_1)g$, $v\leftarrow\beta_2v+(1-\beta_2)g^2$ from 0.
    With $\varepsilon=0$ a coordinate whose gradient was always 0 stays where it is
    ($0/0=0$).

    Args:
        b1: Decay of the first moment, in [0, 1).
        b2: Decay of the second moment, in [0, 1).
        eps: $\varepsilon\ge0$. What it decides is on the concept page "What ε decides".
        eps_inside: $\sqrt{v+\varepsilon}$ in place of $\sqrt v+\varepsilon$. `eps`
            inside acts like `eps ** 0.5` outside.
        bias_correction: Divide the moments by $1-\beta^t$, as the frameworks do and
            the theory does not. It changes the first $1/(1-\beta_2)$ steps.

    Raises:
        ValueError: If a decay is outside [0, 1) or `eps` is negative.
    """

    b1: Real = eqx.field(default=0.9, converter=as_leaf)
    b2: Real = eqx.field(default=0.999, converter=as_leaf)
    eps: Real = eqx.field(default=1e-8, converter=as_leaf)
    eps_inside: bool = eqx.field(default=False, static=True)
    bias_correction: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        check_number("b1", self.b1, least=0.0, below=1.0)
        check_number("b2", self.b2, least=0.0, below=1.0)
        check_number("eps", self.eps, least=0.0, finite=True)

    def init(self, w: Parameters) -> TwoMoments:
        return no_moments(w)

    def character(self) -> Character:
        first = as_memory_of(self.b1, corrected=self.bias_correction)
        second = Divisor(
            "mean", self.b2, self.eps, self.eps_inside, self.bias_correction
        )
        return Character(Linf(), True, first, second)

    def log_second(self, state: TwoMoments) -> Parameters:
        return state.log_second()

    def update(
        self,
        gradient: ScaledGradient,
        state: TwoMoments,
        w: Parameters,
        step_size: Scalar,
    ) -> tuple[Parameters, TwoMoments]:
        state = decay_both(state, gradient, self.b1, self.b2)
        m, v = state.first, state.second
        if self.bias_correction:
            m = correct(m, self.b1, state.count)
            v = correct(v, self.b2, state.count)
        ratio = adaptive_ratio(m, v, state.log_frame, self.eps, self.eps_inside)
        return move(w, ratio, step_size), state
