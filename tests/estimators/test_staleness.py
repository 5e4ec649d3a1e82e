"""Gradients of the same batch, some steps apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant.optimizers import GradientDescent
from tests.flows.modified.cases import net


def bowl():
    return pn.Objective(lambda w, a: (a @ w) ** 2 / 2, jnp.ones(1), jnp.eye(1))


def test_on_a_quadratic_it_is_one_minus_the_factor_of_a_step():
    run = pn.train(bowl(), "gd", steps=4, step_size=0.1)
    found = pn.estimators.staleness(run, lags=(1, 3, 10))
    told = [1 / 0.9**0 - 0.9**k for k in (1, 3, 10)]
    assert [v.value for v in found.values] == pytest.approx(told)
    assert found.stale_after == 10
    assert found.values[0].exact


def test_memory_outlives_gradients_where_steps_are_large():
    run = pn.train(bowl(), GradientDescent(0.9), steps=50, step_size=1e-4)
    fresh = pn.estimators.staleness(run)
    assert fresh.memory == pytest.approx(9.0)
    assert fresh.outlived is False
    run = pn.train(net(), "adam", steps=30, step_size=0.1)
    assert pn.estimators.staleness(run).outlived is True


@pytest.mark.slow
def test_batches_have_an_error_and_schedules_go_on():
    batching = pn.batching.Shuffled(2)
    schedule = pn.schedules.power(0.1, 1.0)
    run = pn.train(net(), "gd", steps=40, step_size=schedule, batching=batching)
    found = pn.estimators.staleness(run, lags=(1, 2), batches=5)
    assert all(v.error > 0 and v.n == 5 for v in found.values)
    # it goes on with steps 40 to 42, of which the last is .1/44
    run = pn.train(bowl(), "gd", steps=40, step_size=schedule)
    found = pn.estimators.staleness(run, lags=(1, 2))
    assert found.values[0].value == pytest.approx(0.1 / 44, rel=1e-9)


def test_lags_are_checked():
    run = pn.train(bowl(), "gd", steps=4, step_size=0.1)
    with pytest.raises(ValueError, match="lags must be ascending"):
        pn.estimators.staleness(run, lags=(3, 1))
    assert np.isfinite(float(jax.tree.leaves(run.last)[0][0]))
