"""Recurrences of the tests' own writing, whose constants a fit gives back."""

import numpy as np
import pytest

import penchant as pn
from penchant.estimators.identification._laws import LAWS

SMALL = (5, 3)


def both(g, state):
    return (np.zeros_like(g),) * 2 + (0,) if state is None else state


def amsgrad(g, state, w):
    m, v, t, top = (0.0, 0.0, 0, 0.0) if state is None else state
    m, v, t = 0.85 * m + 0.15 * g, 0.96 * v + 0.04 * g**2, t + 1
    top = np.maximum(top, v / (1 - 0.96**t))
    return -0.1 * m / (1 - 0.85**t) / np.sqrt(top), (m, v, t, top)


def belief(g, state, w):
    m, s, t = both(g, state)
    m, t = 0.85 * m + 0.15 * g, t + 1
    s = 0.96 * s + 0.04 * (g - m) ** 2
    return -0.1 * m / (1 - 0.85**t) / np.sqrt(s / (1 - 0.96**t)), (m, s, t)


def optimistic(g, old, w):
    return -0.1 * (1.7 * g - 0.7 * (g if old is None else old)), g


def slow(g, state, w):
    m, n, v, t = (0.0, 0.0, 0.0, 0) if state is None else state
    m, n = 0.85 * m + 0.15 * g, 0.9992 * n + 0.0008 * g
    v, t = 0.96 * v + 0.04 * g**2, t + 1
    ahead = m / (1 - 0.85**t) + 4.0 * n
    return -0.1 * ahead / np.sqrt(v / (1 - 0.96**t)), (m, n, v, t)


ADAM = {"first decay": 0.85, "second decay": 0.96}


@pytest.mark.parametrize(
    ("rule", "word", "constants"),
    [
        (amsgrad, "largest of debiased means", ADAM),
        (belief, "gradient less its mean", ADAM),
        (optimistic, "change of the gradient", {"weight of the change": 0.7}),
        (slow, "two means", {**ADAM, "slow decay": 0.9992, "slow gain": 0.0032}),
    ],
)
def test_constants_are_given_back(rule, word, constants):
    found = pn.identify(rule, shape=SMALL, key=8)
    assert word in found.law.law.form
    assert word in found.headline
    assert {n: x.value for n, x in found.constants.items()} == pytest.approx(
        constants, rel=1e-6
    )
    assert all(x.exact for x in found.constants.values())
    assert found.step_size == pytest.approx(0.1, rel=1e-6)
    assert found.second is None
    assert found.evidence["second"] == "unknown"
    assert "no field" in found.why["second"]
    assert not found.steepest


def test_the_first_memory_is_measured_where_it_is_one_that_a_character_has():
    found = pn.identify(amsgrad, shape=SMALL)
    assert found.evidence["first"] == "measured"
    assert float(found.first.decay) == pytest.approx(0.85, abs=1e-9)
    assert pn.identify(optimistic, shape=SMALL).evidence["first"] == "unknown"


def test_no_law_is_forced_on_what_follows_none():
    def stranger(g, state, w):
        m, v = (0.0, 0.0) if state is None else state
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * np.abs(g) ** 3
        return -m / np.cbrt(v), (m, v)

    found = pn.identify(stranger, shape=SMALL)
    assert found.law is None
    assert found.constants == {}
    assert found.why["second"].startswith("no form known here makes the steps")
    assert "off by" in found.why["second"]


def test_every_law_makes_another_series():
    """Of one series of gradients, so that none is another under a second name."""
    g = np.random.default_rng(0).standard_normal((12, 4, 3))
    made = []
    for law in LAWS:
        with np.errstate(all="ignore"):
            steps = law.steps(g, *law.starts.values())
        made.append(steps / np.linalg.norm(steps))
    for i, a in enumerate(made):
        assert all(np.linalg.norm(a - b) > 1e-3 for b in made[:i])


def test_few_digits_give_constants_with_errors_that_hold_them():
    def single(g, state, w):
        m, v, t = both(np.float32(g), state)
        g, t = np.float32(g), t + 1
        m = np.float32(0.9) * m + np.float32(0.1) * g
        v = np.float32(0.99) * v + np.float32(0.01) * g**2
        below = np.sqrt(v / (1 - 0.99**t))
        return -(m / (1 - 0.9**t) / below).astype(np.float32), (m, v, t)

    found = pn.identify(single, shape=SMALL)
    for name, truth in {"first decay": 0.9, "second decay": 0.99}.items():
        x = found.constants[name]
        assert not x.exact
        assert abs(x.value - truth) <= 3 * x.error < 1e-2
