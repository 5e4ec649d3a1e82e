"""The path since what a memory holds, where step sizes change."""

import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("n", [1, 7, 300])
def test_of_one_step_size_it_is_the_mean_age(decay, n):
    eta = 0.3
    told = pn.estimators.path_since(decay, [eta] * n)
    age = 0.5 * (pn.flows.memory_coefficient(decay, n) - 1.0)
    assert told == pytest.approx(eta * age, rel=1e-10)


def test_of_a_schedule_it_is_the_double_sum():
    h, b = np.random.default_rng(0).uniform(size=12), 0.8
    n = len(h)
    weights = b ** np.arange(n + 1)
    paths = [h[n - k :].sum() for k in range(n + 1)]
    told = pn.estimators.path_since(b, h)
    assert told == pytest.approx(weights @ paths / weights.sum(), rel=1e-12)


def test_a_schedule_makes_the_correction_of_flows():
    """On Adam without epsilon, whose replay on frozen gradients is another route."""
    made = np.random.default_rng(0)
    X = jnp.asarray(made.normal(size=(8, 4)))
    problem = pn.Regression(lambda w, X: X @ w, jnp.ones(4), X, jnp.zeros(8))
    w, n, b1, b2 = jnp.asarray(made.normal(size=4)), 30, 0.9, 0.95
    rates = lambda t: 1e-3 / (1.0 + 0.2 * jnp.asarray(t, float))
    rule = pn.optimizers.Adam(b1=b1, b2=b2, eps=0.0, bias_correction=True)
    found = pn.correction(problem, rule, w, step_size=rates, step=n, kind="map")
    g = np.asarray(X.T @ X @ w / 8)
    told = pn.estimators.adaptive_memory(
        g, np.asarray(X.T @ X @ np.sign(g) / 8), 0.0, step_size=float(rates(n)),
        decays=(b1, b2), step=n, past=[float(rates(t)) for t in range(n)],
    )  # fmt: skip
    V = np.quantile(np.asarray(found.validity), (0.05, 0.25, 0.5, 0.75, 0.95))
    np.testing.assert_allclose(told.quantiles, V, rtol=1e-9)


def test_epsilon_under_the_root_is_that_of_flows():
    made = np.random.default_rng(1)
    X = jnp.asarray(made.normal(size=(8, 4)))
    problem = pn.Regression(lambda w, X: X @ w, jnp.ones(4), X, jnp.zeros(8))
    w, n, eps = jnp.asarray(made.normal(size=4)), 5, 0.3
    for inside in (False, True):
        rule = pn.optimizers.Adam(
            b1=0.9, b2=0.95, eps=eps, eps_inside=inside, bias_correction=True
        )
        found = pn.correction(problem, rule, w, step_size=0.01, step=n, kind="flow")
        g = np.asarray(X.T @ X @ w / 8)
        below = np.sqrt(g**2 + eps) if inside else np.abs(g) + eps
        told = pn.estimators.adaptive_memory(
            g, np.asarray(X.T @ X @ (g / below) / 8), eps, step_size=0.01,
            decays=(0.9, 0.95), step=n, eps_inside=inside,
        )  # fmt: skip
        V = np.quantile(np.asarray(found.validity), (0.05, 0.25, 0.5, 0.75, 0.95))
        np.testing.assert_allclose(told.quantiles, V, rtol=1e-9)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [((1.0, [0.1]), "decay must be"), ((0.5, [[0.1]]), "past must be a list")],
)
def test_bad_input_is_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        pn.estimators.path_since(*wrong)
