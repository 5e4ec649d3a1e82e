"""What can't be identified is refused in a sentence, or said to be unknown."""

import numpy as np
import optax
import pytest

import penchant as pn

SMALL = (4, 3)


def identify(update):
    return pn.identify(update, shape=SMALL)


def test_what_is_no_rule():
    with pytest.raises(TypeError, match="rule must be one of penchant"):
        pn.identify(3)
    with pytest.raises(ValueError, match="no optimizer 'adm'"):
        pn.identify("adm")


@pytest.mark.parametrize("shape", [(), (2, 2, 2), (1, 4), (100, 100)])
def test_shapes(shape):
    with pytest.raises(ValueError, match="shape"):
        pn.identify("sign", shape=shape)


def test_a_step_of_another_shape():
    with pytest.raises(ValueError, match=r"shape \(4, 3\); got \(4,\)"):
        identify(lambda g, state, w: (g.sum(axis=1), state))


def test_a_rule_that_returns_no_state():
    with pytest.raises(ValueError, match=r"\(step, state\)"):
        identify(lambda g, state, w: -g[:2])


def test_a_rule_that_raises():
    def update(g, state, w):
        raise KeyError("lr")

    with pytest.raises(ValueError, match="could not step: it raised KeyError"):
        identify(update)


def test_a_rule_that_diverges():
    with pytest.raises(ValueError, match="finite steps"):
        identify(lambda g, state, w: (g / 0.0, state))


def test_a_rule_that_does_not_move():
    with pytest.raises(ValueError, match="must move the weights"):
        identify(lambda g, state, w: (np.zeros_like(w), state))


def test_a_rule_that_reads_the_loss():
    with pytest.raises(ValueError, match="reads the loss"):
        pn.identify(optax.polyak_sgd(), shape=SMALL)
