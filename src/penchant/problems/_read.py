"""Problems from what people hold: arrays, tables and data sets."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np

from penchant._arrays import plain
from penchant._types import Numbers
from penchant.problems._base import AbstractProblem
from penchant.problems.classification import LinearClassification
from penchant.problems.classification._labels import number_labels
from penchant.problems.losses import AbstractLoss

_ON_OFFER = (
    "a problem, a Dataset, or examples with their labels: X and y, or a table and the "
    "name of its column of labels"
)


class Given(NamedTuple):
    """What a door was handed, sorted: the problem, and what came after it."""

    problem: Any
    rest: tuple[Any, ...]


def read(
    data: object,
    y: Numbers | str | None = None,
    *,
    loss: AbstractLoss | str | None = None,
    bias: bool = False,
    classes: int | None = None,
    image: tuple[int, ...] | str | None = None,
) -> AbstractProblem:
    """A problem itself, a `Dataset`'s, or a linear classifier of examples and labels.

    Labels are taken as the command line takes them: two of any kind are −1 and +1, the
    first in order of numbers or of the alphabet being −1, with one weight a feature;
    more are classes, numbered in that order. `names` of the problem says which is
    which, and `features` keeps the names of a table's columns.

    >>> import penchant as pn
    >>> pn.problems.read([[1.0, 2.0], [3.0, 1.0]], ["spam", "ham"]).names
    ('ham', 'spam')

    Args:
        data: A problem, a `Dataset`, `(n, d)` examples, or a table with named columns,
            such as a DataFrame.
        y: `(n,)` labels of examples; of a table also the name of their column.
        loss: A loss or its name; None for `logistic`.
        bias: Append a feature that is 1.
        classes: 2 asks for two classes as two rows of weights.
        image: The shape of the images that samples are, `(28, 28)` or `"28x28"`.

    Raises:
        TypeError: If it is none of these, or loss, bias or classes come with a problem.
        ValueError: If examples or labels can't be used.
    """
    asked = {"loss": loss, "bias": bias or None, "classes": classes, "image": image}
    extra = [name for name, value in asked.items() if value is not None]
    if isinstance(data, AbstractProblem):
        if extra or y is not None:
            raise TypeError(
                f"{(extra or ['y'])[0]} goes with examples; the problem given, "
                f"{data!r}, has its own."
            )
        return data
    make = functools.partial(
        LinearClassification,
        loss="logistic" if loss is None else loss,
        bias=bias,
        classes=classes,
    )
    if _is_dataset(data):
        if y is not None:
            raise TypeError(f"y goes with examples; {data!r} has its own labels.")
        given: Any = data
        shape = getattr(given, "image", None) if image is None else image
        return make(
            given.X, given.y, features=given.features, names=given.classes, image=shape
        )
    if isinstance(data, (str, bytes)) or hasattr(data, "__fspath__"):
        raise TypeError(
            f"problem must be {_ON_OFFER}; got {data!r}, text. A file is read by "
            "penchant.datasets.load(...)."
        )
    if y is None:
        raise TypeError(
            f"problem must be {_ON_OFFER}; got {type(data).__name__} and no labels."
        )
    if isinstance(y, eqx.Module):  # a rule, a norm: the next argument
        raise TypeError(
            f"problem must be {_ON_OFFER}; got {type(data).__name__} and, where labels "
            f"belong, {y!r:.100}."
        )
    X, labels, features = _columns(data, y)
    codes, names = number_labels(labels)
    return make(X, codes, features=features, names=names, image=image)


def sort_out(data: object, given: Sequence[object], **options: Any) -> Given:
    """The problem of a door's first arguments, `(problem, …)` or `(X, y, …)`."""
    if isinstance(data, AbstractProblem) or _is_dataset(data):
        return Given(read(data, **options), tuple(given))
    y, *rest = given or (None,)
    return Given(read(data, y, **options), tuple(rest))  # type: ignore[arg-type]


def of_dataset(data: object) -> Any:
    """The problem of a `Dataset`; anything else as it came."""
    return read(data) if _is_dataset(data) else data


def _is_dataset(data: object) -> bool:
    return all(hasattr(data, name) for name in ("X", "y", "features", "classes"))


def _columns(data: Any, y: Any) -> tuple[Any, Any, tuple[str, ...]]:
    """Examples, labels, and the names of the columns where there are any."""
    columns = getattr(data, "columns", None)
    if columns is None:
        if isinstance(y, str):
            raise TypeError(
                f"y must be labels, one a row of X; got {y!r}, and only a table with "
                "named columns has a column of that name."
            )
        return data, y, ()
    if isinstance(y, str):
        if y not in list(columns):
            raise ValueError(
                f"y names the column of labels, and {y!r} is none; columns: "
                f"{', '.join(map(str, columns))}."
            )
        data, y = data[[name for name in columns if name != y]], data[y]
    text = [
        str(name)
        for name in data.columns
        if np.asarray(data[name]).dtype.kind in "OUSMmc"
    ]
    if text:
        raise TypeError(
            f"X must hold numbers; columns {', '.join(map(repr, text))} hold none. "
            "Leave them out, or encode them."
        )
    if hasattr(y, "to_numpy"):
        y = y.to_numpy()
    return data, plain("y", y), tuple(map(str, data.columns))
