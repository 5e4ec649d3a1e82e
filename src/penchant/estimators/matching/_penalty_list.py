"""The penalties of a match: read, named apart, the free one set aside."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from penchant._types import Real
from penchant.estimators.penalties import AbstractPenalty, Free, read
from penchant.problems import AbstractProblem

Given = Sequence[AbstractPenalty | Free | Callable[..., Any] | str]
"""What a user may give for the penalties of a match."""


class Listed(NamedTuple):
    """Penalties in order, with the position of the free one if there is one."""

    fixed: tuple[AbstractPenalty | None, ...]
    free: Free | None
    place: int
    labels: tuple[str, ...]

    def at(self, shape: Real | None) -> tuple[AbstractPenalty, ...]:
        """All of them, the free one at a shape."""
        chosen = None if self.free is None else self.free.family(shape)  # pyright: ignore[reportArgumentType]
        return tuple(chosen if p is None else p for p in self.fixed)  # pyright: ignore[reportReturnType]


def listed(penalties: Given | AbstractPenalty | Free | Callable[..., Any]) -> Listed:
    """Read what was given; a single penalty is a list of one.

    Raises:
        TypeError: If something is no penalty.
        ValueError: If there is none, or more than one has a free shape.
    """
    if isinstance(penalties, (AbstractPenalty, Free, str)) or callable(penalties):
        penalties = [penalties]
    given = list(penalties)
    if not given:
        raise ValueError("penalties must name at least one penalty; got none.")
    free = [i for i, p in enumerate(given) if isinstance(p, Free)]
    if len(free) > 1:
        raise ValueError(
            f"penalties may have one free shape at most; got {len(free)}. Fix the "
            "others, or match one after the other."
        )
    fixed = tuple(None if isinstance(p, Free) else read(p) for p in given)
    names = [p.name if isinstance(p, Free) else read(p).label for p in given]
    # two penalties of one name are told apart by their place
    labels = tuple(
        name if names.count(name) == 1 else f"{name} #{names[: i + 1].count(name)}"
        for i, name in enumerate(names)
    )
    place = free[0] if free else -1
    chosen = next((p for p in given if isinstance(p, Free)), None)
    return Listed(fixed, chosen, place, labels)


def conventions(
    problem: AbstractProblem | None, penalties: Sequence[AbstractPenalty]
) -> str:
    """What numbers mean: of which loss, and which formula has which coefficient."""
    loss = "as logged" if problem is None else problem.about
    told = "; ".join(penalty.convention for penalty in penalties)
    return f"the loss is {loss}; penalties are λ times {told}"
