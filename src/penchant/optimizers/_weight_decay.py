import equinox as eqx
import jax
import jax.numpy as jnp

from penchant._checks import check_instance, check_number
from penchant._leaves import as_leaf
from penchant._types import Parameters, Real, Scalar
from penchant.optimizers._base import AbstractOptimizer, State
from penchant.problems import ScaledGradient


class WeightDecay(AbstractOptimizer):
    r"""A rule with decoupled decay: $w\leftarrow(1-\eta\lambda)w-\eta\,d$.

    `loshchilov2019decoupled`. $d$ is the rule's own step, which the decay does not
    enter: `WeightDecay(Adam(), 0.01)` is AdamW. With steps of norm at most one and
    $\eta\lambda\le1$ weights from inside stay in the ball $\|w\|\le1/\lambda$, so the
    end is no maximum margin; `penchant.theory.descent.regularized` computes what it is.

    Args:
        rule: The rule that makes the step.
        decay: $\lambda\ge0$.

    Raises:
        TypeError: If `rule` is no optimizer.
        ValueError: If `decay` is negative.
    """

    rule: AbstractOptimizer
    decay: Real = eqx.field(converter=as_leaf)

    def __check_init__(self):
        check_instance(
            "rule", self.rule, AbstractOptimizer, "one of penchant.optimizers"
        )
        check_number("decay", self.decay, least=0.0)

    def init(self, w: Parameters) -> State:
        return self.rule.init(w)

    def update(
        self, gradient: ScaledGradient, state: State, w: Parameters, step_size: Scalar
    ) -> tuple[Parameters, State]:
        moved, state = self.rule.update(gradient, state, w, step_size)
        shrink = jnp.asarray(step_size) * self.decay
        return jax.tree.map(lambda v, w: v - shrink * w, moved, w), state
