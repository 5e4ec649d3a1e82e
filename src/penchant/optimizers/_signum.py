import equinox as eqx

from penchant._checks import check_number
from penchant._leaves import as_memory
from penchant._types import Parameters, Real, Scalar
from penchant.norms import Linf
from penchant.optimizers._base import AbstractOptimizer
from penchant.optimizers._character import Character
from penchant.optimizers._moments import FirstMoment
from penchant.optimizers._steepest_descent import SteepestDescent
from penchant.problems import ScaledGradient


class Signum(AbstractOptimizer):
    r"""$m\leftarrow\beta_1m+(1-\beta_1)g$, $w\leftarrow w-\eta\,\mathrm{sign}(m)$.

    `bernstein2018signsgd`.

    Args:
        b1: Momentum, in [0, 1).

    Raises:
        ValueError: If `b1` is outside [0, 1).
    """

    b1: Real = eqx.field(default=0.9, converter=as_memory)

    def __check_init__(self):
        check_number("b1", self.b1, least=0.0, below=1.0)

    def init(self, w: Parameters) -> FirstMoment | None:
        return SteepestDescent(Linf(), self.b1).init(w)

    def character(self) -> Character:
        return SteepestDescent(Linf(), self.b1).character()

    def update(
        self,
        gradient: ScaledGradient,
        state: FirstMoment | None,
        w: Parameters,
        step_size: Scalar,
    ) -> tuple[Parameters, FirstMoment | None]:
        return SteepestDescent(Linf(), self.b1).update(gradient, state, w, step_size)
