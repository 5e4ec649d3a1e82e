"""What training asks of any problem."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray

from penchant._arrays import plain
from penchant._checks import is_traced
from penchant._types import Parameters, Scalar, Tree
from penchant.problems._scaled_gradient import ScaledGradient

Rows = Int[Array, " b"] | None
RowWeights = Float[Array, " b"] | None


class AbstractProblem(eqx.Module):
    r"""A loss of parameters $w$ (any pytree): the mean of one number a sample.

    This is what training, sweeps, checkpoints and records ask of a problem, and no
    more: how many samples, where to start, the gradient of a batch's mean loss as a
    direction and a log scale, and the number to record. Classification adds margins.

    `random` problems draw something fresh at every step, and get a key for it: that of
    step `t` is `jax.random.fold_in(key, t)`. `in_logs` says that what is recorded is
    the logarithm of the loss, which then may be $e^{-10^6}$.
    """

    random: ClassVar[bool] = False
    in_logs: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def samples(self) -> int:
        """The number `n` of samples."""

    @property
    @abc.abstractmethod
    def start(self) -> Parameters:
        """The parameters from which a run starts unless told otherwise."""

    @abc.abstractmethod
    def scaled_gradient(
        self,
        w: Parameters,
        rows: Rows = None,
        row_weights: RowWeights = None,
        key: PRNGKeyArray | None = None,
    ) -> ScaledGradient:
        """The gradient of the mean loss over all samples, or over some `rows`.

        Args:
            w: The parameters.
            rows: Indices of a mini-batch; None for all samples.
            row_weights: A factor for each row of the batch in place of one over
                their number, for batches that are padded.
            key: What a random problem draws from.
        """

    def batch_loss(
        self,
        w: Parameters,
        rows: Rows = None,
        row_weights: RowWeights = None,
        key: PRNGKeyArray | None = None,
    ) -> Scalar:
        """The mean loss by value whose gradient `scaled_gradient` is.

        Asked for by rules that need the loss itself, such as line searches. A problem
        that has none trains with all others.
        """
        raise TypeError(
            f"{type(self).__name__} has no loss by value (batch_loss), which this rule "
            "needs."
        )

    @property
    def has_batch_loss(self) -> bool:
        """Whether rules that need the loss can be run."""
        return type(self).batch_loss is not AbstractProblem.batch_loss

    @abc.abstractmethod
    def recorded(self, w: Parameters) -> Scalar:
        """What a run records of the loss over all samples: its log if `in_logs`."""

    @abc.abstractmethod
    def identity(self, w: Parameters) -> Any:
        """Arrays that tell this problem from others, code by what it does at `w`."""

    @property
    def about(self) -> str:
        """The loss in words, as records and checkpoints have it."""
        return "the mean over the samples"

    @property
    def parameters(self) -> int:
        """How many numbers the parameters hold."""
        return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(self.start))

    def gradient(self, w: Parameters, rows: Rows = None) -> Parameters:
        r"""$\nabla\mathcal L(w)$ by value, over all samples or some `rows`.

        0 where it is below $10^{-308}$; `scaled_gradient` has no such floor.
        """
        return self.scaled_gradient(self.read(w, "w"), rows).value()

    def read(self, w: Tree, name: str = "weights") -> Parameters:
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
            taken = plain(name, leaf)
            try:
                if jnp.iscomplexobj(taken):
                    raise TypeError
                array = jnp.asarray(taken, dtype=float)
            except (TypeError, ValueError, OverflowError):
                raise TypeError(
                    f"{name} must hold arrays of numbers; got {type(leaf).__name__}."
                ) from None
            if array.shape != like.shape:
                raise ValueError(
                    f"{name} must have the shape of the weights, {like.shape}; "
                    f"got {array.shape}."
                )
            if not is_traced(array) and not np.isfinite(np.asarray(array)).all():
                raise ValueError(f"{name} must be finite; got NaN or infinite entries.")
            leaves.append(array)
        return jax.tree.unflatten(structure, leaves)

    def flat(self, w: Parameters) -> Float[Array, " p"]:
        """The parameters as one vector, leaf after leaf."""
        return ravel_pytree(w)[0]

    def unflat(self, v: Float[Array, " p"]) -> Parameters:
        """The inverse of `flat`."""
        return ravel_pytree(self.start)[1](v)


def read_params(params: Tree) -> Parameters:
    """A pytree of real arrays in float64.

    Raises:
        TypeError: If a leaf is no real array.
        ValueError: If there is none, or an entry is NaN or infinite.
    """
    leaves, structure = jax.tree.flatten(params)
    if not leaves:
        raise ValueError("params must hold at least one array; got none.")
    odd = [x for x in leaves if not _is_real(x)]
    if odd:
        kind = f" of {odd[0].dtype}" if hasattr(odd[0], "dtype") else ""
        raise TypeError(
            "params must be a pytree of real arrays; got a leaf of type "
            f"{type(odd[0]).__name__}{kind}. For an equinox model: params, static = "
            "eqx.partition(model, eqx.is_inexact_array)."
        )
    arrays = [jnp.asarray(leaf, dtype=float) for leaf in leaves]
    if not all(bool(jnp.isfinite(x).all()) for x in arrays):
        raise ValueError("params must be finite; got NaN or infinite entries.")
    return jax.tree.unflatten(structure, arrays)


def _is_real(leaf: Tree) -> bool:
    """Whether a leaf holds real numbers; truth values and complex ones are none."""
    if not eqx.is_array_like(leaf):
        return False
    kind = jnp.result_type(leaf)
    return jnp.issubdtype(kind, jnp.floating) or jnp.issubdtype(kind, jnp.integer)
