"""What a state shows, computed."""

from typing import TypeAlias

from penchant._checks import check_instance
from penchant.explorer._features import Features, features
from penchant.explorer._landscapes import Landscape, landscape
from penchant.explorer._state import State
from penchant.explorer._weights import Weights, weights
from penchant.problems import LinearClassification

Shown: TypeAlias = Features | Weights | Landscape


def compute(state: State, given: LinearClassification | None = None) -> Shown:
    """What a page in this state shows, as arrays, by the library itself.

    >>> from penchant.explorer import State, compute
    >>> shown = compute(State(rule="sign", steps=20_000))
    >>> max(shown.shares, key=lambda label: shown.shares[label][-1])
    'ℓ∞'

    Args:
        state: What is shown.
        given: The classifier that `data="given"` stands for.

    Raises:
        TypeError: If an argument is of the wrong kind.
        NotSeparableError: If weights are shown, and no largest margins exist.
        ValueError: If it is more work than a page does, or names data that were not
            given.
    """
    check_instance("state", state, State, "a State of penchant.explorer")
    if given is not None:
        check_instance("given", given, LinearClassification, "a LinearClassification")
    if state.view == "features":
        return features(state)
    return weights(state, given) if state.view == "weights" else landscape(state)
