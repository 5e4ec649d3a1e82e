"""Under which changes of the gradient a step changes with it."""

import dataclasses
from collections.abc import Callable

import numpy as np

from penchant.estimators.identification._box import AbstractBox
from penchant.estimators.identification._gradients import generic, rotation

Map = Callable[[np.ndarray], np.ndarray]

NAMES = (
    "signs",
    "permutations",
    "row permutations",
    "column permutations",
    "left rotations",
    "right rotations",
    "row scales",
    "column scales",
)


@dataclasses.dataclass(frozen=True)
class Symmetry:
    r"""How far steps are from changing with the gradient, by the kind of change.

    `defects[name]` is the largest $\|u(Tg)-T'u(g)\|/\|u(g)\|$ over the transformations
    tried: $T'=T$ for signs, permutations and rotations, the identity for row and column
    scales. 0 is exact, about 1 none.
    """

    defects: dict[str, float]

    def holds(self, name: str, within: float = 1e-6) -> bool:
        """Whether steps have a symmetry, to this defect."""
        return self.defects.get(name, np.inf) <= within


def symmetry(box: AbstractBox, scale: float, seed: int, tries: int = 3) -> Symmetry:
    """Every kind of change, so often, on a fresh state."""
    kinds = NAMES if len(box.shape) == 2 else NAMES[:2]
    defects: dict[str, float] = {name: 0.0 for name in kinds}
    for i in range(tries):
        G = scale * generic(box.shape, seed + i)
        u = box.first(G)
        size = np.linalg.norm(u)
        for name, change, follow in _changes(box.shape, seed + 31 * i):
            if name not in defects:
                continue
            defect = np.linalg.norm(box.first(change(G)) - follow(u)) / size
            defects[name] = max(defects[name], float(defect))
    return Symmetry(defects)


def _changes(shape: tuple[int, ...], seed: int) -> list[tuple[str, Map, Map]]:
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], shape)
    every = rng.permutation(int(np.prod(shape)))
    shuffle = lambda x: x.ravel()[every].reshape(shape)
    found: list[tuple[str, Map, Map]] = [
        ("signs", lambda x: signs * x, lambda x: signs * x),
        ("permutations", shuffle, shuffle),
    ]
    if len(shape) != 2:
        return found
    k, d = shape
    rows, columns = rng.permutation(k), rng.permutation(d)
    Q, P = rotation(k, seed), rotation(d, seed + 1)
    r = np.exp(rng.uniform(-1.0, 1.0, (k, 1)))
    c = np.exp(rng.uniform(-1.0, 1.0, (1, d)))
    same = lambda x: x
    pairs: list[tuple[Map, Map]] = [
        (lambda x: x[rows], lambda x: x[rows]),
        (lambda x: x[:, columns], lambda x: x[:, columns]),
        (lambda x: Q @ x, lambda x: Q @ x),
        (lambda x: x @ P, lambda x: x @ P),
        (lambda x: r * x, same),
        (lambda x: c * x, same),
    ]
    return found + [(n, a, b) for n, (a, b) in zip(NAMES[2:], pairs, strict=True)]
