"""From a grid of hyper-parameters to lanes of one vectorised run."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from penchant._types import Tree
from penchant.training._loop import Rule
from penchant.training.schedules import Constant, Power

MOST_LANES = 4096
"""Lanes that run at once; more are run one batch of lanes after another."""

LARGEST_STATE = 1 << 24
"""Weight entries of all lanes together that run at once."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of a grid: what it varies and over which values."""

    name: str
    values: Sequence[Any]

    def coordinate(self) -> np.ndarray:
        """Numbers to label the axis with; positions where the values are no numbers."""
        try:
            labels = np.asarray(self.values, dtype=float)
        except (TypeError, ValueError):
            return np.arange(len(self.values))
        if labels.ndim != 1:
            return np.arange(len(self.values))
        if not np.isfinite(labels).all():
            return labels
        whole = labels.astype(np.int64)
        return whole if np.array_equal(whole, labels) else labels


class Lanes(eqx.Module):
    """A rule and initial weights whose varied leaves have a leading lane axis.

    `rule_axes` is a rule with 0 at those leaves and None elsewhere, as `vmap` takes it.
    """

    rule: Rule
    initial: Any
    rule_axes: Any = eqx.field(static=True)
    count: int = eqx.field(static=True)


def read_grid(grid: Mapping[str, Sequence[Any] | np.ndarray], rule: Rule) -> list[Axis]:
    """Check a grid against what the rule has to vary.

    Raises:
        TypeError: If the grid is no mapping of names to sequences.
        ValueError: If it is empty, or a name can't be varied (the message lists
            those that can).
    """
    if not isinstance(grid, Mapping):
        raise TypeError(
            'grid must map names to values, e.g. {"b2": [0.9, 0.99], "seed": range(8)};'
            f" got {type(grid).__name__}."
        )
    if not grid:
        raise ValueError("grid is empty: give at least one axis, or use train.")
    offered = _offered(rule)
    axes = []
    for name, values in grid.items():
        if name not in offered:
            raise ValueError(
                f"grid can't vary {name!r}; have: {', '.join(sorted(offered))}."
            )
        if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
            raise TypeError(f"grid[{name!r}] must be a sequence; got {values!r}.")
        if len(values) == 0:
            raise ValueError(f"grid[{name!r}] has no values.")
        axes.append(Axis(name, list(values)))
    return axes


def _offered(rule: Rule) -> set[str]:
    names = {"seed", "init", "step_size"}
    for module in (rule.optimizer, rule.schedule):
        if not isinstance(module, eqx.Module):
            continue
        for field in dataclasses.fields(module):
            value = getattr(module, field.name)
            if eqx.is_inexact_array(value) or isinstance(value, float):
                names.add(field.name)
    if isinstance(rule.schedule, (Constant, Power)):
        names.discard("scale")  # it is called step_size
    return names


def lanes(rule: Rule, initial: Tree, points: Sequence[dict[str, Any]]) -> Lanes:
    """The rule and weights of all `points`, stacked where they differ by name."""
    varied = list(points[0])
    rule_axes = jax.tree.map(lambda _: None, eqx.filter(rule, eqx.is_array))
    for name in varied:
        values = [point[name] for point in points]
        if name == "init":
            continue
        where, stacked = _locate(rule, name, values)
        none = lambda x: x is None
        rule = eqx.tree_at(where, rule, stacked, is_leaf=none)
        spec = jax.tree.map(lambda _: 0, eqx.filter(stacked, eqx.is_array))
        rule_axes = eqx.tree_at(where, rule_axes, spec, is_leaf=none)
    count = len(points)
    if "init" in varied:
        starts = [rule.problem.read(point["init"], "init") for point in points]
        start = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    else:
        start = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf[None], (count, *leaf.shape)), initial
        )
    return Lanes(rule, start, rule_axes, count)


def _locate(rule: Rule, name: str, values: list[Any]) -> tuple[Any, Any]:
    if name == "seed":
        odd = [v for v in values if not isinstance(v, (int, np.integer))]
        if odd:
            raise TypeError(f"grid['seed'] must hold whole numbers; got {odd[0]!r}.")
        return (lambda r: r.key), jax.vmap(jax.random.key)(jnp.asarray(values))
    if name == "step_size":
        if any(all(isinstance(v, kind) for v in values) for kind in (Constant, Power)):
            stack = lambda *leaves: jnp.stack(leaves)
            return (lambda r: r.schedule), jax.tree.map(stack, *values)
        numbers = _numbers(name, values)
        if not isinstance(rule.schedule, (Constant, Power)):
            raise ValueError(
                'grid["step_size"] needs a number or schedules.power(...) as step_size;'
                f" got {rule.schedule!r}."
            )
        return (lambda r: r.schedule.scale), numbers
    owner = "optimizer" if hasattr(rule.optimizer, name) else "schedule"
    numbers = _numbers(name, values)
    return (lambda r: getattr(getattr(r, owner), name)), numbers


def _numbers(name: str, values: list[Any]) -> Any:
    """The values as one array; by NumPy, as a sweep may have very many."""
    try:
        if any(isinstance(value, (str, bytes)) for value in values):
            raise TypeError  # "0.1" would be read as a number
        return jnp.asarray(np.asarray(values, dtype=float).reshape(len(values)))
    except (TypeError, ValueError):
        raise TypeError(f"grid[{name!r}] must hold numbers; got {values!r}.") from None


def blocks(shape: tuple[int, ...], entries: int) -> Iterator[tuple[slice, ...]]:
    """Boxes that tile a grid of `shape`, each small enough to run at once.

    Args:
        shape: Lengths of the axes.
        entries: Weight entries of one lane.
    """
    most = int(max(1, min(MOST_LANES, LARGEST_STATE // max(1, entries))))
    sizes, room = [], most
    for length in reversed(shape):
        sizes.append(max(1, min(length, room)))
        room //= length
    sizes.reverse()
    starts = [range(0, n, size) for n, size in zip(shape, sizes, strict=True)]
    for corner in itertools.product(*starts):
        yield tuple(
            slice(at, min(at + size, n))
            for at, size, n in zip(corner, sizes, shape, strict=True)
        )


def points_in(axes: Sequence[Axis], box: tuple[slice, ...]) -> list[dict[str, Any]]:
    """The grid points of a box in row-major order."""
    ranges = [list(axis.values)[s] for axis, s in zip(axes, box, strict=True)]
    names = [axis.name for axis in axes]
    return [
        dict(zip(names, point, strict=True)) for point in itertools.product(*ranges)
    ]
