"""What every classification problem offers to optimizers, margins and theory."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from penchant._types import Parameters, PerSample, Scalar
from penchant.problems._base import AbstractProblem, Rows, RowWeights
from penchant.problems._scaled_gradient import ScaledGradient
from penchant.problems.classification._homogeneity import NotHomogeneousError
from penchant.problems.losses import AbstractLoss

PairMargins = Float[Array, "b c"]


class AbstractClassification(AbstractProblem):
    r"""Data, a model with parameters $w$ (any pytree), and a loss of its margins.

    The training loss is the **mean** of the samples' losses, and exists as its
    logarithm only. `degree` is the $L$ with $q_i(\alpha w)=\alpha^Lq_i(w)$ for
    $\alpha>0$: 1 for linear models, None where there is none.

    A class of one's own needs the five fields below, `degree`, `start` and
    `pair_margins`; gradients follow.

    `binary` problems have labels $\pm1$ and one margin a sample; others `classes` of
    them, 0..k-1, and a margin against each other class. `names` are what labels were
    called, the negative class first; empty where they were numbers.
    """

    in_logs: ClassVar[bool] = True

    y: eqx.AbstractVar[Int[Array, " n"]]
    loss: eqx.AbstractVar[AbstractLoss]
    classes: eqx.AbstractVar[int]
    binary: eqx.AbstractVar[bool]
    names: eqx.AbstractVar[tuple[str, ...]]

    @property
    def samples(self) -> int:
        """The number `n` of samples."""
        return self.y.shape[0]

    @property
    @abc.abstractmethod
    def degree(self) -> float | None:
        """The degree of homogeneity $L$; None where margins have none."""

    def require_degree(self) -> float:
        """The degree of a problem that has one.

        Raises:
            NotHomogeneousError: If it has none.
        """
        if self.degree is None:
            raise NotHomogeneousError(
                "problem must be homogeneous in its parameters: only then do "
                "directions have margins and limits. This one is not (a network's "
                "problem.homogeneity says by how much)."
            )
        return self.degree

    @abc.abstractmethod
    def pair_margins(self, w: Parameters, rows: Rows = None) -> PairMargins:
        r"""Margins against each opponent: `(n, 1)`; `(n, k)`, $+\infty$ for $c=y_i$."""

    def scaled_gradient(
        self,
        w: Parameters,
        rows: Rows = None,
        row_weights: RowWeights = None,
        key: PRNGKeyArray | None = None,
    ) -> ScaledGradient:
        """The gradient of the mean loss, by the slopes of its margins' logarithms.

        Args:
            w: The parameters.
            rows: Indices of a mini-batch; None for all samples.
            row_weights: A factor for each row of the batch in place of one over
                their number, for batches that are padded.
            key: Ignored; nothing here is random.
        """
        margins, back = jax.vjp(lambda w: self.pair_margins(w, rows), w)
        slopes = self.loss.scaled_slopes(margins)
        share = 1.0 / margins.shape[0] if row_weights is None else row_weights[:, None]
        return ScaledGradient(back(-slopes.entries * share)[0], slopes.log_scale)

    def margins(self, w: Parameters) -> PerSample:
        r"""$q_i(w)$, `(n,)`: the least margin of each sample over its opponents."""
        return jnp.min(self.pair_margins(w), axis=1)

    def soft_margins(self, w: Parameters) -> PerSample:
        r"""$q_i^{\rm soft}(w)=-\log\sum_{c\ne y_i}e^{-m_{ic}(w)}$, `(n,)`.

        With two classes $q_i$ itself; with several at most $q_i$, and at least
        $q_i-\log(k-1)$. Cross-entropy is $\log(1+e^{-q^{\rm soft}})$.
        """
        return -jax.nn.logsumexp(-self.pair_margins(w), axis=1)

    def log_losses(self, w: Parameters) -> PerSample:
        """The logarithm of each sample's loss, `(n,)`."""
        return self.loss.log_losses(self.pair_margins(w))

    def log_loss(self, w: Parameters) -> Scalar:
        """The logarithm of the mean loss."""
        return jax.nn.logsumexp(self.log_losses(w)) - jnp.log(float(self.samples))

    def batch_loss(
        self,
        w: Parameters,
        rows: Rows = None,
        row_weights: RowWeights = None,
        key: PRNGKeyArray | None = None,
    ) -> Scalar:
        r"""The mean loss of a batch by value: 0 below $10^{-323}$."""
        losses = jnp.exp(self.loss.log_losses(self.pair_margins(w, rows)))
        if row_weights is None:
            return jnp.mean(losses)
        return jnp.sum(losses * row_weights)

    def recorded(self, w: Parameters) -> Scalar:
        return self.log_loss(w)

    def identity(self, w: Parameters) -> Any:
        return self

    @property
    def about(self) -> str:
        return repr(self.loss)
