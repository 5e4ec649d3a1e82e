import numpy as np
import pytest

import penchant as pn
from penchant.flows import memory_coefficient


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.99])
def test_the_signal_of_noise(decay):
    """A bias-corrected Adam on Gaussian noise, against the closed form."""
    draws = np.random.default_rng(0)
    m, v, b2, n = np.zeros(20_000), np.zeros(20_000), 0.9999, 1500
    for _ in range(n):
        g = draws.normal(size=m.size)
        m = decay * m + (1 - decay) * g
        v = b2 * v + (1 - b2) * g * g
    root = np.sqrt(v / (1 - b2**n))
    found = pn.estimators.signal(m / (1 - decay**n), root, 0.0)
    told = pn.estimators.noise_signal(decay)
    assert abs(found.value - told) < 3 * found.error + 0.003 * told


def test_dead_and_throttled_are_not_added():
    r = [0.0] * 5 + [1e-9] * 3 + [1e-4] * 12
    found = pn.estimators.divisors(r, 1e-8)
    assert float(found.dead) == 0.25
    assert float(found.throttled) == 0.15
    assert found.dead.error == pytest.approx(np.sqrt(0.25 * 0.75 / 20))
    live = np.array(r)[5:]
    assert found.loss == pytest.approx(1 - np.mean(live / (live + 1e-8)))
    assert found.median == 1e-4
    nothing = pn.estimators.divisors([0.0, 0.0], 1e-8)
    assert float(nothing.dead) == 1.0
    assert np.isnan(nothing.spread)
    assert not pn.estimators.signal([1.0], [0.0], 0.0).valid


def test_the_share_of_a_sample_is_within_its_error():
    draws, hits = np.random.default_rng(1), 0
    for _ in range(200):
        r = np.where(draws.random(400) < 0.2, 1e-9, 1e-3)
        hits += abs(pn.estimators.divisors(r, 1e-8).throttled.value - 0.2) < 2 * (
            pn.estimators.divisors(r, 1e-8).throttled.error
        )
    assert 0.9 <= hits / 200 <= 0.99


def test_applied_decay_covers_the_truth():
    draws, hits = np.random.default_rng(2), 0
    for _ in range(300):
        w = draws.normal(size=50)
        r = 0.01 * w + 1e-3 * draws.normal(size=50)
        hits += pn.estimators.applied_decay(r, w).covers(0.01)
    assert 0.9 <= hits / 300 <= 0.985
    assert not pn.estimators.applied_decay([1.0, 1.0], [0.0, 0.0]).valid


def test_memory_of_adam_is_the_corrections():
    """The same number by the formula and by `correction`, which replays a rule."""
    import jax.numpy as jnp

    H = jnp.array([[3.0, 0.5], [0.5, 1.0]])
    problem = pn.Objective(
        lambda w, a: 0.5 * a * (w @ H @ w), jnp.array([0.7, -0.4]), jnp.ones(1)
    )
    w, h, n = problem.start, 1e-3, 6
    rule = pn.optimizers.Adam(0.9, 0.999, 0.01, bias_correction=True)
    told = pn.correction(problem, rule, w, step_size=h, step=n)
    g = np.asarray(H @ w)
    F = g / (np.abs(g) + 0.01)
    found = pn.estimators.adaptive_memory(
        g, np.asarray(H) @ F, 0.01, step_size=h, decays=(0.9, 0.999), step=n
    )
    low, high = np.sort(np.asarray(told.validity))
    quantiles = np.quantile([low, high], (0.05, 0.25, 0.5, 0.75, 0.95))
    np.testing.assert_allclose(found.quantiles, quantiles, rtol=2e-3)
    assert found.share_valid.value == told.share_valid


def test_memory_of_the_first_moment_alone():
    age = 0.5 * (memory_coefficient(0.9, 20) - 1)
    found = pn.estimators.first_memory(2.0, 3.0, step_size=0.1, decay=0.9, n=20)
    assert found == pytest.approx(0.1 * age * 1.5)
    assert pn.estimators.first_memory(0.0, 1.0, step_size=0.1, decay=0.9, n=2) == np.inf
    nothing = pn.estimators.memory_term([0.0], [1.0], [1.0])
    assert not nothing.share_valid.valid
