"""Penalties: gradients, kinks and conventions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

import penchant as pn
from tests.cases import cosine

P = pn.penalties

W = {
    "a": jnp.asarray(np.random.default_rng(0).normal(size=(4, 3))),
    "b": jnp.asarray(np.random.default_rng(1).normal(size=5)),
}
SMOOTH = (
    P.Ridge(),
    P.ScaledRidge(jax.tree.map(jnp.abs, W)),
    P.L1(),
    P.L1(smooth=0.3),
    P.Power(1.5),
    P.Power(0.5, 1e-2),
    P.Group(1),
    P.Nuclear(),
    P.SchattenPower(1.5, 1e-3),
    P.Hypentropy(0.1),
    P.Anchored(jax.tree.map(jnp.ones_like, W)),
    P.Anchored(jax.tree.map(jnp.ones_like, W), P.L1(smooth=0.1)),
    P.OfLayer(P.Power(3.0), 1, "b"),
    P.Custom(lambda w: jnp.sum(jnp.cos(w["a"])), "cosines"),
)
LOSS = pn.Regression(
    lambda w, X: jnp.tanh(X @ w["a"]) @ w["b"][:3] + w["b"][3],
    W,
    np.random.default_rng(2).normal(size=(7, 4)),
    np.random.default_rng(3).normal(size=7),
)


@pytest.mark.sampled
@pytest.mark.parametrize("penalty", [*SMOOTH, P.GradientNorm()], ids=repr)
def test_gradients_are_those_of_central_differences(penalty):
    v = jax.tree.map(lambda x: jnp.cos(jnp.arange(x.size)).reshape(x.shape), W)
    at = lambda h: float(
        penalty.value(jax.tree.map(lambda w, d: w + h * d, W, v), LOSS)
    )
    g = penalty.gradient(W, LOSS)
    along = sum(float(jnp.sum(g[k] * v[k])) for k in W)
    assert (at(1e-5) - at(-1e-5)) / 2e-5 == pytest.approx(along, rel=1e-6, abs=1e-8)


def test_a_secant_tends_to_the_product_with_the_hessian():
    exact = P.GradientNorm().gradient(W, LOSS)
    off = []
    for s in (1e-2, 5e-3):
        near = P.GradientNorm(secant=s).gradient(W, LOSS)
        off.append(max(float(jnp.max(jnp.abs(near[k] - exact[k]))) for k in W))
    assert off[0] / off[1] == pytest.approx(2.0, rel=0.05)


def test_power_two_is_twice_ridge_and_schatten_two_is_power_two():
    ridge = float(P.Ridge()(W))
    assert float(P.Power(2.0)(W)) == pytest.approx(2 * ridge)
    assert float(P.SchattenPower(2.0)(W)) == pytest.approx(2 * ridge)
    assert float(P.Nuclear()(W)) == pytest.approx(
        float(pn.norms.Nuclear()(W["a"]) + pn.norms.L2()(W["b"]))
    )


@pytest.mark.parametrize("penalty", [P.Ridge(), P.L1(), P.Group(1), P.Nuclear()])
def test_nothing_is_nan_at_zero(penalty):
    zero = jax.tree.map(jnp.zeros_like, W)
    g = penalty.gradient(zero, LOSS)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(g))


def test_what_kinks_need_is_the_dual_norm_off_the_support():
    w = jnp.array([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]])
    force = jnp.array([[9.0, 9.0], [3.0, -4.0], [1.0, 0.0]])
    assert float(P.L1().needed(w, force)) == 4.0
    assert float(P.Group(1).needed(w, force)) == 5.0
    # across the row space of (1, 2) and off the first column space
    across = np.array([[3.0, -4.0], [1.0, 0.0]]) @ (
        np.eye(2) - np.outer([1, 2], [1, 2]) / 5
    )
    assert float(P.Nuclear().needed(w, force)) == pytest.approx(
        np.linalg.norm(across, 2)
    )


def test_tangents_are_projections_that_keep_the_gradient():
    w = jnp.asarray(np.outer([1.0, 0.0, 2.0], [1.0, -1.0, 0.0, 3.0]))
    v = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)))
    for penalty in (P.L1(), P.Group(1), P.Nuclear()):
        keep = penalty.tangent(w)
        assert keep is not None
        once = keep(v)
        assert np.allclose(keep(once), once)
        assert float(jnp.sum(once * (v - once))) == pytest.approx(0.0, abs=1e-12)
        g = penalty.gradient(w, None)
        assert np.allclose(keep(g), g)


@pytest.mark.slow
def test_gauss_newton_is_the_mean_of_dropout_to_second_order():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(6, 3)), rng.integers(3, size=6)
    w = {
        "U": jnp.asarray(rng.normal(size=(3, 4))),
        "V": jnp.asarray(rng.normal(size=(4, 3))),
    }
    apply = lambda w, x, noise: ((x @ w["U"]) * (1.0 + noise)) @ w["V"]
    loss = lambda z, y: jax.nn.logsumexp(z) - z[y]
    penalty = P.NoiseGaussNewton(apply, jnp.zeros(4), loss, X, y)

    def mean(s):  # by Gauss and Hermite's nodes in each of four directions
        at = lambda noise: float(
            np.mean([
                loss(apply(w, x, noise), int(k)) for x, k in zip(X, y, strict=True)
            ])
        )
        base = at(jnp.zeros(4))
        eye = np.eye(4) * s
        return sum(0.5 * (at(jnp.asarray(e)) + at(jnp.asarray(-e))) - base for e in eye)

    # the network is linear in this noise, so the second order is all Gauss-Newton
    assert mean(1e-2) / 1e-4 == pytest.approx(float(penalty(w)), rel=1e-3)


def test_penalised_problems_train_to_the_penalised_minimum():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 4)), rng.normal(size=20)
    loss = pn.Regression(lambda w, X: X @ w, jnp.zeros(4), X, y)
    both = P.Penalised(loss, [P.Ridge(), P.Power(4.0)], [0.2, 0.1])
    run = pn.train(both, pn.optimizers.GradientDescent(), steps=2000, step_size=0.1)

    def value(w):
        return 0.5 * np.mean((X @ w - y) ** 2) + 0.1 * w @ w + 0.1 * np.sum(w**4)

    best = minimize(value, np.zeros(4), tol=1e-12)
    assert np.allclose(run.last, best.x, atol=1e-6)
    assert float(run.loss[-1]) == pytest.approx(best.fun, rel=1e-9)


def test_scales_of_a_run_are_what_it_divides_by():
    problem = pn.datasets.gaussian(8, 5, seed=0).problem()
    rule = pn.optimizers.Adam(0.9, 0.99, 1e-3)
    run = pn.train(problem, rule, steps=50, step_size=0.01)
    found = P.noise_scaled(run)
    v = np.exp(np.asarray(rule.log_second(run.state.optimizer)))
    assert np.allclose(found.scale, np.sqrt(v) + 1e-3)
    plain = pn.train(problem, pn.optimizers.GradientDescent(), steps=5, step_size=0.1)
    with pytest.raises(TypeError, match="divides by the root of a memory"):
        P.noise_scaled(plain)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: P.L1(smooth=0.0), "smooth must be > 0; got 0"),
        (lambda: P.Power(1.0), "eps must be > 0 for p <= 1"),
        (lambda: P.Power(-1.0), "p must be > 0"),
        (lambda: P.Hypentropy(0.0), "width must be > 0"),
        (lambda: P.Custom(3), "function|a penalty must be one of"),
        (lambda: P.Free(P.Power, 2.0, 1.0), "high must be > 2"),
        (lambda: P.Penalised(LOSS, [P.Ridge()], [1.0, 2.0]), "one for each of 1"),
        (
            lambda: P.Penalised(LOSS, [P.Ridge()], [np.nan]),
            "coefficients must be finite",
        ),
        (lambda: P.GradientNorm()(W), "function of the loss"),
    ],
)
def test_bad_penalties_are_told(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()


def test_layers_have_names_and_their_own_gradients():
    parts = P.layerwise(P.Ridge(), W)
    assert [p.label for p in parts] == ["Ridge of a", "Ridge of b"]
    total = jax.tree.map(jnp.add, *(p.gradient(W, None) for p in parts))
    assert cosine(total["a"], W["a"]) == pytest.approx(1.0)
    assert float(sum(p(W) for p in parts)) == pytest.approx(float(P.Ridge()(W)))
