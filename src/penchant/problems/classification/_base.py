"""What every classification problem offers to optimizers, margins and theory."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from penchant._types import Parameters, PerSample, Scalar
from penchant.problems._scaled_gradient import ScaledGradient
from penchant.problems.classification._homogeneity import NotHomogeneousError
from penchant.problems.losses import AbstractLoss

Rows = Int[Array, " b"] | None
RowWeights = Float[Array, " b"] | None
PairMargins = Float[Array, "b c"]


class AbstractClassification(eqx.Module):
    r"""Data, a model with parameters $w$ (any pytree), and a loss of its margins.

    The training loss is the **mean** of the samples' losses, and exists as its
    logarithm only. `degree` is the $L$ with $q_i(\alpha w)=\alpha^Lq_i(w)$ for
    $\alpha>0$: 1 for linear models, None where there is none.
    """

    y: eqx.AbstractVar[Int[Array, " n"]]
    loss: eqx.AbstractVar[AbstractLoss]
    classes: eqx.AbstractVar[int]

    @property
    def binary(self) -> bool:
        r"""Whether labels are $\pm1$."""
        return self.classes == 0

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
                "directions have margins and limits. This network is not (see "
                "problem.homogeneity)."
            )
        return self.degree

    @property
    @abc.abstractmethod
    def start(self) -> Parameters:
        """The parameters from which a run starts unless told otherwise."""

    @property
    def parameters(self) -> int:
        """How many numbers the parameters hold."""
        return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(self.start))

    @abc.abstractmethod
    def pair_margins(self, w: Parameters, rows: Rows = None) -> PairMargins:
        r"""Margins against each opponent: `(n, 1)`; `(n, k)`, $+\infty$ for $c=y_i$."""

    @abc.abstractmethod
    def scaled_gradient(
        self, w: Parameters, rows: Rows = None, row_weights: RowWeights = None
    ) -> ScaledGradient:
        """The gradient of the mean loss over all samples, or over some `rows`."""

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

    def read(self, w: Any, name: str = "weights") -> Parameters:
        """Parameters in float64, checked against the structure of `start`.

        Raises:
            TypeError: If they are another pytree, or no numbers.
            ValueError: If a shape differs, or an entry is NaN or infinite.
        """
        wanted, structure = jax.tree.flatten(self.start)
        alone = jax.tree_util.treedef_is_leaf(structure)
        given, seen = ([w], structure) if alone else jax.tree.flatten(w)
        if seen != structure:
            raise TypeError(
                f"{name} must be a pytree like the problem's parameters, {structure}; "
                f"got {seen}."
            )
        leaves = []
        for leaf, like in zip(given, wanted, strict=True):
            try:
                array = jnp.asarray(leaf, dtype=float)
            except (TypeError, ValueError):
                raise TypeError(
                    f"{name} must hold arrays of numbers; got {type(leaf).__name__}."
                ) from None
            if array.shape != like.shape:
                raise ValueError(
                    f"{name} must have the shape of the weights, {like.shape}; "
                    f"got {array.shape}."
                )
            if not np.isfinite(np.asarray(array)).all():
                raise ValueError(f"{name} must be finite; got NaN or infinite entries.")
            leaves.append(array)
        return jax.tree.unflatten(structure, leaves)

    def flat(self, w: Parameters) -> Float[Array, " p"]:
        """The parameters as one vector, leaf after leaf."""
        return ravel_pytree(w)[0]

    def unflat(self, v: Float[Array, " p"]) -> Parameters:
        """The inverse of `flat`."""
        return ravel_pytree(self.start)[1](v)
