"""Which coordinates' gradients move which weights, in a rule's first step."""

import dataclasses

import numpy as np

from penchant.estimators.identification._box import AbstractBox
from penchant.estimators.identification._gradients import generic

MOVED = 1e-9
"""A step has changed where it differs by this share of its largest entry."""

SAMPLE = 160
"""Entries that are tried, all of them in small shapes."""


@dataclasses.dataclass(frozen=True)
class Coupling:
    r"""What the change of one entry of a gradient does to a step.

    `pattern` is "entries" (itself), "rows", "columns", "cross" (its row and column),
    "blocks" (some other partition: `blocks` numbers them), "all" or "irregular". It is
    of the step's *direction*: where all other entries change by one common factor,
    such as a length, that is `factor` and not counted. `tried` entries were changed.
    `single` says that only one entry, row or column moves, the one whose norm is
    largest.
    """

    pattern: str
    factor: bool
    blocks: np.ndarray | None
    tried: int
    single: bool = False


def coupling(box: AbstractBox, scale: float, seed: int) -> Coupling:
    """Each entry in turn turned round and tripled, on a fresh state."""
    G = scale * generic(box.shape, seed)
    before = box.first(G).ravel()
    largest = np.max(np.abs(before))
    size = before.size
    lone = _single(before.reshape(box.shape))
    if lone is not None:
        return Coupling(lone, False, None, 0, single=True)
    if _on_its_own(box, G, before):
        return Coupling("entries", False, None, size)
    tried = np.arange(size)
    if size > SAMPLE:
        tried = np.random.default_rng(seed).choice(size, SAMPLE, replace=False)
    graph = np.zeros((len(tried), size), bool)
    factor = False
    for row, i in enumerate(tried):
        changed = G.ravel().copy()
        changed[i] *= -3.0
        after = box.first(changed.reshape(box.shape)).ravel()
        moved = np.abs(after - before) > MOVED * largest
        moved[i] = True
        others = np.arange(size) != i
        alive = others & (np.abs(before) > 1e-6 * largest)
        if moved[others].mean() > 0.9 and alive.sum() > 1:
            ratio = after[alive] / before[alive]
            common = np.median(ratio)
            same = np.abs(ratio - common) <= 1e-6 * max(abs(common), 1e-12)
            if same.mean() > 0.5:
                factor = factor or bool(abs(common - 1.0) > MOVED)
                graph[row, np.flatnonzero(alive)[~same]] = True
                graph[row, i] = True
                continue
        graph[row] = moved
    return Coupling(*_pattern(graph, tried, box.shape, factor), len(tried))


def _on_its_own(box: AbstractBox, G: np.ndarray, before: np.ndarray) -> bool:
    """Whether each entry moves itself alone, by changing halves of them at once.

    Two entries differ in a digit of their numbers: if one moved the other, the half
    that holds it would.
    """
    size = before.size
    numbers = np.arange(size)
    largest = np.max(np.abs(before))
    for digit in range(max(1, (size - 1).bit_length())):
        for value in (0, 1):
            half = (numbers >> digit) % 2 == value
            changed = np.where(half, -3.0, 1.0) * G.ravel()
            after = box.first(changed.reshape(box.shape)).ravel()
            apart = np.abs(after - before)[~half]
            if np.any(apart > MOVED * largest):
                return False
    return True


def _single(u: np.ndarray) -> str | None:
    """What moves alone: an entry, a row or a column; None where more does."""
    if np.count_nonzero(u) == 1:
        return "entries"
    if u.ndim == 2 and np.count_nonzero(np.any(u != 0, axis=1)) == 1:
        return "rows"
    if u.ndim == 2 and np.count_nonzero(np.any(u != 0, axis=0)) == 1:
        return "columns"
    return None


def _pattern(
    graph: np.ndarray, tried: np.ndarray, shape: tuple[int, ...], factor: bool
) -> tuple[str, bool, np.ndarray | None]:
    size = graph.shape[1]
    number = np.arange(size).reshape(shape)
    rows = np.zeros((len(tried), size), bool)
    columns = rows.copy()
    if len(shape) >= 2:
        last = number.reshape(-1, shape[-1])
        row, column = np.divmod(tried, shape[-1])
        for k in range(len(tried)):
            rows[k, last[row[k]]] = True
            columns[k, last[:, column[k]]] = True
    itself = np.zeros_like(graph)
    itself[np.arange(len(tried)), tried] = True
    wanted = {
        "entries": itself,
        "rows": rows,
        "columns": columns,
        "cross": rows | columns,
        "all": np.ones_like(graph),
    }
    for name, pattern in wanted.items():
        if np.mean(graph != pattern) * size < 0.5 and not (graph & ~pattern).any():
            return name, factor, None
    if len(tried) == size and (graph == graph.T).all() and _transitive(graph):
        _, blocks = np.unique(graph, axis=0, return_inverse=True)
        return "blocks", factor, np.ravel(blocks).reshape(shape)
    return ("all" if graph.mean() > 0.9 else "irregular"), factor, None


def _transitive(graph: np.ndarray) -> bool:
    return bool((((graph.astype(int) @ graph.astype(int)) > 0) == graph).all())
