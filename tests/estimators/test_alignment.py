import cvxpy as cp
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import penchant as pn
from penchant import LinearClassification, losses
from penchant.estimators import alignment
from penchant.norms import L1, L2, Layerwise, Linf, Nuclear, Spectral

rng = np.random.default_rng(0)
X = rng.normal(size=(20, 4))
s = np.where(X[:, 0] + 0.7 * rng.normal(size=20) > 0, 1, -1)
TWO = LinearClassification(X, s, loss=losses.Logistic())
SEPARABLE = LinearClassification(X + 9 * s[:, None], s, loss=losses.Exponential())
THREE = LinearClassification(X, np.arange(20) % 3, loss=losses.Logistic())
OF_TWO = [L1(), L2(), Linf()]


@pytest.mark.parametrize(("norm", "p"), [(L1(), 1), (L2(), 2), (Linf(), "inf")])
def test_is_1_at_the_constrained_minimiser_and_only_there(norm, p):
    w = cp.Variable(4)
    loss = cp.sum(cp.logistic(-cp.multiply(s, X @ w)))
    cp.Problem(cp.Minimize(loss), [cp.norm(w, p) <= 0.5]).solve(solver="CLARABEL")
    rows = alignment(TWO, w.value, OF_TWO)
    for row in rows:
        if row.norm.same(norm):
            assert row.alignment == pytest.approx(1, abs=1e-4)
        else:
            assert row.alignment < 0.99


def test_is_1_at_the_spectral_minimiser():
    W = cp.Variable((3, 4))
    Z = X @ W.T
    own = Z[np.arange(20), np.arange(20) % 3]
    loss = cp.sum(cp.log_sum_exp(Z, axis=1) - own)
    cp.Problem(cp.Minimize(loss), [cp.sigma_max(W) <= 0.1]).solve(solver="CLARABEL")
    spectral, nuclear = alignment(THREE, W.value, [Spectral(), Nuclear()])
    assert spectral.alignment == pytest.approx(1, abs=1e-4)
    assert nuclear.alignment < 0.99


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(-100, 100))
def test_at_most_1_and_scale_invariant(seed, log):
    w = np.random.default_rng(seed).normal(size=4)
    (gradient,) = [TWO.scaled_gradient(jnp.asarray(w))]
    rows = alignment(TWO, w, OF_TWO, gradients=[gradient])
    again = alignment(TWO, w * 2.0**log, OF_TWO, gradients=[gradient])
    for a, b in zip(rows, again, strict=True):
        assert abs(a.alignment) <= 1 + 1e-12
        assert b.alignment == pytest.approx(a.alignment, abs=1e-10)


def test_a_loss_far_below_the_least_float():
    w = np.ones(4)
    w *= 1e5 / SEPARABLE.margins(jnp.asarray(w)).min()
    assert float(SEPARABLE.log_loss(jnp.asarray(w))) < -9e4
    for row in alignment(SEPARABLE, w, OF_TWO):
        assert 0 < row.alignment <= 1 + 1e-12


def test_steps_that_oscillate_average_out():
    gradient = TWO.scaled_gradient(jnp.asarray(np.ones(4)))
    swing = jnp.array([0.0, 5.0, -5.0, 0.0])
    up, down = (
        type(gradient)(gradient.direction + a * swing, gradient.log_scale - 1e5)
        for a in (1, -1)
    )
    plain = alignment(TWO, np.ones(4), OF_TWO)
    window = alignment(TWO, np.ones(4), OF_TWO, gradients=[up, down])
    for a, b in zip(plain, window, strict=True):
        assert b.alignment == pytest.approx(a.alignment)


def test_zero_weights_have_none_and_bad_input_is_named():
    assert np.isnan(alignment(TWO, np.zeros(4), [L2()])[0].alignment)
    with pytest.raises(ValueError, match="norms must"):
        alignment(TWO, np.ones(4), [])


def test_of_several_arrays_entries_count_together():
    def losses_of(w, batch):
        X, y = batch
        return 0.5 * (jnp.tanh(X @ w["A"]) @ w["c"] - y) ** 2

    draw = np.random.default_rng(5)
    w = {"A": jnp.asarray(draw.normal(size=(4, 3))), "c": jnp.asarray(np.ones(3))}
    problem = pn.Objective(losses_of, w, (X, X[:, 0]))
    flat = problem.flat(w)
    g = problem.flat(problem.gradient(w))
    for row, p in zip(alignment(problem, w, OF_TWO), (1, 2, np.inf), strict=True):
        dual = {1: np.inf, 2: 2, np.inf: 1}[p]
        told = -flat @ g / (np.linalg.norm(flat, p) * np.linalg.norm(g, dual))
        assert row.alignment == pytest.approx(float(told), rel=1e-12)
    (layers,) = alignment(problem, w, [Layerwise(Spectral())])
    assert np.isfinite(layers.alignment)
    with pytest.raises(ValueError, match=r"Spectral.* takes a matrix.*Layerwise"):
        alignment(problem, w, [Spectral()])
