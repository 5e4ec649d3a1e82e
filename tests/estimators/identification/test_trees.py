"""What the arrays of a model have to do with each other's steps."""

import numpy as np
import optax
import pytest

from penchant.estimators.identification._identify import as_box
from penchant.estimators.identification._trees import trees

SHAPE = (4, 3)


def lengths(arrays):
    return [np.linalg.norm(x) for x in arrays]


def each(g, state, w):
    return [-x / n for x, n in zip(g, lengths(g), strict=True)], state


def together(g, state, w):
    n = np.linalg.norm(lengths(g))
    return [-x / n for x in g], state


def clipped(g, state, w):
    n = np.linalg.norm(lengths(g))
    return [-x * min(1.0, 100.0 / n) for x in g], state


def shifted(g, state, w):
    mean = np.mean(g[0])
    return [-x - mean for x in g], state


def as_long_as_all_weights(g, state, w):
    n = np.linalg.norm(lengths(w))
    return [-n * x for x in g], state


@pytest.mark.parametrize(
    ("rule", "gradients", "weights", "loud"),
    [
        (each, "nothing", "nothing", "nothing"),
        (together, "length", "nothing", "length"),
        (clipped, "nothing", "nothing", "length"),
        (shifted, "direction", "nothing", "direction"),
        (as_long_as_all_weights, "nothing", "length", "nothing"),
    ],
)
def test_what_one_array_does_to_others(rule, gradients, weights, loud):
    box = as_box(rule, SHAPE)
    box_of_lists = box.on((SHAPE, (3, 3), (3,)))
    assert box_of_lists.run(np.ones((1, 24))).shape == (1, 24)
    found = trees(box, 1.0, 0)
    assert (found.gradients, found.weights, found.loud) == (gradients, weights, loud)
    assert found.coupled == ((gradients, weights, loud) != ("nothing",) * 3)


def test_a_rule_for_one_array_alone_is_said_to_be():
    found = trees(as_box(lambda g, state, w: (-0.1 * g, state), SHAPE), 1.0, 0)
    assert found.why
    assert not found.coupled


def test_trust_ratios_are_taken_array_by_array_and_a_global_norm_is_not():
    lars = trees(as_box(optax.lars(1e-2), SHAPE), 1.0, 0)
    assert (lars.gradients, lars.weights) == ("nothing", "nothing")
    unit = optax.chain(optax.normalize_by_update_norm(), optax.sgd(1.0))
    found = trees(as_box(unit, SHAPE), 1.0, 0)
    assert (found.gradients, found.weights) == ("length", "nothing")
    assert max(found.alone) > 0.1
