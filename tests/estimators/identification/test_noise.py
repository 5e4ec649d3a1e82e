"""What a rule makes of noise is what its memory foretells."""

import math

import numpy as np
import pytest

from penchant.estimators.identification._identify import as_box
from penchant.estimators.identification._noise import foretold, noise
from penchant.estimators.identification._replay import Form
from tests.estimators.identification import cases

SHAPE = (8, 4)


def form(decay, mix=None):
    mix = decay if mix is None else mix
    return Form(decay, mix, "", "none", 0.0, False, 0.5, False)


def apart(box, told, seed):
    """The persistence less what was foretold, in standard errors."""
    seen = noise(box, 1.0, seed)
    return (seen.persistence - told) / seen.persistence_error


def momentum(g, m, w):
    m = 0.8 * (0.0 if m is None else m) + 0.2 * g
    return -m, m


def test_no_memory_has_no_persistence_and_full_size():
    seen = noise(as_box(lambda g, state, w: (-g, state), SHAPE), 1.0, 0)
    assert seen.size == pytest.approx(1.0, abs=4 * seen.size_error)
    assert abs(seen.persistence) < 4 * seen.persistence_error


def test_a_mean_makes_noise_smaller_by_its_weights():
    told = math.sqrt(0.2 / 1.8)  # of c_k ∝ .8^k: the root of Σc² over Σc
    seen = noise(as_box(momentum, SHAPE), 1.0, 0)
    assert seen.size == pytest.approx(told, abs=4 * seen.size_error)


def test_standard_errors_of_the_persistence_are_what_they_say():
    told = foretold(form(0.8), signs=False)
    assert told == pytest.approx(0.8, abs=1e-12)
    box = as_box(momentum, SHAPE)
    scores = np.array([apart(box, told, seed) for seed in range(40)])
    assert 33 <= np.sum(np.abs(scores) < 1.96) <= 40
    assert abs(np.mean(scores)) < 0.7


def test_signs_of_a_mean_turn_as_the_arcsine_law_says():
    def signum(g, m, w):
        step, m = momentum(g, m, w)
        return np.sign(step), m

    told = foretold(form(0.8), signs=True)
    assert told == pytest.approx(2.0 / math.pi * math.asin(0.8))
    assert abs(apart(as_box(signum, SHAPE), told, 3)) < 4


def test_looking_ahead_persists_less():
    assert foretold(form(0.8, 0.64), signs=False) < foretold(form(0.8), signs=False)


def test_adam_persists_by_its_first_memory():
    box = as_box(cases.adamw(b2=0.9999), SHAPE)
    assert abs(apart(box, foretold(form(0.9), signs=False), 2)) < 4
