import equinox as eqx
import jax
import jax.numpy as jnp

from penchant._checks import check_instance, check_number
from penchant._leaves import as_leaf
from penchant._types import Parameters, Real, Scalar
from penchant.optimizers._adam import Adam
from penchant.optimizers._base import AbstractOptimizer, Loss, State
from penchant.optimizers._character import Character
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
        check_number("decay", self.decay, least=0.0, finite=True)

    @property
    def needs_loss(self) -> bool:
        return self.rule.needs_loss

    def init(self, w: Parameters) -> State:
        return self.rule.init(w)

    def character(self) -> Character:
        return self.rule.character().with_decay(self.decay)

    def log_second(self, state: State) -> Parameters | None:
        return self.rule.log_second(state)

    def update(
        self,
        gradient: ScaledGradient,
        state: State,
        w: Parameters,
        step_size: Scalar,
        **loss: Loss,
    ) -> tuple[Parameters, State]:
        moved, state = self.rule.update(gradient, state, w, step_size, **loss)
        shrink = jnp.asarray(step_size) * self.decay
        return jax.tree.map(lambda v, w: v - shrink * w, moved, w), state


def AdamW(
    b1: Real = 0.9,
    b2: Real = 0.999,
    eps: Real = 1e-8,
    weight_decay: Real = 0.01,
    *,
    eps_inside: bool = False,
    bias_correction: bool = False,
) -> WeightDecay:
    r"""Adam with decoupled decay: `WeightDecay(Adam(b1, b2, eps), weight_decay)`.

    $w\leftarrow(1-\eta\lambda)w-\eta\,m/(\sqrt v+\varepsilon)$
    (`loshchilov2019decoupled`), as torch and optax have it with
    `bias_correction=True`.

    >>> import penchant as pn
    >>> pn.optimizers.AdamW(weight_decay=0.1).character().decays
    True

    Raises:
        ValueError: As for `Adam` and `WeightDecay`.
    """
    rule = Adam(b1, b2, eps, eps_inside, bias_correction)
    return WeightDecay(rule, weight_decay)
