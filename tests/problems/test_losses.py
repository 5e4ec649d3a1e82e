import jax
import jax.numpy as jnp
import numpy as np
import pytest

from penchant import losses

LOSSES = (losses.Exponential(), losses.Logistic(), losses.PairLog())
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)


def plain(loss, m):
    """The losses as textbooks write them, where that is accurate."""
    if isinstance(loss, losses.Exponential):
        return np.exp(-m).sum(1)
    if isinstance(loss, losses.Logistic):
        return np.log1p(np.exp(-m).sum(1))
    return np.log1p(np.exp(-m)).sum(1)


def margins(c, seed=0):
    m = np.random.default_rng(seed).uniform(-8, 8, size=(20, c))
    if c > 1:
        m[np.arange(20), np.arange(20) % c] = np.inf  # a sample's own class
    return m


@every_loss
@pytest.mark.parametrize("c", [1, 4])
def test_log_loss_and_slope_agree_with_the_textbook(loss, c):
    m = margins(c)
    assert np.allclose(loss.log_losses(jnp.asarray(m)), np.log(plain(loss, m)))
    h = 1e-6
    slopes = np.exp(np.asarray(loss.log_slopes(jnp.asarray(m))))
    for j in range(c):
        step = np.zeros(c)
        step[j] = h
        numeric = (plain(loss, m - step) - plain(loss, m + step)) / (2 * h)
        rounding = 1e-9 * plain(loss, m) + 1e-9  # of a difference over 2h
        assert np.all(np.abs(slopes[:, j] - numeric) <= 1e-6 * numeric + rounding)


@every_loss
@pytest.mark.parametrize("c", [1, 4])
@pytest.mark.parametrize("shift", [-900.0, 0.0, 40.0, 1e6])
def test_scaled_slopes_are_the_slopes_at_any_margin(loss, c, shift):
    m = jnp.asarray(margins(c) + shift)
    scaled = loss.scaled_slopes(m)
    wanted = loss.log_slopes(m)
    seen = jnp.log(scaled.entries) + scaled.log_scale
    visible = scaled.entries > 1e-300
    assert jnp.allclose(seen[visible], wanted[visible], rtol=1e-13, atol=1e-12)
    assert jnp.max(scaled.entries) <= 1.0 + 1e-12
    assert jnp.max(scaled.entries) >= 1.0 / (c + 1)
    assert jnp.allclose(scaled.totals, jnp.sum(scaled.entries, axis=1))


@every_loss
def test_the_log_domain_has_no_wall(loss):
    # e^{-m} loses its place beside 1 at 36.7, and is 0 from 745 on
    m = jnp.array([[35.0], [36.9], [800.0], [1e6]])
    assert jnp.allclose(loss.log_losses(m), -m[:, 0], rtol=1e-14)
    assert jnp.allclose(loss.log_slopes(m), -m, rtol=1e-14)


@every_loss
def test_gradients_of_log_losses_are_finite(loss):
    m = jnp.array([[-800.0, 3.0], [30.1, 29.9], [1e5, 2e5]])
    J = jax.jacobian(lambda m: loss.log_losses(m))(m)
    assert jnp.all(jnp.isfinite(J))


def test_two_class_losses_coincide():
    m = jnp.asarray(margins(1))
    pair, logistic = losses.PairLog(), losses.Logistic()
    assert jnp.allclose(pair.log_losses(m), logistic.log_losses(m))
    assert jnp.allclose(pair.log_slopes(m), logistic.log_slopes(m))
