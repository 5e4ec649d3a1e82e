import jax
import jax.numpy as jnp

from penchant._types import Parameters, Scalar
from penchant.norms import Linf
from penchant.optimizers._base import AbstractOptimizer
from penchant.optimizers._character import Character
from penchant.optimizers._moments import move
from penchant.problems import ScaledGradient


class SignDescent(AbstractOptimizer):
    r"""$w\leftarrow w-\eta\,\mathrm{sign}(g)$: steepest descent in the max norm."""

    def init(self, w: Parameters) -> None:
        return None

    def character(self) -> Character:
        return Character(Linf(), True, steepest=True)

    def update(
        self, gradient: ScaledGradient, state: None, w: Parameters, step_size: Scalar
    ) -> tuple[Parameters, None]:
        return move(w, jax.tree.map(jnp.sign, gradient.direction), step_size), None
