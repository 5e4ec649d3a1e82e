"""Where a correction helps: actual steps of a network, by the size of V."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

import penchant as pn


def outputs(p, X):
    return jnp.tanh(X @ p["a"] + p["b"][None, :]) @ p["c"] + p["d"][None, :]


def network(seed):
    """64-16-10 on 300 digits: 1 210 weights in double precision."""
    X, y = load_digits(return_X_y=True)
    draws = np.random.default_rng(seed)
    start = {
        "a": jnp.asarray(draws.normal(size=(64, 16)) / 8),
        "b": jnp.zeros(16),
        "c": jnp.asarray(draws.normal(size=(16, 10)) / 4),
        "d": jnp.zeros(10),
    }
    return pn.NetworkClassification(
        outputs, start, X[:300] / 16.0, y[:300], loss=pn.losses.Logistic(), degree=None
    )


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def errors(problem, rule, rate, n):
    """V, and errors of the step after `n` others, without and with its correction."""
    run = pn.train(
        problem, rule, steps=n + 1, step_size=rate, record=n + 1, progress=False
    )
    assert tuple(run.steps[-2:]) == (n, n + 1)
    before, after = (jax.tree.map(lambda w, i=i: w[i], run.weights) for i in (-2, -1))
    found = pn.correction(problem, rule, before, step_size=rate, step=n, kind="map")
    actual = (flat(after) - flat(before)) / rate
    F, velocity, V = flat(found.F), flat(found.velocity), flat(found.validity)
    live = F != 0
    return V[live], (actual + F)[live], (actual - velocity)[live], F[live]


def test_of_heavy_ball_the_error_falls_fivefold():
    rule = pn.optimizers.GradientDescent(momentum=0.9)
    problem = network(0)
    for rate in (0.01, 0.1):
        _, plain, corrected, F = errors(problem, rule, rate, 200)
        size = np.linalg.norm
        assert size(plain) > 5 * size(corrected)
        assert plain @ (plain - corrected) / size(plain) / size(
            plain - corrected
        ) == pytest.approx(1.0, abs=0.01)
        assert size(plain) / size(F) < 0.1


@pytest.mark.slow
def test_of_adam_it_falls_below_a_tenth_and_rises_above_three():
    """Coordinate by coordinate: where 0.3 for a valid correction comes from."""
    rule = pn.optimizers.Adam(b1=0.9, b2=0.95, eps=1e-8, bias_correction=True)
    found = [errors(network(seed), rule, 1e-4, 300) for seed in range(3)]
    V = np.concatenate([f[0] for f in found])
    before, after = (
        np.concatenate([np.abs(f[i]) / np.abs(f[3]) for f in found]) for i in (1, 2)
    )
    gain = {
        (low, high): np.median(before[at]) / np.median(after[at])
        for low, high in ((0.0, 0.03), (0.03, 0.1), (0.1, 0.3), (0.3, 1.0), (1.0, 3.0))
        if (at := (low <= V) & (high > V)).sum() > 10
    }
    assert len(gain) == 5
    assert gain[0.0, 0.03] > 1.5
    assert gain[0.03, 0.1] > 1.5
    assert gain[0.1, 0.3] > 1.0
    assert gain[0.3, 1.0] < 1.0
    assert gain[1.0, 3.0] < 0.6
    # in norm a few coordinates outweigh all others
    assert np.linalg.norm(found[0][2]) > np.linalg.norm(found[0][1])
