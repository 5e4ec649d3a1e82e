"""A batching of somebody else's is taken for what it says, and for no more."""

import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant import batching, optimizers as rules
from penchant.theory import Verdict


class Half(batching.AbstractBatching):
    """The first half of the samples, at every step."""

    def steps_per_epoch(self, samples):
        return 2

    def batches(self, key, start, length, samples):
        rows = jnp.broadcast_to(jnp.arange(samples // 2), (length, samples // 2))
        return batching.Batches(rows, None)


class Whole(Half):
    """Every sample, and it says so."""

    def steps_per_epoch(self, samples):
        return 1

    def batches(self, key, start, length, samples):
        return None

    def covers(self, samples):
        return True


def linear():
    return pn.datasets.gaussian(8, 12, seed=0).problem()


def network():
    data = pn.datasets.gaussian(8, 12, seed=0)
    w = {"in": jnp.ones((12, 3)) * 0.3, "out": jnp.array([1.0, -0.5, 0.7])}
    apply = lambda w, X: jnp.maximum(X @ w["in"], 0.0) @ w["out"]
    return pn.NetworkClassification(apply, w, data.X, data.y, loss=pn.losses.Logistic())


def about_samples(problem, rule, order):
    told = pn.predict(problem, rule, batching=order)
    return [a.verdict for a in told.assumptions if "every sample" in a.statement]


@pytest.mark.parametrize("make", [linear, network])
@pytest.mark.parametrize("rule", [rules.SignDescent(), rules.Adam(0.9, 0.99, 0.0)])
def test_theory_holds_for_it_only_where_it_says_so(make, rule):
    problem = make()
    full = about_samples(problem, rule, batching.FullBatch())
    assert full
    assert set(full) == {Verdict.HOLDS}
    assert about_samples(problem, rule, Whole()) == full
    assert Verdict.HOLDS not in about_samples(problem, rule, Half())


def test_what_it_does_not_say_is_unknown():
    assert Half().covers(8) is None
    assert Half().size_of(9) == 5
    assert batching.Cyclic(4).covers(8) is False
    assert batching.Cyclic(8).covers(8) is True
    assert batching.WithReplacement(8).covers(8) is False
    assert batching.FullBatch().size_of(9) == 9


def test_it_trains_on_what_it_gives():
    problem = linear()
    run = pn.train(
        problem, rules.GradientDescent(), steps=50, step_size=0.1, batching=Half()
    )
    first = pn.LinearClassification(problem.X[:4], problem.y[:4], loss=problem.loss)
    same = pn.train(first, rules.GradientDescent(), steps=50, step_size=0.1)
    assert np.allclose(run.last, same.last, rtol=1e-12)
