"""The function that an audit judges: margins of examples, whatever model gives them."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from penchant._types import Numbers, Parameters, Tree
from penchant.audits._hinges import smoothed
from penchant.problems import (
    AbstractClassification,
    LinearClassification,
    NetworkClassification,
)


class Judge(eqx.Module):
    r"""Margins of `(n, d)` examples: $y\,N(x)$, or the lead over the best other."""

    apply: Callable[[Parameters, Any], Any] = eqx.field(static=True)
    w: Parameters
    y: Array
    shape: tuple[int, ...] = eqx.field(static=True)
    binary: bool = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        return self.margins(self.scores(x))

    def scores(self, x: Array) -> Array:
        """What the model says, `(n, c)`, one column for two classes."""
        out = self.apply(self.w, jnp.reshape(x, (x.shape[0], *self.shape)))
        out = jnp.asarray(out, dtype=float)
        return out if out.ndim == 2 else out[:, None]

    def margins(self, out: Array) -> Array:
        """Margins of scores."""
        if self.binary:
            return self.y.astype(out.dtype) * out[:, 0]
        classes = jnp.arange(out.shape[1], dtype=self.y.dtype)
        own = classes[None, :] == self.y[:, None]
        mine = jnp.sum(jnp.where(own, out, 0.0), axis=1)
        return mine - jnp.max(jnp.where(own, -jnp.inf, out), axis=1)

    def some(self, rows: Array) -> "Judge":
        """The same on some of the points."""
        return eqx.tree_at(lambda judge: judge.y, self, self.y[rows])


class Smooth(eqx.Module):
    """A judge whose hinges are smooth, for an attack's gradients."""

    judge: Judge
    gain: float = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        judge = self.judge
        own = getattr(judge.apply, "smoothed", None)
        if own is None:
            return smoothed(judge, self.gain)(x)
        other = Judge(own(self.gain), judge.w, judge.y, judge.shape, judge.binary)
        return other(x)


def linear(w: Array, X: Array) -> Array:
    """A linear model, of two classes or several."""
    return X @ w if w.ndim == 1 else X @ w.T


def read(
    model: AbstractClassification | Callable[..., Any],
    w: Parameters,
    X: Numbers | None,
    y: Numbers | None,
) -> tuple[Judge, LinearClassification, LinearClassification]:
    """What judges, the points to judge on, and those to compare with (the trained).

    Raises:
        TypeError: If the model is neither a problem with examples nor a function.
        ValueError: If examples and labels don't fit the model.
    """
    problem = model if isinstance(model, AbstractClassification) else None
    if problem is None and not callable(model):
        raise TypeError(
            "model must be a LinearClassification, a NetworkClassification or a "
            f"function apply(w, X); got {type(model).__name__}."
        )
    apply: Any = model
    if isinstance(problem, (LinearClassification, NetworkClassification)):
        apply = problem.apply if isinstance(problem, NetworkClassification) else linear
        w = problem.read(w)
    elif problem is not None:
        raise TypeError(
            "model must be a LinearClassification or a NetworkClassification; got "
            f"{type(problem).__name__}. A function apply(w, X) serves too."
        )
    if problem is None and (X is None or y is None):
        raise ValueError("X and y must be given where the model is a function.")
    if (X is None) != (y is None):
        raise ValueError("X and y must both be given, or neither.")
    trained: Any = problem
    given = trained.X if X is None else X
    labels = trained.y if y is None else y
    points = np.asarray(given)
    if points.dtype.kind not in "biuf" or points.ndim < 2 or 0 in points.shape:
        raise ValueError(
            "X must be an array of numbers, (n, ...) with an example a row; got "
            f"{points.dtype} of shape {points.shape}."
        )
    shape = points.shape[1:]
    if trained is not None and shape != tuple(trained.X.shape[1:]):
        raise ValueError(
            f"X must have examples of shape {tuple(trained.X.shape[1:])}, like the "
            f"problem's; got {shape}."
        )
    seen = _scores(apply, w, points)
    several = seen.shape[1] > 1
    here = _table(points, labels, seen.shape[1])
    if here.binary == several or (several and here.classes != seen.shape[1]):
        raise ValueError(
            f"y must have a class an output, {seen.shape[1] if several else 2}; got "
            f"{here.classes} classes."
        )
    judge = Judge(apply, w, here.y, shape, here.binary)
    if trained is None or X is None:
        return judge, here, here
    return judge, here, _table(trained.X, trained.y, seen.shape[1])


def _scores(apply: Callable[..., Any], w: Parameters, points: np.ndarray) -> np.ndarray:
    n = len(points)
    out = np.asarray(apply(w, jnp.asarray(points, dtype=float)))
    if out.shape[:1] != (n,) or out.ndim > 2 or 0 in out.shape:
        raise ValueError(
            f"apply(w, X) must return ({n},) or ({n}, c) scores; got {out.shape}."
        )
    if not np.isfinite(out).all():
        raise ValueError("apply(w, X) must be finite at the points given; it is not.")
    return out if out.ndim == 2 else out[:, None]


def _table(points: Tree, labels: Tree, outputs: int) -> LinearClassification:
    flat = np.reshape(np.asarray(points, dtype=float), (len(points), -1))
    classes = 2 if outputs == 2 else None
    return LinearClassification(flat, labels, loss="logistic", classes=classes)


def crossing(
    margins: Callable[[Array], Array],
    X: Array,
    direction: Array,
    far: float,
    points: int = 160,
    halvings: int = 16,
) -> np.ndarray:
    r"""The first r on a grid to `far` with margin at $x-r\hat z$ of 0 or less, refined.

    0 for points that are wrong where they are, infinite for those that never cross. A
    margin that crosses twice between two points of the grid is missed.
    """
    grid = jnp.linspace(0.0, far, points + 1)
    return np.asarray(_crossing(margins, X, direction, grid, halvings))


@eqx.filter_jit
def _crossing(
    margins: Callable[[Array], Array],
    X: Array,
    direction: Array,
    grid: Array,
    halvings: int,
) -> Array:
    out = jax.lax.map(lambda r: margins(X - r * direction) <= 0, grid)
    first = jnp.argmax(out, axis=0)
    ever = jnp.any(out, axis=0)
    high = grid[first]
    low = grid[jnp.maximum(first - 1, 0)]

    def halve(_: Tree, ends: Tree) -> Any:
        low, high = ends
        middle = 0.5 * (low + high)
        over = margins(X - middle[:, None] * direction) <= 0
        return jnp.where(over, low, middle), jnp.where(over, middle, high)

    _, high = jax.lax.fori_loop(0, halvings, halve, (low, high))
    return jnp.where(ever, high, jnp.inf)
