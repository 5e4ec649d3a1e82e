"""Matching at an endpoint: exact solutions, bounds, and what can't be told."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize, nnls

import penchant as pn
from tests.cases import binary

P, E = pn.penalties, pn.estimators


def least_squares(n=60, d=12, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = X @ rng.normal(size=d) * 0.4 + noise * rng.normal(size=n)
    return pn.Regression(lambda w, X: X @ w, jnp.zeros(d), X, y)


def proximal(loss, ridge, l1, steps=5000):
    """The elastic net by proximal gradients in NumPy."""
    X, y = np.asarray(loss.X), np.asarray(loss.y)
    A, b, w = X.T @ X / len(y), X.T @ y / len(y), np.zeros(X.shape[1])
    h = 1.0 / (np.linalg.eigvalsh(A)[-1] + ridge)
    for _ in range(steps):
        z = w - h * (A @ w - b + ridge * w)
        w = np.sign(z) * np.maximum(np.abs(z) - h * l1, 0.0)
    return w


def test_ridge_at_the_minimiser_is_exact():
    loss = least_squares()
    X, y = np.asarray(loss.X), np.asarray(loss.y)
    w = np.linalg.solve(X.T @ X / 60 + 0.3 * np.eye(12), X.T @ y / 60)
    says = E.match(loss, w, [P.Ridge()])
    assert says.coefficients[0] == pytest.approx(0.3, rel=1e-12)
    assert says.identifiable
    assert says.r2 == pytest.approx(1.0)
    assert says.cosine == pytest.approx(1.0)
    assert says["Ridge"] == says.coefficients[0]


def test_elastic_net_is_fitted_on_its_support_and_holds_the_rest():
    loss = least_squares()
    w = proximal(loss, 0.1, 0.15)
    assert 0 < np.sum(w == 0) < 12
    both = P.Penalised(loss, [P.Ridge(), P.L1()], [0.1, 0.15])
    says = E.match(loss, w, [P.Ridge(), P.L1()], objective=both)
    assert np.allclose(says.coefficients, [0.1, 0.15], rtol=1e-9)
    assert says.gap_measured
    assert says.gap < 1e-9
    assert says.equations == np.sum(w != 0)
    (kink,) = says.kinks
    assert kink.holds
    g = np.asarray(loss.gradient(jnp.asarray(w)))
    assert kink.needed == pytest.approx(np.max(np.abs(g[w == 0])))
    # a third of the penalty can't hold what is at 0
    less = E.match(loss, w, [P.Ridge(), P.L1(), P.Anchored(np.full(12, 9.0))])
    assert less.coefficients[2] == pytest.approx(0.0, abs=1e-9)


def test_a_kink_that_is_too_weak_is_told():
    loss = pn.Regression(lambda w, X: X @ w, jnp.zeros(3), jnp.eye(3), [2.0, 2.0, 9.0])
    says = E.match(loss, np.array([1.0, 1.0, 0.0]), [P.L1()])
    assert not says.kinks[0].holds
    assert "does not hold" in str(says)


def test_group_and_nuclear_penalties_on_their_tangent_spaces():
    rng = np.random.default_rng(0)
    Y = jnp.asarray(rng.normal(size=(5, 4)))
    loss = pn.Objective(
        lambda w, batch: 0.5 * jnp.sum((w - Y) ** 2) + 0.0 * batch, Y, jnp.zeros(1)
    )
    U, s, V = np.linalg.svd(np.asarray(Y), full_matrices=False)
    low = (U * np.maximum(s - s[1], 0.0)) @ V
    says = E.match(loss, low, [P.Nuclear()])
    assert says.coefficients[0] == pytest.approx(s[1], rel=1e-9)
    assert says.kinks[0].needed == pytest.approx(s[1], rel=1e-9)
    rows = np.linalg.norm(Y, axis=1)
    cut = np.sort(rows)[2]
    shrunk = np.asarray(Y) * np.maximum(1.0 - cut / rows, 0.0)[:, None]
    shrunk[rows <= cut] = 0.0
    says = E.match(loss, shrunk, [P.Group(1)])
    assert says.coefficients[0] == pytest.approx(cut, rel=1e-9)
    assert says.kinks[0].holds


@pytest.mark.sampled
@pytest.mark.parametrize("seed", range(12))
def test_the_bound_contains_the_error_at_any_weights(seed):
    loss = least_squares(seed=seed)
    rng = np.random.default_rng(seed + 100)
    true = rng.uniform(0.02, 0.5, size=2)
    both = P.Penalised(loss, [P.Ridge(), P.L1(smooth=0.05)], true)
    best = minimize(
        lambda w: float(both.loss(jnp.asarray(w))),
        np.zeros(12),
        jac=lambda w: np.asarray(both.gradient(jnp.asarray(w))),
    ).x
    for off in (1e-6, 1e-3, 3e-2):
        w = best + off * rng.normal(size=12)
        says = E.match(loss, w, [P.Ridge(), P.L1(smooth=0.05)], objective=both)
        assert (np.abs(says.coefficients - true) <= says.error).all()
        assert says.gap == pytest.approx(
            np.linalg.norm(both.gradient(w)) / np.linalg.norm(loss.gradient(w))
        )
        again = E.match(
            loss, w, [P.Ridge(), P.L1(smooth=0.05)], objective=both, nonnegative=True
        )
        assert (np.abs(again.coefficients - true) <= again.error).all()


def test_nonnegative_least_squares_are_those_of_scipy():
    loss = least_squares(seed=3)
    w = np.random.default_rng(0).normal(size=12)
    terms = [P.Ridge(), P.Power(3.0), P.L1(smooth=0.1), P.Anchored(np.ones(12))]
    says = E.match(loss, w, terms, nonnegative=True)
    B = np.stack([np.asarray(t.gradient(jnp.asarray(w), None)) for t in terms], axis=1)
    expected, _ = nnls(B, -np.asarray(loss.gradient(jnp.asarray(w))))
    assert np.allclose(says.coefficients, expected)
    free = E.match(loss, w, terms)
    assert np.allclose(
        free.coefficients,
        np.linalg.lstsq(B, -np.asarray(loss.gradient(jnp.asarray(w))), rcond=None)[0],
    )
    unit = B / np.linalg.norm(B, axis=0)
    assert np.allclose(free.vif, np.diagonal(np.linalg.inv(unit.T @ unit)))


def test_gaussian_weights_inflate_the_elastic_net_as_known():
    # cos(sign w, w) = √(2/π) = .798 for Gaussian weights: an inflation of 2.75
    d = 200_000
    w = np.random.default_rng(0).normal(size=d)
    loss = pn.Objective(lambda w, b: jnp.sum(w) * b, jnp.zeros(d), jnp.ones(1))
    says = E.match(loss, w, [P.Ridge(), P.L1()])
    assert says.cosines[0, 1] == pytest.approx(np.sqrt(2 / np.pi), abs=2e-3)
    assert says.vif[0] == pytest.approx(1 / (1 - 2 / np.pi), rel=1e-2)


def test_a_free_exponent_is_found_to_its_digits():
    rng = np.random.default_rng(0)
    w = rng.normal(size=300)
    g = -0.02 * 1.5 * np.sign(w) * np.abs(w) ** 0.5
    loss = pn.Objective(
        lambda w, b: w @ jnp.asarray(g) * b, jnp.zeros(300), jnp.ones(1)
    )
    says = E.match(loss, w, [P.Free(lambda p: P.Power(p, 0.0), 1.05, 4.0)])
    assert says.shape.value == pytest.approx(1.5, abs=1e-6)
    assert says.coefficients[0] == pytest.approx(0.02, rel=1e-5)
    assert says.shape.inside
    assert "shape 1.5" in str(says)


def exponents(noise, replicates, p=400, true=1.5):
    """Whether profile intervals hold the exponent, and the estimates."""
    rng = np.random.default_rng(7)
    held, found = [], []
    for _ in range(replicates):
        w = rng.normal(size=p)
        pull = true * np.sign(w) * np.abs(w) ** (true - 1.0)
        pull = pull + noise * np.linalg.norm(pull) / np.sqrt(p) * rng.normal(size=p)
        loss = forces(jnp.asarray(-pull))
        says = E.match(loss, w, [FREE])
        low, high = says.shape.interval
        held.append(low <= true <= high)
        found.append(says.shape.value)
    return np.mean(held), np.array(found)


FREE = P.Free(lambda p: P.Power(p, 0.0), 1.01, 3.0)


@functools.cache
def _along():
    return lambda w, b: b @ w


def forces(g):
    """A loss whose gradient is given."""
    return pn.Objective(_along(), jnp.zeros(g.shape), g[None])


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.1])
def test_exponents_under_noise(noise):
    held, found = exponents(noise, 6)
    assert held >= 0.5
    assert np.allclose(found, 1.5, atol=10 * noise / np.sqrt(400) + 1e-3)


@pytest.mark.slow
def test_profile_intervals_cover():
    held, _ = exponents(0.1, 400)
    assert abs(held - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 400)


def test_collinear_penalties_are_named_and_never_merged():
    loss = least_squares()
    w = np.full(12, 0.01)
    says = E.match(loss, w, [P.Ridge(), P.L1(smooth=1.0)])
    assert not says.identifiable
    assert "Ridge and L1" in says.reason
    assert (says.vif > 1e8).all()
    assert np.isinf(says.error).all()
    assert len(says.coefficients) == 2
    assert says.cosines[0, 1] == pytest.approx(1.0)
    three = E.match(loss, w, [P.Ridge(), P.Ridge(), P.GradientNorm()])
    assert "Ridge #1 and Ridge #2" in three.reason
    assert three.vif[2] < 1e8


def test_three_that_depend_on_one_another_without_a_pair():
    loss = least_squares()
    w = np.random.default_rng(0).normal(size=12)
    terms = [P.Ridge(), P.Anchored(np.ones(12)), lambda w: jnp.sum(w)]
    says = E.match(loss, w, terms)
    assert not says.identifiable
    assert "linearly dependent" in says.reason


def test_weights_that_are_no_minimiser():
    loss = least_squares()
    both = P.Penalised(loss, [P.Ridge()], [0.1])
    says = E.match(loss, np.full(12, 0.3), [P.Ridge()], objective=both)
    assert says.gap > 0.5
    assert not says.identifiable
    alone = E.match(loss, np.full(12, 0.3), [P.Ridge()], objective=loss)
    assert alone.gap == pytest.approx(1.0)
    assert "no minimiser" in alone.reason


def test_what_something_else_did_is_said_to_be_something_else():
    loss = least_squares()
    hidden = P.Anchored(np.linspace(-3, 3, 12))
    both = P.Penalised(loss, [hidden], [0.5])
    run = pn.train(both, pn.optimizers.GradientDescent(), steps=3000, step_size=0.3)
    says = E.match(loss, run.last, [P.Ridge()], objective=both)
    assert not says.identifiable
    assert "something else" in says.reason
    assert E.match(loss, run.last, [hidden], objective=both).identifiable


def test_interpolation_has_nothing_to_balance():
    loss = least_squares(n=5, d=12)
    X, y = np.asarray(loss.X), np.asarray(loss.y)
    zero = pn.Regression(lambda w, X: X @ w, jnp.zeros(12), X, np.zeros(5))
    says = E.match(zero, np.zeros(12), [P.Ridge()])
    assert not says.identifiable
    assert "match_dual" in says.reason
    assert E.match(loss, np.linalg.pinv(X) @ y, [P.Ridge()]).error[0] >= 0


def test_fewer_equations_than_coefficients():
    loss = pn.Regression(lambda w, X: X @ w, jnp.zeros(1), jnp.ones((3, 1)), [1.0] * 3)
    says = E.match(loss, np.array([0.5]), [P.Ridge(), P.Power(3.0)])
    assert not says.identifiable
    assert "1 equations" in says.reason
    lonely = least_squares(d=3)
    w = np.array([0.4, 0.0, 0.0])
    says = E.match(lonely, w, [P.L1(), P.Ridge()])
    assert "1 equations" in says.reason


def test_gradients_far_below_the_least_float():
    problem = pn.datasets.gaussian(8, 30, seed=0).problem(pn.losses.Exponential())
    w = np.asarray(pn.max_margin(problem, pn.norms.L2()).weights)
    lengths = np.array([10.0, 1000.0, 5000.0])
    logs = []
    for length in lengths:
        says = E.match(problem, length * w, [P.Ridge()])
        logs.append(says.log_coefficients[0])
    # the gradient is e^{-length·margin} and λ = |g|/length
    margin = float(jnp.min(problem.margins(jnp.asarray(w))))
    slope = np.diff(np.array(logs) + np.log(lengths)) / np.diff(lengths)
    assert np.allclose(slope, -margin, rtol=5e-3)
    assert says.coefficients[0] == 0.0
    assert any("log_coefficients" in note for note in says.notes)


def test_separated_data_have_a_ridge_that_nobody_put_there():
    problem = binary(0)
    run = pn.train(
        problem, pn.optimizers.GradientDescent(), steps=20_000, step_size=0.1
    )
    says = E.match(problem, run.last, [P.Ridge()])
    assert says.cosine > 0.9
    assert says.coefficients[0] > 0
    assert not says.identifiable
    assert "separated" in says.reason
    # with the objective that was trained it is measured: nothing but the loss
    assert E.match(problem, run.last, [P.Ridge()], objective=problem).gap == 1.0


def test_an_explicit_ridge_on_separated_data_is_still_found():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 40)), np.repeat([-1, 1], 15)
    model = LogisticRegression(
        C=1.0 / (30 * 0.02), fit_intercept=False, tol=1e-12, max_iter=10_000
    )
    w = model.fit(X, y).coef_[0]
    problem = pn.LinearClassification(X, y, loss=pn.losses.Logistic())
    says = E.match(problem, w, [P.Ridge()])
    assert says.coefficients[0] == pytest.approx(0.02, rel=1e-5)
    assert says.identifiable


def test_a_loss_that_can_not_be_had_without_noise():
    def losses(w, x, key):
        return jnp.sum(w**2) * x * (1.0 + jax.random.normal(key, x.shape))

    problem = pn.Objective(losses, jnp.ones(3), jnp.ones(4), random=True)
    says = E.match(problem, np.ones(3), [P.Ridge()])
    assert not says.identifiable
    assert "training mode" in says.reason


def test_layerwise_ridges_of_a_homogeneous_network_are_one_number():
    network = pn.networks.MLP((4, 6, 5, 1))
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(10, 4)), np.repeat([-1, 1], 5)
    params = network.params(0)
    problem = pn.NetworkClassification(
        network, params, X, y, loss=pn.losses.Logistic(), degree=3
    )
    layers = P.layerwise(P.Ridge(), params)
    says = E.match(problem, params, layers)
    sizes = [float(jnp.sum(x**2)) for x in jax.tree.leaves(params)]
    products = says.coefficients * np.array(sizes)
    assert np.allclose(products, products[0], rtol=1e-9)


def test_any_function_of_the_weights_is_a_penalty():
    loss = least_squares()
    w = np.random.default_rng(0).normal(size=12)

    def square(w):
        return jnp.sum(w**2)

    ours = E.match(loss, w, P.Ridge())
    theirs = E.match(loss, w, square)
    assert theirs.coefficients[0] == pytest.approx(ours.coefficients[0] / 2)
    assert theirs.labels == ("square",)


def test_what_is_printed_has_the_conventions_and_the_verdict():
    loss = least_squares()
    says = E.match(loss, np.ones(12), [P.Ridge(), P.L1(smooth=0.1)])
    text = str(says)
    assert "the mean of half the squared residual" in text
    assert "Ridge ½‖w‖²" in text
    assert re.search(r"(?i)identifiable: ", text)
    told = says.to_dict()
    assert told["identifiable"] == says.identifiable
    assert [p["label"] for p in told["penalties"]] == ["Ridge", "L1"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: E.match(p, np.ones(3), [P.Ridge()]), "w must have the shape"),
        (lambda p: E.match(p, np.ones(12), []), "at least one penalty"),
        (lambda p: E.match(p, np.full(12, np.nan), [P.Ridge()]), "w must be finite"),
        (lambda p: E.match(3, np.ones(12), [P.Ridge()]), "problem"),
        (lambda p: E.match(p, np.ones(12), [3]), "penalties|penalty must be"),
        (lambda p: E.match(p, np.ones(12), [FREE, FREE]), "one free shape at most"),
        (lambda p: E.match(p, np.ones(12), [P.Ridge()])["L1"], "no penalty 'L1'"),
    ],
)
def test_bad_input_is_told(call, words):
    with pytest.raises((TypeError, ValueError, KeyError), match=words):
        call(least_squares())
