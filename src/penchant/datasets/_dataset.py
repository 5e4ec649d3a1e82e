import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from penchant import pages
from penchant._images import read_image
from penchant._types import Numbers
from penchant.datasets._errors import DataError, counted, listing
from penchant.datasets._findings import constant_features, findings
from penchant.problems import LinearClassification, read
from penchant.problems.losses import AbstractLoss, Logistic


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Samples, labels, and what the user called them.

    >>> import numpy as np
    >>> X = np.array([[0.0, 1.0], [2.0, 3.0]])
    >>> data = Dataset(X, np.array([-1, 1]), ("a", "b"), ("no", "yes"), "mine")
    >>> data.standardized().X
    array([[-1., -1.],
           [ 1.,  1.]])

    Args:
        X: `(n, d)` examples, finite float64.
        y: `(n,)` labels: -1 and +1 for two classes, 0..k-1 for `k > 2`; all +1 where
            labels are absorbed in `X`.
        features: The names of the `d` columns.
        classes: The labels as the user wrote them, in the order of `y`'s values (for
            two classes the first is -1, the second +1); empty where absorbed.
        name: Where the data are from.
        notes: What a user must know of them, a sentence each.
        image: The shape of the images that rows of `X` are, flattened: `(h, w)`, with
            colours `(h, w, 3)` or `(3, h, w)`; None where they are none.

    Raises:
        DataError: If shapes, labels and names don't fit together.
    """

    X: Float[np.ndarray, "n d"]
    y: Int[np.ndarray, " n"]
    features: tuple[str, ...]
    classes: tuple[str, ...]
    name: str
    notes: tuple[str, ...] = ()
    image: tuple[int, ...] | None = None

    def __post_init__(self):
        if self.X.ndim != 2 or 0 in self.X.shape:
            raise DataError(
                f"{self.name}: X must have shape (n, d) with at least one row and one "
                f"feature; got shape {self.X.shape}."
            )
        if not np.isfinite(self.X).all():
            raise DataError(f"{self.name}: X must be finite; it has NaN or infinity.")
        n, d = self.X.shape
        if self.y.shape != (n,):
            raise DataError(
                f"{self.name}: y must have shape ({n},), a label a row of X; "
                f"got {self.y.shape}."
            )
        if len(self.features) != d:
            raise DataError(
                f"{self.name}: features must be {d} names, one a column of X; "
                f"got {len(self.features)}."
            )
        try:
            read_image(self.image, d)
        except (TypeError, ValueError) as error:
            raise DataError(f"{self.name}: {error}") from None
        k = len(self.classes)
        wanted = {0: [1], 2: [-1, 1]}.get(k, list(range(k)))
        if k == 1 or np.unique(self.y).tolist() != wanted:
            raise DataError(
                f"{self.name}: y must hold -1 and +1 for two classes, each of 0..k-1 "
                f"for k > 2, and only +1 where classes is empty; got values "
                f"{np.unique(self.y)[:10].tolist()} for {k} classes."
            )

    @property
    def samples(self) -> int:
        """The number `n` of rows."""
        return self.X.shape[0]

    @property
    def labels(self) -> np.ndarray:
        """`(n,)` labels as the user wrote them; +1 where they are absorbed."""
        if not self.classes:
            return self.y
        codes = (self.y + 1) // 2 if len(self.classes) == 2 else self.y
        return np.array(self.classes)[codes]

    @classmethod
    def of(
        cls,
        X: Numbers,
        y: Numbers,
        features: Sequence[str] = (),
        name: str = "data",
        image: tuple[int, ...] | str | None = None,
    ) -> "Dataset":
        """A data set of examples and labels, as the command line would read them.

        Names of a table's columns are kept, labels may be text or numbers.

        >>> data = Dataset.of([[0.0, 1.0], [2.0, 3.0]], ["no", "yes"])
        >>> data.y, data.classes
        (array([-1,  1]), ('no', 'yes'))

        Args:
            X: `(n, d)` examples, or a table with named columns.
            y: `(n,)` labels, or the name of their column in a table.
            features: Names of the columns; x0, x1, … where there are none.
            name: Where the data are from.
            image: The shape of the images that samples are, as `load` takes it.

        Raises:
            TypeError: If X holds no numbers.
            DataError: If shapes, labels and names don't fit together.
            ValueError: If labels can't be used.
        """
        made = read(X, y, image=image)
        assert isinstance(made, LinearClassification)
        examples, codes = np.asarray(made.X), np.asarray(made.y, dtype=np.int64)
        called = tuple(features) or made.features
        return cls(
            examples,
            codes,
            called or tuple(f"x{j}" for j in range(examples.shape[1])),
            made.names or _numbered(codes),
            name,
            tuple(findings(examples, codes, called)) if called else (),
            made.image,
        )

    def problem(
        self,
        loss: AbstractLoss | str = Logistic(),
        bias: bool = False,
        classes: int | None = None,
    ) -> LinearClassification:
        """A linear classifier on these data.

        Args:
            loss: One of `penchant.losses`, or its name.
            bias: Append a feature that is 1.
            classes: 2 asks for two classes as two rows of weights.
        """
        made = read(self, loss=loss, bias=bias, classes=classes)
        assert isinstance(made, LinearClassification)
        return made

    def standardized(self, rows: Numbers | None = None) -> "Dataset":
        """Every feature shifted and scaled to mean 0 and standard deviation 1.

        The deviation is the population's (divided by n). A feature that is constant
        becomes 0. This changes every margin, and which solution each norm prefers.

        Args:
            rows: Numbers of the rows whose mean and deviation are taken, such as
                those to train on; None for all. The others are shifted and scaled by
                the same, so that nothing of them is known to who learns from these.

        Raises:
            DataError: If rows are none of the data.
        """
        some = np.arange(self.samples) if rows is None else np.asarray(rows)
        whole = some.dtype.kind in "iu" and some.ndim == 1 and some.size > 0
        if not whole or some.min() < 0 or some.max() >= self.samples:
            raise DataError(
                f"{self.name}: rows must be whole numbers from 0 to "
                f"{self.samples - 1}, at least one; got {rows!r:.100}."
            )
        # powers of two scale without rounding, so that sums neither overflow nor vanish
        _, exponents = np.frexp(np.abs(self.X).max(axis=0))
        Z = np.ldexp(self.X, -exponents)
        constant = (Z[some[0]] == Z[some]).all(axis=0)
        Z -= Z[some].mean(axis=0)
        # once more: the first mean is rounded at the offset's size
        Z -= Z[some].mean(axis=0)
        deviation = Z[some].std(axis=0)
        Z /= np.where(constant, 1.0, deviation)
        Z[:, constant] = 0.0
        stale = constant_features(self.X, self.features)
        notes = [note for note in self.notes if note not in stale]
        on = "" if rows is None else f", over the {len(some)} rows to train on"
        notes.append(
            f"Standardised: every feature has mean 0 and standard deviation 1{on}."
        )
        if constant.any():
            names = listing(np.array(self.features)[constant].tolist(), write=str)
            notes.append(
                f"{counted(int(constant.sum()), 'constant feature')} ({names}) became "
                "0: no bias is left but the one that bias=True adds."
            )
        return dataclasses.replace(self, X=Z, notes=tuple(notes))

    def plot(self, *, size: tuple[float, float] = (5.0, 3.6), ax: Any = None) -> Any:
        """The samples in the plane of the two largest principal components, by class.

        Two features are drawn as they are.

        Args:
            size: Of a new figure, in inches.
            ax: Draw here instead.
        """
        from penchant import plotting

        Z, names = self.X, self.features
        if Z.shape[1] != 2:
            centred = Z - Z.mean(axis=0)
            _, s, Vt = np.linalg.svd(centred, full_matrices=False)
            Z = np.zeros((len(Z), 2))
            Z[:, : len(Vt[:2])] = centred @ Vt[:2].T
            share = s**2 / max(float((s**2).sum()), 1e-300)
            shares = np.concatenate([share, np.zeros(2)])
            names = tuple(
                f"principal component {i + 1} ({shares[i]:.0%} of the variance)"
                for i in range(2)
            )
        values = np.unique(self.y)
        called = self.classes or tuple(str(value) for value in values)
        points = {
            name: (Z[self.y == value, 0], Z[self.y == value, 1])
            for name, value in zip(called, values, strict=True)
        }
        with plotting.house_style():
            ax = plotting.own_axes(ax, size)
            for i, (name, (x, y)) in enumerate(points.items()):
                hue = plotting.ORDER[i % len(plotting.ORDER)]
                ax.plot(x, y, linestyle="none", marker="o", markersize=3, color=hue)
                ax.plot([], [], linestyle="none", marker="o", color=hue, label=name)
            ax.set_xlabel(names[0])
            ax.set_ylabel(names[1])
            ax.legend(frameon=False, fontsize="small", ncols=1 + len(values) // 12)
        return ax

    def _repr_html_(self) -> str:
        return pages.card(repr(self), " ".join(self.notes), draw=self.plot)

    def __repr__(self) -> str:
        n, d = self.X.shape
        parts = [counted(n, "sample"), counted(d, "feature")]
        parts.append(f"{len(self.classes)} classes" if self.classes else "labels +1")
        notes = f"; {counted(len(self.notes), 'note')}" if self.notes else ""
        return f"Dataset({self.name!r}: {', '.join(parts)}{notes})"


def _numbered(codes: np.ndarray) -> tuple[str, ...]:
    values = np.unique(codes)
    return () if len(values) == 1 else tuple(str(value) for value in values)
