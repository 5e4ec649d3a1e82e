from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from penchant._checks import check_number
from penchant._leaves import as_leaf
from penchant._types import Parameters, Real, Scalar
from penchant.optimizers._base import AbstractOptimizer
from penchant.optimizers._character import Blocks, Character, Divisor, as_memory_of
from penchant.optimizers._moments import adaptive_ratio, correct, move
from penchant.problems import ScaledGradient


class BlockMoments(eqx.Module):
    r"""$m=$ `first` $\cdot e^{S}$ and one $v=$ `second` $\cdot e^{2S}$ a block."""

    first: Parameters
    second: Float[Array, " blocks"]
    log_frame: Scalar
    count: Scalar


class AdamMini(AbstractOptimizer):
    r"""Adam with one second moment a block: $v_B$ is a mean of $g^2$ over $B$.

    $m\leftarrow\beta_1m+(1-\beta_1)g$, $v_B\leftarrow\beta_2v_B+(1-\beta_2)\frac1{|B|}
    \sum_{j\in B}g_j^2$, $w_j\leftarrow w_j-\eta\,m_j/(\sqrt{v_B}+\varepsilon)$
    (`zhang2025adammini`). Blocks of one entry are Adam; one block of all is
    gradient descent whose step is divided by the gradients' root mean square. Near a
    manifold of minimisers, with label noise, it lowers
    $\sum_B\sqrt{|B|\operatorname{tr}H_B}$ (`li2025sharpness`).

    >>> import penchant as pn
    >>> rule = pn.optimizers.AdamMini(blocks=[0, 0, 1])
    >>> rule.character().second.over
    'blocks'

    Args:
        b1: Decay of the first moment, in [0, 1).
        b2: Decay of the second moment, in [0, 1).
        eps: $\varepsilon\ge0$, beside the root.
        blocks: Block numbers, in a pytree shaped like the weights; entries with the
            same number are one block, across arrays too. None: every array is a block,
            which is [`Adalayer`][penchant.optimizers.Adalayer].
        bias_correction: Divide the moments by $1-\beta^t$.

    Raises:
        TypeError: If block numbers are not whole.
        ValueError: If a number is out of its range; in a run, if `blocks` has another
            shape than the weights.
    """

    b1: Real = eqx.field(default=0.9, converter=as_leaf)
    b2: Real = eqx.field(default=0.999, converter=as_leaf)
    eps: Real = eqx.field(default=1e-8, converter=as_leaf)
    blocks: Any = eqx.field(default=None, converter=Blocks.read)
    bias_correction: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        check_number("b1", self.b1, least=0.0, below=1.0)
        check_number("b2", self.b2, least=0.0, below=1.0)
        check_number("eps", self.eps, least=0.0, finite=True)

    def init(self, w: Parameters) -> BlockMoments:
        count = self.blocks.check(w)
        zeros = jax.tree.map(jnp.zeros_like, w)
        return BlockMoments(
            zeros, jnp.zeros(count), jnp.asarray(-jnp.inf), jnp.zeros(())
        )

    def character(self) -> Character:
        first = as_memory_of(self.b1, corrected=self.bias_correction)
        second = Divisor(
            "mean",
            self.b2,
            self.eps,
            corrected=self.bias_correction,
            over="blocks",
            blocks=self.blocks,
        )
        # a step is long in no norm that has a name: each block has its own length
        return Character(None, True, first, second)

    def log_second(self, state: BlockMoments) -> Parameters:
        log_v = jnp.log(state.second) + 2.0 * state.log_frame
        return self.blocks.spread(log_v, state.first)

    def update(
        self,
        gradient: ScaledGradient,
        state: BlockMoments,
        w: Parameters,
        step_size: Scalar,
    ) -> tuple[Parameters, BlockMoments]:
        log_b1, log_b2 = jnp.log(self.b1), jnp.log(self.b2)
        frame = jnp.maximum(state.log_frame + 0.5 * log_b2, gradient.log_scale)
        shift = state.log_frame - frame
        kept1, kept2 = jnp.exp(log_b1 + shift), jnp.exp(log_b2 + 2.0 * shift)
        scale = jnp.exp(gradient.log_scale - frame)
        g = jax.tree.map(lambda d: scale * d, gradient.direction)
        first = jax.tree.map(
            lambda m, g: kept1 * m + (1.0 - self.b1) * g, state.first, g
        )
        squares = jax.tree.map(jnp.square, g)
        second = kept2 * state.second + (1.0 - self.b2) * self.blocks.means(squares)
        state = BlockMoments(first, second, frame, state.count + 1.0)
        m, v = first, self.blocks.spread(second, first)
        if self.bias_correction:
            m = correct(m, self.b1, state.count)
            v = correct(v, self.b2, state.count)
        ratio = adaptive_ratio(m, v, frame, self.eps, False)
        return move(w, ratio, step_size), state


def Adalayer(
    b1: Real = 0.9, b2: Real = 0.999, eps: Real = 1e-8, *, bias_correction: bool = False
) -> AdamMini:
    r"""Adam with one second moment an array: `AdamMini` whose blocks are the layers.

    >>> import penchant as pn
    >>> pn.optimizers.Adalayer(b1=0.8).blocks
    Blocks(one for each array)

    Raises:
        ValueError: As for `AdamMini`.
    """
    return AdamMini(b1, b2, eps, None, bias_correction)
