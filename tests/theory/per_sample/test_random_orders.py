"""Random orders are sampled: without bias at any memory, and with an honest error."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant.optimizers import Adam
from penchant.theory.per_sample import adam_limits, adam_proxy, adam_step, equilibrium
from penchant.training.batching import Shuffled, WithReplacement

N, D = 7, 5
ORDERS = [Shuffled(1), Shuffled(3), WithReplacement(1), WithReplacement(2)]
MEMORIES = [0.5, 0.95, 0.99, 0.999, 0.9999, 1 - 1e-7]
LOG_C = jnp.asarray(np.random.default_rng(1).normal(scale=1.5, size=N))
every_order = pytest.mark.parametrize("batching", ORDERS, ids=repr)

means = eqx.filter_jit(lambda step, log_c: step.means(log_c))


@functools.cache
def problem(n=N, d=D):
    data = pn.datasets.gaussian(n, d, seed=2)
    return data.problem(loss=pn.losses.Exponential())


@functools.cache
def drawn(batching, b1, draws, key):
    return adam_step(problem(), Adam(b1, 0.9, 0.0), batching, draws=draws, key=key)


def told(batching, b1, b2, draws, key):
    """A mean step, and its standard error by the spread of its chains."""
    step = drawn(batching, b1, draws, key)
    step = eqx.tree_at(lambda s: s.b2, step, jnp.asarray(b2))
    seen = np.asarray(means(step, LOG_C))
    return seen.mean(axis=0), seen.std(axis=0, ddof=1) / np.sqrt(len(seen))


@pytest.mark.sampled
@every_order
@pytest.mark.parametrize("b1", [pytest.param(0.0, marks=pytest.mark.slow), 0.9])
def test_errors_of_mean_steps_are_standard_normal(batching, b1):
    for b2 in MEMORIES[1:] if b1 else MEMORIES:
        exact, left = told(batching, b1, b2, 50_000, key=1000)
        seen = [told(batching, b1, b2, 512, key) for key in range(30)]
        z = [(x - exact) / np.hypot(error, left) for x, error in seen]
        rms = float(np.sqrt(np.mean(np.square(z))))
        assert 0.7 < rms < 1.4, b2
        # no bias: a mean over seeds is as near as their number makes it
        assert np.abs(np.mean(z, axis=0)).max() < 4 / np.sqrt(30), b2


@every_order
def test_long_memories_have_the_enumerated_limit(batching):
    # batches enumerated: V of the proxy is their mean square (test_mean_step)
    for b2 in (0.999, 0.9999, 1 - 1e-6):
        found, error = told(batching, 0.9, b2, 512, key=0)
        exact = np.asarray(adam_proxy(problem(), batching)(LOG_C))
        assert (np.abs(found - exact) < 5 * error + 5 * (1 - b2)).all()


@pytest.mark.parametrize("batching", [
    Shuffled(4), pytest.param(WithReplacement(3), marks=pytest.mark.slow)
], ids=repr)  # fmt: skip
def test_limits_by_default_are_the_enumerated_ones(batching):
    how = {"batching": batching, "starts": 0}
    rule = Adam(0.9, 0.9999, 0.0)
    found = adam_limits(problem(15, 20), rule, **how).reached
    exact = adam_limits(problem(15, 20), rule, **how, draws=0).reached
    apart = np.linalg.norm(np.asarray(found.direction - exact.direction))
    assert apart**2 / 2 < 2e-6
    assert apart < 4 * found.standard_error + 20 * (1 - 0.9999)


@pytest.mark.slow
@every_order
@pytest.mark.parametrize("b2", [0.95, 0.99, 0.999, 0.9999])
def test_errors_of_limits_are_standard_normal(batching, b2):
    rule = Adam(0.9, b2, 0.0)
    how = {"batching": batching, "starts": 0}
    large = adam_step(problem(15, 30), rule, batching, draws=400_000, key=1000)
    step = np.asarray(equilibrium(large).step)
    exact = step / np.linalg.norm(step)
    z = []
    for key in range(40):
        found = adam_limits(problem(15, 30), rule, **how, key=key).reached
        error = np.linalg.norm(np.asarray(found.direction) - exact)
        z.append(error / found.standard_error)
    assert 0.7 < np.sqrt(np.mean(np.square(z))) < 1.4


def test_starts_have_the_moments_of_an_infinite_past():
    # v of a memory far longer than the past drawn: variance (1-b2)/(1+b2) Var G²
    b2 = 0.999
    rule = Adam(0.9, b2, 0.0)
    step = adam_step(problem(), rule, WithReplacement(1), draws=16)
    step = eqx.tree_at(lambda s: s.growth, step, jnp.zeros(()))
    g = jnp.exp(LOG_C - LOG_C.max())[:, None] * step.rows
    mean, square = jnp.mean(g, axis=0), jnp.mean(g**2, axis=0)

    @eqx.filter_jit
    def start(step):
        return step._starts(g, mean, square - mean**2)

    seen = []
    for key in range(150):
        drawn = adam_step(problem(), rule, WithReplacement(1), draws=16, key=key)
        seen.append(start(drawn))
    m, v = (np.concatenate(x) for x in zip(*seen, strict=True))
    assert (v > 0).all()
    count = np.sqrt(len(v))
    for got, want, spread in (
        (m, mean, (1 - 0.9) / (1 + 0.9) * (square - mean**2)),
        (v, square, (1 - b2) / (1 + b2) * jnp.var(g**2, axis=0)),
    ):
        error = np.sqrt(np.asarray(spread)) / count
        np.testing.assert_array_less(np.abs(got.mean(axis=0) - want), 4.5 * error)
        np.testing.assert_allclose(got.var(axis=0), spread, rtol=0.2)
    both = jnp.mean(g**3, axis=0) - mean * square
    expected = (1 - 0.9) * (1 - b2) / (1 - 0.9 * b2) * np.asarray(both)
    got = ((m - m.mean(axis=0)) * (v - v.mean(axis=0))).mean(axis=0)
    size = np.sqrt(m.var(axis=0) * v.var(axis=0)) / count
    np.testing.assert_array_less(np.abs(got - expected), 4.5 * size)


def test_many_samples_are_drawn_by_few_chains():
    step = adam_step(problem(2000, 3), Adam(0.9, 0.95, 0.0), Shuffled(1), draws=512)
    assert step.chains == 4
    assert step.units.count == 4 * 2000
    assert jax.eval_shape(step.means, jnp.zeros(2000)).shape == (4, 3)
