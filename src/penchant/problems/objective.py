"""Any training loss: a function of parameters and a batch, one number a sample."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from penchant._arrays import plain
from penchant._types import Parameters, Scalar, Tree
from penchant.problems._base import AbstractProblem, Rows, RowWeights, read_params
from penchant.problems._scaled_gradient import ScaledGradient
from penchant.problems._tracing import shape_of

NO_GRADIENT = -708.0
"""Log scale of a gradient that is 0: below that of any other."""

PLAIN = 1e-60
"""Largest entry from which a gradient needs no scale: its square is far from 0."""

FIXED = 0
"""Seed of the key at which a loss is recorded that can't do without one."""


class AbstractObjective(AbstractProblem):
    r"""A loss that is a mean over samples, with nothing known of its form.

    Losses and gradients are by value, then scaled: they reach down to $10^{-300}$, and
    optimizers, whose moments have frames of their own, square them freely.
    """

    params: eqx.AbstractVar[Parameters]
    data: eqx.AbstractVar[Any]

    @abc.abstractmethod
    def losses_of(
        self, w: Parameters, batch: Tree, key: PRNGKeyArray | None
    ) -> Float[Array, " b"]:
        """One loss for each sample of a batch."""

    @property
    def samples(self) -> int:
        return int(jax.tree.leaves(self.data)[0].shape[0])

    @property
    def start(self) -> Parameters:
        """`params`."""
        return self.params

    def batch(self, rows: Rows = None) -> Any:
        """The data of some rows, or all of them."""
        if rows is None:
            return self.data
        return jax.tree.map(lambda x: x[rows], self.data)

    def losses(
        self, w: Parameters, rows: Rows = None, key: PRNGKeyArray | None = None
    ) -> Float[Array, " b"]:
        """One loss a sample, `(n,)`, or a row, `(b,)`."""
        return self.losses_of(w, self.batch(rows), self.key_or_default(key))

    def loss(self, w: Parameters, key: PRNGKeyArray | None = None) -> Scalar:
        """The mean loss over all samples; what is recorded where `key` is None."""
        return jnp.mean(self.losses(w, None, key))

    def log_loss(self, w: Parameters) -> Scalar:
        """The logarithm of `loss`; NaN where that is negative."""
        return jnp.log(self.loss(w))

    def recorded(self, w: Parameters) -> Scalar:
        return self.loss(w)

    def batch_loss(
        self,
        w: Parameters,
        rows: Rows = None,
        row_weights: RowWeights = None,
        key: PRNGKeyArray | None = None,
    ) -> Scalar:
        losses = self.losses(w, rows, key)
        if row_weights is None:
            return jnp.mean(losses)
        return jnp.sum(losses * row_weights)

    def scaled_gradient(
        self,
        w: Parameters,
        rows: Rows = None,
        row_weights: RowWeights = None,
        key: PRNGKeyArray | None = None,
    ) -> ScaledGradient:
        g = jax.grad(self.batch_loss)(w, rows, row_weights, key)
        largest = jnp.max(
            jnp.stack([jnp.max(jnp.abs(x), initial=0.0) for x in jax.tree.leaves(g)])
        )
        # gradients whose squares are plain numbers stay as they are, to the last bit
        usual = (largest > PLAIN) & (largest < 1.0 / PLAIN)
        some = largest > 0
        scale = jnp.where(some & ~usual, largest, 1.0)
        log_scale = jnp.where(some, jnp.log(scale), NO_GRADIENT)
        return ScaledGradient(jax.tree.map(lambda x: x / scale, g), log_scale)

    def key_or_default(self, key: PRNGKeyArray | None) -> PRNGKeyArray | None:
        """The key given, or what the loss is recorded at."""
        return key

    def identity(self, w: Parameters) -> Any:
        keyed = jax.random.key(FIXED) if self.random else None
        return self.params, self.data, self.losses(w, None, keyed)


class Objective(AbstractObjective):
    r"""Any training loss, $\mathcal L(w)=\frac1n\sum_i\ell_i(w)$, in float64.

    With `random=True` losses get a key as well, and draw something fresh at every step:
    label noise, dropout, augmentation. The key of step `t` is
    `jax.random.fold_in(key, t)` with the key of the run, the same for the same seed;
    the order of samples draws from a key of its own. Recorded is the loss at `key=None`
    where `losses` takes that, else at one fixed key; `about` says which.

    >>> import jax.numpy as jnp
    >>> import penchant as pn
    >>> def losses(w, batch):
    ...     x, y = batch
    ...     return (x @ w - y) ** 2
    >>> x, y = jnp.eye(3), jnp.array([1.0, 2.0, 3.0])
    >>> problem = pn.Objective(losses, jnp.zeros(3), (x, y))
    >>> run = pn.train(problem, pn.optimizers.GradientDescent(), steps=200, step_size=1)
    >>> bool(run.loss[-1] < 1e-30)
    True

    Args:
        losses: `losses(params, batch) -> (b,)`, or `losses(params, batch, key)` if
            `random`; a pure JAX function, defined once, since a run compiles anew for
            every new one.
        params: Parameters from which runs start unless told otherwise.
        data: Any pytree of arrays with the samples along axis 0; a batch is the same
            pytree with some of the samples. Floating-point numbers become float64.
        random: Whether `losses` takes a key.

    Raises:
        TypeError: If an argument is of the wrong kind, or JAX can't trace `losses`.
        ValueError: If samples disagree in number, `losses` does not return one number
            a sample, or one at the start is NaN or infinite.
    """

    losses_function: Callable[..., Any] = eqx.field(static=True)
    params: Parameters
    data: Any
    random: bool = eqx.field(static=True)
    takes_none: bool = eqx.field(static=True)

    def __init__(
        self,
        losses: Callable[..., Any],
        params: Tree,
        data: Tree,
        *,
        random: bool = False,
    ):
        if not callable(losses):
            raise TypeError(
                "losses must be a function of parameters and a batch; "
                f"got {type(losses).__name__}."
            )
        if not isinstance(random, bool):
            raise TypeError(f"random must be True or False; got {random!r}.")
        self.losses_function = losses
        self.params = read_params(params)
        self.data = read_data(data)
        self.random = random
        self.takes_none = random and _takes_none(losses, self.params, self.data)
        keys = (None if self.takes_none else jax.random.key(FIXED),) if random else ()
        shape = shape_of("losses", losses, self.params, self.data, *keys)
        check_losses("losses", shape, self.samples)
        check_start("losses", self.losses(self.params))

    def losses_of(
        self, w: Parameters, batch: Tree, key: PRNGKeyArray | None
    ) -> Float[Array, " b"]:
        arguments = (w, batch, key) if self.random else (w, batch)
        return jnp.asarray(self.losses_function(*arguments), dtype=float)

    def key_or_default(self, key: PRNGKeyArray | None) -> PRNGKeyArray | None:
        if key is None and self.random and not self.takes_none:
            return jax.random.key(FIXED)
        return key

    @property
    def about(self) -> str:
        if not self.random:
            return "the mean over the samples"
        how = "without noise (key=None)" if self.takes_none else "at one fixed key"
        return f"the mean over the samples, {how}"

    def __repr__(self) -> str:
        name = getattr(self.losses_function, "__name__", "losses")
        kind = ", random" if self.random else ""
        return f"Objective({name}, n={self.samples}, p={self.parameters}{kind})"


def read_data(data: Tree) -> Any:
    """A pytree of arrays with one number of samples along axis 0.

    Raises:
        TypeError: If a leaf is no array of numbers.
        ValueError: If there is none, or lengths differ.
    """
    leaves, structure = jax.tree.flatten(data)
    if not leaves:
        raise ValueError("data must hold at least one array; got none.")
    arrays = []
    for leaf in leaves:
        leaf = plain("data", leaf)
        try:
            array = jnp.asarray(leaf)
        except (TypeError, ValueError):
            raise TypeError(
                f"data must be a pytree of arrays; got a leaf of {type(leaf).__name__}."
            ) from None
        if array.ndim == 0:
            raise ValueError(
                "data must have the samples along axis 0 of every array; got a number."
            )
        floats = jnp.issubdtype(array.dtype, jnp.floating)
        arrays.append(array.astype(float) if floats else array)
    lengths = sorted({array.shape[0] for array in arrays})
    if len(lengths) > 1 or lengths[0] == 0:
        raise ValueError(
            "data must have one number of samples, at least one, along axis 0 of every "
            f"array; got {', '.join(map(str, lengths))}."
        )
    return jax.tree.unflatten(structure, arrays)


def check_losses(name: str, shape: Any, samples: int) -> None:
    """Refuse a function that does not return one real number a sample.

    Raises:
        TypeError: If it returns no array.
        ValueError: If the shape is another.
    """
    if not hasattr(shape, "shape") or not jnp.issubdtype(shape.dtype, jnp.floating):
        seen = getattr(shape, "dtype", type(shape).__name__)
        raise TypeError(f"{name} must return an array of real numbers; got {seen}.")
    if tuple(shape.shape) != (samples,):
        raise ValueError(
            f"{name} must return one number a sample, shape ({samples},); got "
            f"{tuple(shape.shape)}. The mean is taken here."
        )


def check_start(name: str, losses: Any) -> None:
    """Refuse losses that are not finite before the first step.

    Raises:
        ValueError: If one is NaN or infinite.
    """
    seen = np.asarray(losses)
    bad = np.flatnonzero(~np.isfinite(seen))
    if bad.size:
        raise ValueError(
            f"{name} must be finite at the start; {bad.size} of {seen.size} are not, "
            f"the first that of sample {bad[0]}: {seen[bad[0]]}."
        )


def _takes_none(losses: Callable[..., Any], params: Tree, data: Tree) -> bool:
    """Whether losses can be had without noise."""
    try:
        jax.eval_shape(lambda w, batch: losses(w, batch, None), params, data)
    except Exception:  # noqa: BLE001 - whatever a function of the user's raises at None
        return False
    return True
