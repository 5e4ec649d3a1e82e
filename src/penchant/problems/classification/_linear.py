from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from penchant._arrays import precision
from penchant._images import read_image
from penchant._types import Examples, Numbers, PerSample, Vector, Weights
from penchant.problems._base import Rows, RowWeights
from penchant.problems._scaled_gradient import ScaledGradient
from penchant.problems.classification._base import (
    AbstractClassification,
)
from penchant.problems.classification._labels import read_examples, read_labels
from penchant.problems.losses import AbstractLoss, Logistic, read as read_loss


class LinearClassification(AbstractClassification):
    r"""A linear classifier under a loss of its margins, averaged over the samples.

    Two classes, $y_i=\pm1$: weights $w\in\mathbb R^d$, margins
    $y_i\langle w,x_i\rangle$. `k` classes, $y_i\in\{0..k-1\}$: weights
    $W\in\mathbb R^{k\times d}$, pairwise margins
    $\langle W_{y_i}-W_c, x_i\rangle$ for $c\neq y_i$. The training loss is the **mean**
    of the samples' losses.

    >>> import penchant as pn
    >>> X = jnp.array([[1.0, 2.0], [3.0, -1.0]])
    >>> exponential = pn.losses.Exponential()
    >>> problem = pn.LinearClassification(X, jnp.array([1, -1]), loss=exponential)
    >>> problem.margins(jnp.array([-1.0, 1.0]))
    Array([1., 4.], dtype=float64)

    Args:
        X: `(n, d)` examples, finite. Converted to float64; `given` remembers the type
            they came in, and `diagnose` says so where it had fewer digits.
        y: `(n,)` labels. Two classes: all in {-1, +1} (one sign alone is fine: it means
            labels are absorbed in `X`), 0 and 1, truth values, or two names, of which
            the first in order is -1. `k` classes: 0..k-1, each present, or names.
        loss: One of `penchant.losses`, or its name; `Logistic()` by default, as on the
            command line.
        bias: Append a feature that is 1, so that weights have `d + 1` columns. The
            bias then counts in every norm as any other weight does.
        classes: 2 asks for two classes in the multi-class form, with weights `(2, d)`,
            whose matrix norms differ from a vector's.
        features: Names of the columns; empty to take those of a table, or none.
        names: What numbered labels were called, the negative class first.
        image: The shape of the images that rows of `X` are, flattened, as `(28, 28)`,
            `"28x28"`, or with colours `(32, 32, 3)` or `(3, 32, 32)`. Nothing but
            pictures depends on it.

    Raises:
        TypeError: If `X` or `y` is not numeric, or `loss` is no loss.
        ValueError: If shapes disagree, a value is NaN or infinite, there is no
            sample or no feature, there is not one name a feature or a class, there is
            no such loss, or the labels are not as above.
    """

    X: Examples
    y: Int[Array, " n"]
    loss: AbstractLoss
    bias: bool = eqx.field(static=True)
    classes: int = eqx.field(static=True)
    binary: bool = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    features: tuple[str, ...] = eqx.field(static=True, repr=False)
    given: str = eqx.field(static=True, repr=False)
    image: tuple[int, ...] | None = eqx.field(static=True, repr=False)

    def __init__(
        self,
        X: Numbers,
        y: Numbers,
        *,
        loss: AbstractLoss | str = Logistic(),
        bias: bool = False,
        classes: int | None = None,
        features: Sequence[str] = (),
        names: Sequence[str] = (),
        image: tuple[int, ...] | str | None = None,
    ):
        examples = read_examples(X, "(n, d)")
        labels = read_labels(y, len(examples), classes)
        loss = read_loss(loss)
        columns = tuple(map(str, features or getattr(X, "columns", ())))
        called = tuple(map(str, names)) or labels.names
        _check_names("features", columns, examples.shape[1], "a column of X")
        _check_names("names", called, labels.classes, "a class")
        self.image = read_image(image, examples.shape[1])
        if bias:
            examples = np.hstack([examples, np.ones((len(examples), 1))])
            columns = (*columns, "bias") if columns else ()
        self.X = jnp.asarray(examples)
        self.y = jnp.asarray(labels.y)
        self.classes, self.binary = labels.classes, labels.binary
        self.names = called
        self.features = columns
        self.loss = loss
        self.bias = bias
        self.given = precision(X)

    def __repr__(self) -> str:
        n, d = self.X.shape
        kind = "two classes" if self.binary else f"k={self.classes}"
        bias = ", with a bias" if self.bias else ""
        return f"LinearClassification(n={n}, d={d}, {kind}, {self.loss!r}{bias})"

    @property
    def degree(self) -> float:
        """1: margins are linear in the weights."""
        return 1.0

    @property
    def start(self) -> Weights:
        """Zeros."""
        return jnp.zeros(self.weight_shape)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """The shape of the weights: `(d,)` or `(k, d)`."""
        d = self.X.shape[1]
        return (d,) if self.binary else (self.classes, d)

    def take(self, rows: Numbers) -> "LinearClassification":
        """The same classifier on some of the samples, in the order of `rows`.

        >>> import penchant as pn
        >>> pn.datasets.digits(("3", "8")).problem().take([5, 2]).samples
        2

        Raises:
            TypeError: If rows are no whole numbers.
            ValueError: If there is none, or one is not that of a sample.
        """
        chosen = np.asarray(rows)
        if chosen.dtype.kind not in "iu" or chosen.ndim != 1:
            raise TypeError(f"rows must be whole numbers; got {rows!r:.100}.")
        n = self.samples
        if not chosen.size or chosen.min() < 0 or chosen.max() >= n:
            raise ValueError(
                f"rows must be at least one number, each from 0 to {n - 1}; got "
                f"{rows!r:.100}."
            )
        parts = lambda problem: (problem.X, problem.y)
        return eqx.tree_at(parts, self, (self.X[chosen], self.y[chosen]))

    def classify(self, w: Weights) -> Int[Array, " n"]:
        """What weights say of every sample, in the numbers of `y`.

        Where they can't tell, 0 on the boundary of two classes, -1 where several rows
        of weights have the largest score: no label, so such a sample counts as wrong.

        >>> problem = LinearClassification([[1.0], [-2.0], [0.0]], [1, -1, 1])
        >>> problem.classify(jnp.array([3.0]))
        Array([ 1, -1,  0], dtype=int32)
        """
        # lengths change nothing, and large ones would overflow
        w = jnp.ldexp(w, -jnp.frexp(jnp.max(jnp.abs(w)))[1])
        if self.binary:
            return jnp.sign(_scores(self.X, w)).astype(self.y.dtype)
        Z = self.X @ w.T
        best = jnp.argmax(Z, axis=1).astype(self.y.dtype)
        tied = jnp.sum(jnp.max(Z, axis=1, keepdims=True) == Z, axis=1) > 1
        return jnp.where(tied, jnp.asarray(-1, self.y.dtype), best)

    def pair_margins(self, w: Weights, rows: Rows = None) -> Float[Array, "b c"]:
        r"""Margins against each opponent: `(n, 1)`; `(n, k)`, $+\infty$ for $c=y_i$."""
        X, y = self._take(rows)
        if self.binary:
            return (y.astype(X.dtype) * _scores(X, w))[:, None]
        Z = w @ X.T  # (k, b): classes first, so that reductions over them are fast
        own = jnp.take_along_axis(Z, y[None, :], axis=0, mode="clip")
        return jnp.where(self._is_own(y), jnp.inf, own - Z).T

    def pull(
        self, q: Float[Array, "b c"], rows: Rows = None, totals: PerSample | None = None
    ) -> Weights:
        r"""$\sum_{ic}q_{ic}\,a_{ic}$ with $a_{ic}$ the gradient of margin $(i,c)$.

        The adjoint of `pair_margins`: $a_i=y_ix_i$, or $(e_{y_i}-e_c)x_i^\top$. With
        several classes `q` must be 0 in the column of a sample's own class; `totals`
        are its row sums, where they are known.
        """
        X, y = self._take(rows)
        if self.binary:
            return _combine(q[:, 0] * y.astype(X.dtype), X)
        if totals is None:
            totals = jnp.sum(q, axis=1)
        return jnp.where(self._is_own(y), totals[None, :], -q.T) @ X

    def scaled_gradient(
        self,
        w: Weights,
        rows: Rows = None,
        row_weights: RowWeights = None,
        key: PRNGKeyArray | None = None,
    ) -> ScaledGradient:
        r"""The gradient of the mean loss over all samples, or over some `rows`.

        Args:
            w: The weights.
            rows: Indices of a mini-batch; None for all samples.
            row_weights: A factor for each row of the batch in place of one over
                their number, for batches that are padded.
            key: Ignored; nothing here is random.
        """
        slopes = self.loss.scaled_slopes(self.pair_margins(w, rows))
        Q, totals = slopes.entries, slopes.totals
        if row_weights is None:
            step = -self.pull(Q, rows, totals) / Q.shape[0]
        else:
            step = -self.pull(Q * row_weights[:, None], rows, totals * row_weights)
        return ScaledGradient(step, slopes.log_scale)

    def _take(self, rows: Rows) -> tuple[Examples, Int[Array, " b"]]:
        if rows is None:
            return self.X, self.y
        return self.X[rows], self.y[rows]

    def _is_own(self, y: Int[Array, " b"]) -> Array:
        return jnp.arange(self.classes, dtype=y.dtype)[:, None] == y[None, :]


def _check_names(argument: str, names: tuple[str, ...], count: int, each: str) -> None:
    if names and len(names) != count:
        raise ValueError(
            f"{argument} must be {count} names, one {each}; got {len(names)}."
        )


def _scores(X: Examples, w: Vector) -> PerSample:
    # a batch of few rows is memory traffic, not a matrix product: the plain sum fuses
    # with what surrounds it
    if X.shape[0] <= 8:
        return jnp.sum(X * w[None, :], axis=1)
    return X @ w


def _combine(q: PerSample, X: Examples) -> Vector:
    if X.shape[0] <= 8:
        return jnp.sum(q[:, None] * X, axis=0)
    return q @ X
