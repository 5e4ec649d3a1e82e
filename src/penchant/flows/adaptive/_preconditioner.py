"""What divides the gradient in the flow of each adaptive method."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from penchant._types import Scalar
from penchant.norms import L2
from penchant.optimizers import AbstractOptimizer, Divisor
from penchant.problems import AbstractClassification

Flat = Float[Array, " p"]


class Preconditioner(eqx.Module):
    r"""The $h$ of a flow $\dot w=-\eta\,h\odot g$, from a rule's character.

    `second` is what divides: nothing (None, $h$ constant), the sum of $g^2$, or its
    running mean. `gain` multiplies the step: momentum $\mu$ makes it $1/(1-\mu)$.
    """

    second: Divisor | None
    gain: Scalar

    @classmethod
    def of(cls, optimizer: AbstractOptimizer) -> "Preconditioner":
        """That of an optimizer.

        Raises:
            TypeError: If no adaptive flow describes it.
        """
        what = optimizer.character()
        one = jnp.ones(())
        if what.adaptive is not None and not what.decays:
            return cls(what.adaptive, one)
        plain = what.steepest and not what.normalised and what.second is None
        if (
            plain
            and what.steps is not None
            and what.steps.same(L2())
            and not (what.decays)
        ):
            summed = what.first is not None and what.first.kind == "sum"
            return cls(None, 1.0 / (1.0 - jnp.asarray(what.b1)) if summed else one)
        raise TypeError(
            "optimizer must be GradientDescent, AdaGrad, RMSProp or Adam, or a rule "
            "whose character is like theirs, for an adaptive flow; got "
            f"{type(optimizer).__name__}: {what!r}."
        )

    @classmethod
    def describes(cls, optimizer: AbstractOptimizer) -> bool:
        """Whether there is a flow of this optimizer."""
        try:
            cls.of(optimizer)
        except TypeError:
            return False
        return True

    @property
    def fades(self) -> bool:
        """Whether the memory is a running mean."""
        return self.second is not None and self.second.kind == "mean"

    @property
    def sums(self) -> bool:
        """Whether the memory is a sum."""
        return self.second is not None and self.second.kind == "sum"

    @property
    def rate(self) -> Scalar:
        r"""$1-\beta_2$; 0 where nothing fades."""
        if self.second is None or not self.fades:
            return jnp.zeros(())
        return 1.0 - jnp.asarray(self.second.decay)

    def log_below(self, log_v: Array, log_time: Array) -> Array:
        r"""$-\log h$ at a memory, entry by entry; $-\infty$ where nothing divides."""
        if self.second is None:
            return jnp.zeros_like(log_v)
        return self.second.log_below(log_v, log_time)

    def h(
        self, log_v: Flat, G: Flat, log_loss: Scalar, log_time: Scalar
    ) -> tuple[Flat, Scalar]:
        r"""$h$ as entries in [0, 1] times $e^{-S}$, and $S$.

        $G=g/\mathcal L$. A coordinate without gradient, now and before, has $h=0$; one
        whose memory is empty yet moves as signs do: the limit of its first instants.
        """
        log_below = self.log_below(log_v, log_time)
        first = jnp.log(jnp.abs(G)) + log_loss
        log_below = jnp.where(jnp.isneginf(log_below), first, log_below)
        alive = ~jnp.isneginf(log_below)
        S = jnp.min(jnp.where(alive, log_below, jnp.inf))
        return jnp.where(alive, jnp.exp(S - log_below), 0.0), S


def log_memory(
    problem: AbstractClassification, optimizer: AbstractOptimizer, state: object
) -> np.ndarray:
    r"""$\log v$ from the state of an optimizer, flattened; $-\infty$ where it is 0."""
    log_v = optimizer.log_second(state)
    if log_v is None:
        return np.full(problem.parameters, -np.inf)
    return np.asarray(problem.flat(log_v))
