"""Whether the arrays of a model are stepped on their own: a tree of them at once."""

import dataclasses

import numpy as np

from penchant.estimators.identification._box import AbstractBox, StrangerError
from penchant.estimators.identification._gradients import generic

STEPS = 3
"""Of a run: what couples by a memory shows from the second on."""

SAME = 1e-6
"""Relative differences that count as none."""

LOUD = 1e3
"""How much larger gradients are, to see what clips."""


@dataclasses.dataclass(frozen=True)
class Trees:
    r"""Two matrices and a bias at once, beside the same arrays one at a time.

    `gradients` and `weights` say what the gradient, or the weights, of one array do to
    the steps of others: "nothing", "length", all entries of an array change by one
    factor, or "direction". `alone` are the largest differences of an array's steps from
    those of the rule on that array by itself, NaN where it can't be asked so; `loud`
    is `gradients` at gradients a thousand times as large. `why` is why there is no
    answer, empty where there is one.
    """

    gradients: str = ""
    weights: str = ""
    loud: str = ""
    alone: tuple[float, ...] = ()
    why: str = ""

    @property
    def coupled(self) -> bool:
        """Whether anything in one array moves another."""
        return any(
            x not in ("", "nothing") for x in (self.gradients, self.weights, self.loud)
        )


def trees(box: AbstractBox, scale: float, seed: int) -> Trees:
    """The rule on two matrices and a vector: what of one moves another."""
    matrix = box.shape if len(box.shape) == 2 else (4, 3)
    leaves = (matrix, (matrix[1], 3), (matrix[1],))
    before = box.updates
    try:
        whole = box.on(leaves)
        found = _asked(whole, scale, seed)
        alone = _alone(box, whole, leaves, scale, seed)
        box.updates = before + whole.updates + STEPS * len(leaves)
    except (StrangerError, NotImplementedError) as error:
        return Trees(why=str(error) or "it takes one array.")
    return dataclasses.replace(found, alone=alone)


def _asked(whole: AbstractBox, scale: float, seed: int) -> Trees:
    rng = np.random.default_rng(seed)
    base = np.stack([generic(whole.shape, seed + 3 * i) for i in range(STEPS)])
    w = np.sign(base[0]) * (1.0 + np.abs(rng.standard_normal(whole.shape)))
    first = np.zeros(whole.shape, bool)
    first[: int(np.prod(whole.leaves[0]))] = True
    turned = np.where(first, np.roll(base, 1, axis=0) * -3.0, base)
    told = {}
    for name, size in (("gradients", scale), ("loud", LOUD * scale)):
        seen = whole.run(size * base, w)
        told[name] = _changed(whole, seen, whole.run(size * turned, w))
    seen = whole.run(scale * base, w)
    told["weights"] = _changed(
        whole, seen, whole.run(scale * base, np.where(first, 3.0 * w, w))
    )
    return Trees(**told)


def _changed(whole: AbstractBox, seen: np.ndarray, other: np.ndarray) -> str:
    """What became of the steps of all arrays but the first."""
    start = int(np.prod(whole.leaves[0]))
    worst = "nothing"
    for leaf in whole.leaves[1:]:
        part = slice(start, start + int(np.prod(leaf)))
        start = part.stop
        a, b = seen[:, part], other[:, part]
        size = np.linalg.norm(a, axis=1, keepdims=True)
        if np.all(np.linalg.norm(a - b, axis=1, keepdims=True) <= SAME * size):
            continue
        ratio = np.sum(a * b, axis=1, keepdims=True) / np.maximum(size, 1e-300) ** 2
        apart = np.linalg.norm(b - ratio * a, axis=1, keepdims=True)
        if np.any(apart > SAME * np.maximum(size, np.abs(ratio) * size)):
            return "direction"
        worst = "length"
    return worst


def _alone(
    box: AbstractBox,
    whole: AbstractBox,
    leaves: tuple[tuple[int, ...], ...],
    scale: float,
    seed: int,
) -> tuple[float, ...]:
    """How far an array's steps are from those of the rule on it by itself."""
    base = scale * np.stack([generic(whole.shape, seed + 3 * i) for i in range(STEPS)])
    seen = whole.run(base)
    found, start = [], 0
    for leaf in leaves:
        part = slice(start, start + int(np.prod(leaf)))
        start = part.stop
        try:
            single = box.at(box.dtype, leaf)
            own = single.run(base[:, part].reshape(STEPS, *leaf)).reshape(STEPS, -1)
        except StrangerError:
            found.append(float("nan"))
            continue
        size = max(float(np.linalg.norm(own)), 1e-300)
        found.append(float(np.linalg.norm(own - seen[:, part])) / size)
    return tuple(found)
