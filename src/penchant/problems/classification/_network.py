import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from penchant._arrays import precision
from penchant._checks import check_number
from penchant._types import Numbers, Parameters, Real
from penchant.problems._base import Rows, RowWeights, read_params
from penchant.problems._scaled_gradient import ScaledGradient
from penchant.problems._tracing import shape_of
from penchant.problems.classification._base import (
    AbstractClassification,
    PairMargins,
)
from penchant.problems.classification._homogeneity import (
    CLOSE,
    Homogeneity,
    NotHomogeneousError,
    measure,
    refuse,
)
from penchant.problems.classification._labels import read_examples, read_labels
from penchant.problems.losses import AbstractLoss, Logistic, read as read_loss


class NetworkClassification(AbstractClassification):
    r"""A classifier `apply(params, X)` of any kind, under a loss of its margins.

    Two classes, $y_i=\pm1$: `apply` returns `(n,)` or `(n, 1)`, and margins are
    $q_i=y_i\Phi(w,x_i)$. `k` classes, or two with an output each: it returns `(n, k)`
    scores, and margins are $\Phi(w,x_i)_{y_i}-\Phi(w,x_i)_c$ for $c\ne y_i$. Parameters
    are any pytree of arrays, as in plain JAX, equinox (`eqx.partition`) or flax
    (`model.apply`).

    What theory says of limits needs a homogeneous network,
    $\Phi(\alpha w,x)=\alpha^L\Phi(w,x)$ for $\alpha>0$. That is measured here, at
    random parameters: `homogeneity` has the degree of the whole and of each layer.
    Networks without a degree can be trained and measured; what needs one says so.

    >>> import penchant as pn
    >>> apply = lambda w, X: jax.nn.relu(X @ w["in"]) @ w["out"]
    >>> w = {"in": jnp.ones((2, 3)), "out": jnp.ones(3)}
    >>> problem = pn.NetworkClassification(
    ...     apply, w, [[1.0, 2.0], [3.0, -1.0]], [1, -1], loss=pn.losses.Logistic()
    ... )
    >>> problem.degree, problem.homogeneity.layers
    (2.0, {'in': 1.0, 'out': 1.0})

    Args:
        apply: A pure function of parameters and a batch of examples. A run compiles
            anew for every new function, so define it once.
        params: Parameters from which runs start unless told otherwise, in float64.
        X: `(n, ...)` examples, finite.
        y: `(n,)` labels, as `LinearClassification` takes them.
        loss: One of `penchant.losses`, or its name.
        degree: A claim of $L$, checked; None to take what is measured.
        classes: 2 asks for two classes as two outputs, `(n, 2)`; None lets the outputs
            say.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If shapes disagree, a value is NaN or infinite, labels are not as
            above, or outputs are all 0 whatever the parameters.
        NotHomogeneousError: If a `degree` is claimed that the network does not have.
    """

    apply: Callable[[Parameters, Any], Any] = eqx.field(static=True)
    params: Parameters
    X: Float[Array, "n ..."]
    y: Int[Array, " n"]
    loss: AbstractLoss
    homogeneity: Homogeneity
    classes: int = eqx.field(static=True)
    binary: bool = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    given: str = eqx.field(static=True, repr=False)

    def __init__(
        self,
        apply: Callable[[Parameters, Any], Any],
        params: Parameters,
        X: Numbers,
        y: Numbers,
        *,
        loss: AbstractLoss | str = Logistic(),
        degree: Real | None = None,
        classes: int | None = None,
    ):
        if not callable(apply):
            raise TypeError(
                "apply must be a function of parameters and examples; "
                f"got {type(apply).__name__}."
            )
        loss = read_loss(loss)
        examples = read_examples(X, "(n, ...)")
        self.apply = apply
        self.params = read_params(params)
        self.X = jnp.asarray(examples)
        labels = read_labels(y, len(examples), classes)
        outputs = shape_of("apply", apply, self.params, self.X)
        n = len(examples)
        if getattr(outputs, "shape", None) == (n, 2) and len(np.unique(labels.y)) == 2:
            labels = read_labels(y, n, 2)  # two outputs ask for two rows
        self.y = jnp.asarray(labels.y)
        self.loss = loss
        self.classes, self.binary = labels.classes, labels.binary
        self.names = labels.names
        self.given = precision(X)
        self._check_outputs(outputs)
        self._check_start()
        found = measure(apply, self.params, self.X)
        if degree is not None:
            check_number("degree", degree, above=0.0)
            if found.degree is None:
                why = refuse(apply, self.params, self.X, found)
                raise NotHomogeneousError(
                    f"degree: the network is not homogeneous; {why}. Leave degree out "
                    "to train it nevertheless."
                )
            if abs(found.degree - degree) > CLOSE:
                raise NotHomogeneousError(
                    f"degree must be {found.degree:g}, by which outputs scale; "
                    f"got {degree:g}."
                )
        self.homogeneity = found

    def __repr__(self) -> str:
        name = getattr(self.apply, "__name__", type(self.apply).__name__)
        kind = "two classes" if self.binary else f"k={self.classes}"
        degree = "none" if self.degree is None else f"{self.degree:g}"
        return (
            f"NetworkClassification({name}, n={self.samples}, p={self.parameters}, "
            f"{kind}, {self.loss!r}, degree {degree})"
        )

    @property
    def degree(self) -> float | None:
        """The degree measured; None for a network that is not homogeneous."""
        return self.homogeneity.degree

    @property
    def start(self) -> Parameters:
        """`params`."""
        return self.params

    def over(
        self, apply: Callable[[Parameters, Any], Any], params: Parameters, X: Array
    ) -> "NetworkClassification":
        """The same labels and loss, with a model that is the same in other coordinates.

        Nothing is measured again: degrees are taken to be those there were.
        """
        made = object.__new__(type(self))
        changed = {"apply": apply, "params": params, "X": X}
        for field in dataclasses.fields(self):
            value = changed.get(field.name, getattr(self, field.name))
            object.__setattr__(made, field.name, value)
        return made

    def identity(self, w: Parameters) -> Any:
        return self, self.scores(w)

    def scores(self, w: Parameters, rows: Rows = None) -> Float[Array, "b c"]:
        """Outputs, `(n, 1)` for two classes or `(n, k)`, in float64."""
        X = self.X if rows is None else self.X[rows]
        out = jnp.asarray(self.apply(w, X), dtype=float)
        return out if out.ndim == 2 else out[:, None]

    def pair_margins(self, w: Parameters, rows: Rows = None) -> PairMargins:
        return self._pair(self.scores(w, rows), rows)

    def scaled_gradient(
        self,
        w: Parameters,
        rows: Rows = None,
        row_weights: RowWeights = None,
        key: PRNGKeyArray | None = None,
    ) -> ScaledGradient:
        Z, back = jax.vjp(lambda w: self.scores(w, rows), w)
        slopes = self.loss.scaled_slopes(self._pair(Z, rows))
        Q, totals = slopes.entries, slopes.totals
        if row_weights is None:
            share = jnp.full(totals.shape, 1.0 / Z.shape[0])
        else:
            share = row_weights
        if self.binary:
            pull = -(Q[:, 0] * share * self._labels(rows).astype(Z.dtype))[:, None]
        else:
            # the true class moves against the sum of the others: nothing is subtracted
            own = self._own(rows)
            pull = jnp.where(own, -totals[:, None], Q) * share[:, None]
        return ScaledGradient(back(pull)[0], slopes.log_scale)

    def _pair(self, Z: Float[Array, "b c"], rows: Rows) -> PairMargins:
        y = self._labels(rows)
        if self.binary:
            return y.astype(Z.dtype)[:, None] * Z
        mine = jnp.take_along_axis(Z, y[:, None], axis=1, mode="clip")
        return jnp.where(self._own(rows), jnp.inf, mine - Z)

    def _labels(self, rows: Rows) -> Int[Array, " b"]:
        return self.y if rows is None else self.y[rows]

    def _own(self, rows: Rows) -> Array:
        y = self._labels(rows)
        return jnp.arange(self.classes, dtype=y.dtype)[None, :] == y[:, None]

    def _check_start(self) -> None:
        scores = np.asarray(self.scores(self.params))
        bad = ~np.isfinite(scores).all(axis=1)
        if bad.any():
            first = int(np.argmax(bad))
            value = scores[first][~np.isfinite(scores[first])][0]
            raise ValueError(
                f"apply(params, X) must be finite at the params given; it is {value} "
                f"for {int(bad.sum())} of {self.samples} samples, the first in row "
                f"{first}."
            )

    def _check_outputs(self, shape: Any) -> None:
        n = self.samples
        if not hasattr(shape, "shape"):
            raise TypeError(
                f"apply must return one array of scores; got {type(shape).__name__}."
            )
        seen = tuple(shape.shape)
        wanted = ((n,), (n, 1)) if self.binary else ((n, self.classes),)
        if seen not in wanted:
            kind = "two classes" if self.binary else f"{self.classes} classes"
            raise ValueError(
                f"apply must return shape {' or '.join(map(str, wanted))} for {kind} "
                f"and {n} samples; got {seen}."
            )
