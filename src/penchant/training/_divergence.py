"""Why weights became infinite or NaN, where a run shows it."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from penchant._trees import leaf_names
from penchant._types import Tree
from penchant.problems import AbstractProblem, LinearClassification
from penchant.training._loop import RunState

Call = Callable[[RunState, int], tuple[RunState, Any]]
"""Steps from a state to one of a later number, as `Runner` makes them."""

SHOWN = 5
"""Weights named in a message."""


def is_finite(w: Tree) -> bool:
    """Whether all entries of all leaves are."""
    return all(bool(np.isfinite(np.asarray(x)).all()) for x in jax.tree.leaves(w))


def cause(
    problem: AbstractProblem, call: Call, before: RunState, until: int
) -> str | None:
    r"""What made the weights NaN, if it is a rule's $0/0$; None for anything else.

    The step at which it happened is found by bisection. There a rule without
    $\varepsilon$ leaves NaN in those weights alone whose gradient is exactly 0.

    Args:
        problem: What is learned.
        call: Makes steps.
        before: A state with finite weights.
        until: A step after which they are not.
    """
    if not is_finite(before.weights):
        return None
    last = int(before.step)
    while until - last > 1:
        middle = (last + until) // 2
        state, _ = call(before, middle)
        if is_finite(state.weights):
            before, last = state, middle
        else:
            until = middle
    after, _ = call(before, until)
    flat = lambda tree: np.asarray(problem.flat(tree))
    broken = ~np.isfinite(flat(after.weights))
    nan = np.isnan(flat(after.weights))
    zero = flat(problem.scaled_gradient(before.weights).direction) == 0
    if not broken.any() or (broken & ~(nan & zero)).any():
        return None
    return (
        f"At step {until:,} the rule divided 0 by 0: the gradient of "
        f"{_names(problem, np.flatnonzero(broken))} is exactly 0. No step size helps; "
        "eps > 0 does, and so does leaving out what has no gradient."
    )


def _names(problem: AbstractProblem, entries: np.ndarray) -> str:
    """Entries of the flat weights in words."""
    more = len(entries) - SHOWN
    tail = f" and {more} more" if more > 0 else ""
    if isinstance(problem, LinearClassification):
        features = np.unique(entries % problem.X.shape[1])
        dead = not np.asarray(problem.X)[:, features].any()
        why = ", 0 in every row," if dead else ""
        more = len(features) - SHOWN
        tail = f" and {more} more" if more > 0 else ""
        noun = "feature" if len(features) == 1 else "features"
        return f"{noun} {', '.join(map(str, features[:SHOWN]))}{tail}{why}"
    leaves = jax.tree.leaves(problem.start)
    ends = np.cumsum([leaf.size for leaf in leaves])
    names = leaf_names(problem.start, "weights")
    shown = []
    for entry in entries[:SHOWN]:
        at = int(np.searchsorted(ends, entry, side="right"))
        place = np.unravel_index(entry - (ends[at] - leaves[at].size), leaves[at].shape)
        shown.append(f"{names[at]}[{', '.join(str(int(i)) for i in place)}]")
    return ", ".join(shown) + tail
