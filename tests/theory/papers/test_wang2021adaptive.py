import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

import penchant as pn

ADAGRAD = pn.optimizers.AdaGrad()


def uneven(shape, scales, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=shape) * scales
    y = np.where(rng.random(shape[0]) < 0.5, -1, 1)
    return pn.LinearClassification(X, y, loss=pn.losses.Exponential())


def share(problem, norm, w):
    best = pn.max_margin(problem, norm)
    return float(jnp.min(problem.margins(w)) / norm(w) / best.margin)


@pytest.fixture(scope="module")
def run():
    problem = uneven((6, 12), np.geomspace(10.0, 0.1, 12))
    return pn.train(problem, ADAGRAD, steps=300_000, step_size=0.1)


def settled(told):
    return next(a for a in told.assumptions if "settled" in a.statement)


@pytest.mark.slow
def test_its_own_norm_wins_where_features_are_of_uneven_size(run):
    problem = run.rule.problem
    told = pn.predict(problem, ADAGRAD, step_size=0.1, trajectory=run)
    increment = run.increment()
    assert isinstance(told.norm, pn.norms.Mahalanobis)
    assert share(problem, told.norm, increment) > 0.995
    for other in (pn.norms.L1(), pn.norms.L2(), pn.norms.Linf()):
        assert share(problem, other, increment) < 0.8
    assert settled(told).verdict is pn.Verdict.HOLDS
    assert told.holds
    assert float(jnp.min(told.norm.M)) > 0
    assert float(jnp.max(told.norm.M)) == 1.0


def test_weights_are_sums_of_squared_gradients(run):
    told = pn.predict(run.rule.problem, ADAGRAD, trajectory=run)
    problem, w = run.rule.problem, np.zeros(12)
    X = np.asarray(problem.X) * np.asarray(problem.y)[:, None]
    total = np.zeros(12)
    for _ in range(3_000):  # plain AdaGrad, in as many steps as settle the most of it
        g = -(np.exp(-X @ w) @ X) / len(X)
        total += g**2
        w -= 0.1 * g / (np.sqrt(total) + 1e-10)
    roots = np.sqrt(total)
    assert np.allclose(told.norm.M, roots / roots.max(), rtol=0.05)


def test_a_short_run_has_not_settled():
    problem = uneven((6, 12), np.geomspace(10.0, 0.1, 12))
    short = pn.train(problem, ADAGRAD, steps=30, step_size=0.01)
    told = pn.predict(problem, ADAGRAD, trajectory=short)
    assert settled(told).verdict is pn.Verdict.FAILS
    assert not told.holds


def test_without_a_run_there_is_no_norm():
    told = pn.predict(uneven((3, 5), 1.0), ADAGRAD)
    assert told.norm is told.weights is None
    assert "give a trajectory" in told.statement


@pytest.mark.slow
def test_the_norm_is_one_on_every_route_though_a_feature_is_dead():
    X = np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [1.5, 0.5, 0.0]])
    problem = pn.LinearClassification(X, [1, 1, 1], loss=pn.losses.Exponential())
    for eps in (0.0, 1e-10):
        rule = pn.optimizers.AdaGrad(eps)
        run = pn.train(problem, rule, steps=2_000, step_size=0.1)
        told = pn.predict(problem, rule, trajectory=run)
        assert float(told.weights[2]) == 0.0
        own = rule.norm(run.state.optimizer)
        assert told.norm.same(own)
        flow = pn.flows.adaptive_flow(problem, trajectory=run, log_loss=-400.0)
        limit = pn.limit(problem, run)
        # sums go on growing a little: to the end of the flow, where limit reads them
        assert np.allclose(flow.norm().M, limit.norm.M, rtol=1e-6)
        assert np.allclose(own.M, limit.norm.M, rtol=0.05)
        assert float(limit.weights[2]) == 0.0


def limit_of_one_sample(x, eta, eps):
    r"""$h_\infty\odot x$: $2\eta\sum_i(\sqrt{\varepsilon+x_i^2S}-\sqrt\varepsilon)=1$.

    What the loss loses, the accumulators gain (homogeneous_adaptive, section 1.5, there
    with unit step size): the flow is exact, steps are so as they become small.
    """

    def gained(S):
        return 2 * eta * np.sum(np.sqrt(eps + x**2 * S) - np.sqrt(eps)) - 1.0

    h = (eps + x**2 * brentq(gained, 0.0, 1e9, xtol=1e-12)) ** -0.5
    return h, h * x / np.linalg.norm(h * x)


def test_closed_form_for_one_sample():
    x = np.array([1.0, 2.0, -5.0, 0.3])
    problem = pn.LinearClassification(x[None], [1], loss=pn.losses.Exponential())
    errors = []
    for eta in (0.05, 0.025, 0.0125):
        eps = (1.0 / (16.0 * eta)) ** 2  # of the size of what is accumulated
        h, limit = limit_of_one_sample(x, eta, eps)
        rule = pn.optimizers.AdaGrad(eps, eps_inside=True)
        run = pn.train(problem, rule, steps=1_000_000, step_size=eta, record=20)
        errors.append(float(np.abs(np.asarray(run.increment()) - limit).max()))
        told = pn.predict(problem, rule, trajectory=run)
        assert np.allclose(
            run.increment(), told.weights / jnp.linalg.norm(told.weights), atol=1e-5
        )
    assert errors[0] > 2.5 * errors[1] > 2.5 * 2.5 * errors[2]
    assert errors[2] < 5e-3
    denominators = rule.denominators(run.state.optimizer)
    assert np.allclose(denominators * h, 1.0, atol=0.03)
    # and that is far from the sample itself, where gradient descent goes
    assert np.abs(limit - x / np.linalg.norm(x)).max() > 0.2


def test_one_sample_without_eps_goes_to_its_signs():
    # Qian and Qian's example: (1, 1)/sqrt 2 whatever the angle of the sample
    for angle in (0.1, 0.7, 1.4):
        x = np.array([np.cos(angle), np.sin(angle)])
        problem = pn.LinearClassification(x[None], [1], loss=pn.losses.Exponential())
        run = pn.train(problem, pn.optimizers.AdaGrad(0.0), steps=2_000, step_size=0.01)
        assert np.allclose(run.increment(), np.sqrt(0.5), atol=1e-12)
