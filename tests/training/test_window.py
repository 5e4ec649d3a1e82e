import jax
import numpy as np
import pytest

import penchant as pn
from penchant import batching, optimizers
from penchant.training import window


def _problem():
    return pn.datasets.gaussian(9, 14, seed=4).problem()


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("rule", "batches"),
    [
        (optimizers.GradientDescent(), batching.FullBatch()),
        (optimizers.Adam(b2=0.95), batching.Shuffled(4)),
        (optimizers.Muon(b1=0.5), batching.FullBatch()),
    ],
)
def test_it_goes_on_with_the_runs_own_steps(rule, batches):
    """Means over the window are those of runs that are each a step longer."""
    data = pn.datasets.class_centres(k=3, d=6, per_class=4, seed=2)
    problem = data.problem()
    options = {"step_size": 0.02, "batching": batches, "key": 3}
    run = pn.train(problem, rule, steps=37, **options)
    seen = window(run, steps=8, blocks=2)
    assert seen.steps == 8
    longer = [
        pn.train(problem, rule, steps=37 + i, **options).last for i in range(1, 9)
    ]
    gradients = [jax.grad(problem.log_loss)(w) for w in longer]
    for block in range(2):
        part = slice(4 * block, 4 * block + 4)
        mean = sum(longer[part]) / 4
        np.testing.assert_allclose(seen.weights[block], mean, rtol=1e-12)
        mean = sum(gradients[part]) / 4
        np.testing.assert_allclose(seen.gradients[block], mean, rtol=1e-9, atol=1e-12)


def test_the_run_stays_as_it_is():
    problem = _problem()
    rule = optimizers.Adam()
    options = {"step_size": 0.01, "batching": batching.Cyclic(2)}
    run = pn.train(problem, rule, steps=25, **options)
    before = np.asarray(run.last).copy()
    window(run, steps=300)
    np.testing.assert_array_equal(run.last, before)
    again = pn.train(problem, rule, steps=25, **options)
    for a, b in zip(
        jax.tree.leaves(run.state), jax.tree.leaves(again.state), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_losses_that_fall_by_orders_count_every_block_alike():
    """Of a loss that falls by e^700, each block's mean is of the log's slope."""
    problem = pn.LinearClassification(
        np.array([[1.0, 0.0]]), np.array([1]), loss=pn.losses.Exponential()
    )
    run = pn.train(problem, optimizers.SignDescent(), steps=10, step_size=1.0)
    seen = window(run, steps=700, blocks=7)
    np.testing.assert_allclose(seen.gradients[:, 0], -1.0, rtol=1e-12)


def test_noise_is_in_the_steps_and_not_in_what_is_averaged():
    X = np.random.default_rng(0).normal(size=(12, 3))
    linear = lambda w, X: X @ w
    problem = pn.Regression(linear, np.zeros(3), X, X @ np.ones(3), label_noise=1.0)
    options = {"step_size": 0.05, "key": 4}
    run = pn.train(problem, optimizers.GradientDescent(), steps=30, **options)
    seen = window(run, steps=1, blocks=1)
    longer = pn.train(problem, optimizers.GradientDescent(), steps=31, **options).last
    np.testing.assert_allclose(seen.weights[0], longer, rtol=1e-12)
    r = X @ (np.asarray(longer) - 1.0)
    np.testing.assert_allclose(seen.gradients[0], X.T @ r / len(X), rtol=1e-9)


def test_a_count_below_1_is_named():
    run = pn.train(_problem(), optimizers.SignDescent(), steps=5, step_size=0.1)
    with pytest.raises(ValueError, match="steps"):
        window(run, steps=0)
    with pytest.raises(TypeError, match="run"):
        window(_problem(), steps=3)
