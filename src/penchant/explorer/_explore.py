"""The explorer in a notebook, and on data."""

from typing import Any

import numpy as np

from penchant._checks import check_instance
from penchant.explorer._state import MOST_POINTS, State
from penchant.problems import LinearClassification, losses, of_dataset

MISSING = (
    "The explorer needs Panel and Bokeh, which are not installed: "
    "pip install 'penchant[explore]'."
)


def explore(problem: LinearClassification | object | None = None) -> Any:
    """The explorer as a cell of a notebook shows it: points, or weights, to touch.

    Two features of two classes are points that one drags; of other data it shows the
    weights. `penchant explore` is the same in a browser.

    Args:
        problem: A linear classifier or a `Dataset`; None for points to begin with.

    Returns:
        A layout of Panel, for which `panel.extension()` must have been called in the
        notebook.

    Raises:
        ImportError: If Panel is not installed: it comes with `penchant[explore]`.
        TypeError: If `problem` is something else.
    """
    state, given = state_of(problem)
    try:
        from penchant.explorer._page import Page
    except ImportError as error:
        raise ImportError(MISSING) from error
    return Page(state, given, wait=True).root


def state_of(
    problem: LinearClassification | object | None,
) -> tuple[State, LinearClassification | None]:
    """What a page shows of a classifier, and the classifier if not all is in the state.

    Raises:
        TypeError: If it is no linear classifier.
    """
    if problem is None:
        return State(), None
    problem = of_dataset(problem)
    check_instance("problem", problem, LinearClassification, "a LinearClassification")
    assert isinstance(problem, LinearClassification)
    loss = next(
        (n for n, make in losses.LOSSES.items() if type(problem.loss) is make),
        "logistic",
    )
    X, y = np.asarray(problem.X), np.asarray(problem.y)
    if problem.bias:
        X = X[:, :-1]
    small = problem.binary and X.shape[1] == 2 and len(X) <= MOST_POINTS
    if small and np.abs(X).max() <= 1000.0:
        points = tuple(
            (float(a), float(b), int(label)) for (a, b), label in zip(X, y, strict=True)
        )
        return State(points=points, bias=problem.bias, loss=loss), None
    return State(view="weights", data="given", loss=loss), problem
