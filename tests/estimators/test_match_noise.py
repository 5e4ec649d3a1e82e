"""Matching noise, dual coordinates, early stopping; fields, profiles and validation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

import penchant as pn
from tests.cases import binary

P, E = pn.penalties, pn.estimators
NOISE = E.interventions


def linear(w, X):
    return X @ w


def regression(n=80, d=8, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * np.geomspace(0.3, 2.0, d)
    y = X @ rng.normal(size=d) + rng.normal(size=n)
    return pn.Regression(linear, jnp.zeros(d), X, y)


# --- noise


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5])
def test_dropout_of_a_linear_model_is_a_scaled_ridge(rate):
    loss = regression()
    gamma = rate / (1 - rate)
    scaled = P.ScaledRidge(jnp.mean(loss.X**2, axis=0))
    # exactly, at the exact optimum of what dropout trains
    A, b = loss.X.T @ loss.X / 80, loss.X.T @ loss.y / 80
    w = jnp.linalg.solve(A + gamma * jnp.diag(scaled.scale), b)
    says = E.match(loss, w, [scaled])
    assert says.coefficients[0] == pytest.approx(gamma, rel=1e-10)
    # and by its own noise, anywhere
    noisy = NOISE.input_dropout(loss, rate)
    seen = E.match_interventions(noisy, jnp.ones(8), [scaled, P.Ridge()], pairs=400)
    assert abs(seen.coefficients[0] - gamma) < 4 * seen.error[0]
    assert abs(seen.coefficients[1]) < 4 * seen.error[1]
    assert seen.cross_fitted > 0.9


def test_noise_without_a_mean_effect_is_not_explained():
    loss = regression()
    says = E.match_interventions(
        NOISE.label_noise(loss, 1.0), jnp.ones(8), [P.Ridge()], pairs=50
    )
    assert not says.identifiable
    assert "within its scatter" in says.reason
    assert abs(says.coefficients[0]) < 4 * says.error[0]


def test_noise_on_weights_is_half_the_trace():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 4)), rng.normal(size=20)
    loss = pn.Regression(lambda w, X: jnp.tanh(X @ w), jnp.zeros(4), X, y)
    trace = lambda w: 0.5 * jnp.trace(jax.hessian(loss.loss)(w))
    noisy = NOISE.weight_noise(loss, 0.05)
    w = jnp.asarray(rng.normal(size=4))
    says = E.match_interventions(noisy, w, [trace], pairs=4000)
    assert abs(says.coefficients[0] - 0.0025) < 4 * says.error[0] + 1e-4
    assert says.error[0] < 1e-3


def test_mixup_pulls_a_linear_model_towards_zero():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    loss = pn.Regression(linear, jnp.zeros(5), X, X @ np.arange(1.0, 6.0))
    wrong = jnp.asarray(-np.arange(1.0, 6.0))
    says = E.match_interventions(
        NOISE.mixup(loss, 1.0), wrong, [P.Anchored(jnp.arange(1.0, 6.0))], pairs=200
    )
    # mixing shrinks X'X: less loss everywhere but at the truth
    assert says.identifiable
    assert says.coefficients[0] < -4 * says.error[0]


def test_cross_fitting_does_not_count_scatter_as_explained():
    loss = regression()
    noisy = NOISE.augmentation(
        loss,
        lambda batch, key: (
            batch[0] + 0.5 * jax.random.normal(key, batch[0].shape),
            batch[1],
        ),
    )
    rng = np.random.default_rng(0)
    hay = [
        P.Anchored(jnp.asarray(9 * rng.normal(size=8)), P.Power(3.0)) for _ in range(4)
    ]
    says = E.match_interventions(noisy, jnp.ones(8), [P.Ridge(), *hay], pairs=500)
    assert abs(says.coefficients[0] - 0.25) < 4 * says.error[0]
    assert says.cross_fitted <= 1.02


@pytest.mark.slow
def test_errors_over_draws_cover():
    loss = regression(d=4)
    noisy = NOISE.input_dropout(loss, 0.3)
    scaled = P.ScaledRidge(jnp.mean(loss.X**2, axis=0))
    inside = []
    for key in range(400):
        says = E.match_interventions(noisy, jnp.ones(4), [scaled], pairs=32, key=key)
        inside.append(abs(says.coefficients[0] - 3 / 7) < 1.96 * says.error[0])
    assert abs(np.mean(inside) - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 400)


@pytest.mark.slow
def test_logistic_dropout_exactly_by_all_masks_and_by_wagers_form():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6))
    y = np.where(X[:, 0] + rng.logistic(size=200) > 0, 1.0, -1.0)
    masks = np.array(list(itertools.product([0.0, 1.0], repeat=6)))
    rate = 0.05
    for scale, close in ((1.0, 0.35), (0.02, 0.005)):
        chance = np.prod(np.where(masks > 0, 1 - rate, rate), axis=1)
        mean_loss = lambda w, m: jnp.mean(
            jnp.logaddexp(0.0, -y * ((X * m[None, :] / (1 - rate)) @ w))
        )
        clean = lambda w: jnp.mean(jnp.logaddexp(0.0, -y * (X @ w)))
        exact = P.Expected(mean_loss, masks, clean, chance)
        w = jnp.asarray(scale * np.array([1.0, -0.5, 0.8, 0.3, -0.9, 0.6]))

        def wager(w):
            p = jax.nn.sigmoid(X @ w)
            return 0.5 * jnp.sum(w**2 * jnp.mean((p * (1 - p))[:, None] * X**2, axis=0))

        force = exact.gradient(w, None)
        quadratic = jax.grad(wager)(w)
        gamma = float(force @ quadratic / (quadratic @ quadratic))
        assert gamma / (rate / (1 - rate)) == pytest.approx(1.0, abs=close)
        assert E.curl(jax.grad(exact), w).conservative
    frozen = lambda w: (
        jnp.mean(
            (jax.nn.sigmoid(X @ w) * (1 - jax.nn.sigmoid(X @ w)))[:, None] * X**2,
            axis=0,
        )
        * w
    )
    w = jnp.asarray([1.0, -0.5, 0.8, 0.3, -0.9, 0.6])
    assert not E.curl(frozen, w).conservative


def test_two_layer_linear_dropout_is_a_squared_nuclear_norm():
    rng = np.random.default_rng(0)
    n, d, h, k, gamma = 50, 4, 6, 3, 0.3
    X = rng.normal(size=(n, d)) * np.array([0.5, 1.0, 1.5, 2.0])
    Y = X @ rng.normal(size=(d, k)) + 0.3 * rng.normal(size=(n, k))
    C = X.T @ X / n

    def parts(x):
        return x[: d * h].reshape(d, h), x[d * h :].reshape(k, h)

    def explicit(V, U):
        return jnp.sum(jnp.sum(U**2, axis=0) * jnp.einsum("ih,ij,jh->h", V, C, V))

    def objective(x):
        V, U = parts(x)
        return jnp.mean(jnp.sum((Y - X @ V @ U.T) ** 2, axis=1)) + gamma * explicit(
            V, U
        )

    value = jax.jit(jax.value_and_grad(objective))
    best = minimize(
        lambda x: tuple(np.asarray(v, dtype=float) for v in value(jnp.asarray(x))),
        0.5 * rng.normal(size=h * (d + k)),
        jac=True,
        method="BFGS",
        options={"gtol": 1e-9, "maxiter": 5000},
    ).x
    V, U = parts(jnp.asarray(best))
    weight = np.sqrt(np.sum(U**2, axis=0) * np.einsum("ih,ij,jh->h", V, C, V))
    assert np.std(weight) / np.mean(weight) < 1e-5  # they equalise
    root = np.linalg.cholesky(C).T
    nuclear = np.linalg.norm(root @ np.asarray(V @ U.T), "nuc")
    assert float(explicit(V, U)) == pytest.approx(nuclear**2 / h, rel=1e-6)
    loss = pn.Objective(
        lambda w, b: jnp.sum((b[1] - b[0] @ w[0] @ w[1].T) ** 2, axis=1),
        (V, U),
        (X, Y),
    )
    says = E.match(loss, (V, U), [lambda w: explicit(*w)])
    assert says.coefficients[0] == pytest.approx(gamma, rel=1e-6)
    assert E.match(loss, (V, U), [P.Ridge()]).r2 < 0.95


def test_marginal_estimates_subtract_what_acts_anyway():
    loss = regression()
    w = jnp.linspace(-1.0, 1.0, 8)
    one, two = (E.match(loss, x, [P.Ridge()]) for x in (w, 2 * w))
    part = E.marginal(one, two)
    assert part.coefficients[0] == one.coefficients[0] - two.coefficients[0]
    assert part.error[0] == pytest.approx(one.error[0] + two.error[0])
    with pytest.raises(ValueError, match="the same penalties"):
        E.marginal(one, E.match(loss, w, [P.L1()]))


def test_bad_noise_is_told():
    loss = regression()
    with pytest.raises(TypeError, match="must draw noise"):
        E.match_interventions(loss, jnp.ones(8), [P.Ridge()])
    keyed = pn.Objective(
        lambda w, b, key: b[1] * jax.random.normal(key, b[1].shape) + jnp.sum(w),
        jnp.zeros(8),
        loss.data,
        random=True,
    )
    with pytest.raises(ValueError, match="clean must be given"):
        E.match_interventions(keyed, jnp.ones(8), [P.Ridge()])
    with pytest.raises(ValueError, match="rate must be"):
        NOISE.input_dropout(loss, 1.0)
    with pytest.raises(TypeError, match="draws already"):
        NOISE.mixup(NOISE.label_noise(loss, 1.0), 1.0)


# --- dual coordinates


def diagonal(alpha, seed=0, d=20, n=8):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    truth = np.zeros(d)
    truth[:3] = [1.0, -0.7, 0.5]
    start = {"u": jnp.full(d, alpha), "v": jnp.full(d, alpha)}
    return pn.Regression(
        lambda w, X: X @ (w["u"] ** 2 - w["v"] ** 2), start, X, X @ truth
    )


def square_difference(w):
    return w["u"] ** 2 - w["v"] ** 2


@pytest.mark.slow
def test_diagonal_networks_descend_in_the_hypentropy():
    alpha = 0.05
    run = pn.train(
        diagonal(alpha), pn.optimizers.GradientDescent(), steps=4000, step_size=0.01
    )
    assert float(run.loss[-1]) < 1e-4
    width = 2 * alpha**2
    says = E.match_dual(run, [P.Hypentropy(width)], predictor=square_difference)
    assert says.coefficients[0] == pytest.approx(0.25, rel=0.02)
    assert says.r2 > 0.9999
    free = P.Free(lambda b: P.Hypentropy(b), 1e-5, 1.0, log=True)
    fitted = E.match_dual(run, [free], predictor=square_difference)
    assert fitted.shape.value == pytest.approx(width, rel=0.1)
    ridge = E.match_dual(run, [P.Ridge()], predictor=square_difference)
    l1 = E.match_dual(run, [P.L1()], predictor=square_difference)
    assert ridge.r2 < l1.r2 < says.r2


def test_the_excess_over_a_quarter_is_of_the_order_of_eta():
    off = []
    for eta in (0.02, 0.01):
        run = pn.train(
            diagonal(0.1),
            pn.optimizers.GradientDescent(),
            steps=int(20 / eta),
            step_size=eta,
        )
        says = E.match_dual(run, [P.Hypentropy(0.02)], predictor=square_difference)
        off.append(says.coefficients[0] - 0.25)
    assert off[0] / off[1] == pytest.approx(2.0, rel=0.2)


def test_dual_matching_of_a_log():
    run = pn.train(
        diagonal(0.1), pn.optimizers.GradientDescent(), steps=300, step_size=0.01
    )
    part = pn.training.replay(run, steps=300)
    log = E.LoggedRun(part.weights, part.gradients, 0.01)
    a, b = (
        E.match_dual(x, [P.Hypentropy(0.02)], predictor=square_difference)
        for x in (run, log)
    )
    assert a.coefficients[0] == pytest.approx(b.coefficients[0], rel=1e-9)


# --- early stopping


def paths(n=300, p=10, steps=200, eta=0.01, seed=56, targets=1):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    A = X.T @ X / n
    ends, slopes = [], []
    for _ in range(targets):
        y = X @ (3 * rng.normal(size=p)) + rng.normal(size=n)
        b, w = X.T @ y / n, np.zeros(p)
        for _ in range(steps):
            w = w - eta * (A @ w - b)
        ends.append(w)
        slopes.append(A @ w - b)
    return A, np.array(ends), np.array(slopes)


@pytest.mark.parametrize("steps", [1, 10, 100, 500])
def test_stopping_early_is_a_quadratic_penalty(steps):
    A, (w,), (g,) = paths(steps=steps)
    Q = E.early_stopping_matrix(A, steps=steps, step_size=0.01)
    assert np.linalg.norm(Q @ w + g) < 1e-11 * np.linalg.norm(g)
    loss = pn.Objective(
        lambda w, b: 0.0 * jnp.sum(w) + w @ jnp.asarray(g) * b,
        jnp.zeros(10),
        jnp.ones(1),
    )
    ridge = E.match(loss, w, [P.Ridge()])
    assert ridge.coefficients[0] == pytest.approx(w @ Q @ w / (w @ w), rel=1e-10)
    assert np.isclose(1 / (0.01 * steps), ridge.coefficients[0], rtol=0.02) == (
        steps == 1
    )


def test_the_published_numbers_of_early_stopping():
    """n = 1000, p = 10, seed 56: the draws are X, then the coefficients, then noise."""
    q = E.early_stopping(np.array([1.0]), steps=200, step_size=0.01)
    assert q[0] == pytest.approx(1 / (0.99**-200 - 1), rel=1e-12)
    assert q[0] == pytest.approx(0.1547, abs=1e-4)


def test_ends_of_the_formula_keep_their_digits():
    s = np.array([0.0, 1e-14, 1e-6, 0.5, 99.0])
    q = E.early_stopping(s, steps=1000, step_size=0.01)
    assert q[0] == pytest.approx(1 / 10)
    assert q[1] == pytest.approx(1 / 10)
    assert q[2] == pytest.approx(1 / 10 - 0.5005e-6, rel=1e-10)
    assert q[4] == pytest.approx(0.0, abs=1e-300)
    with pytest.raises(ValueError, match="below 1; got 1"):
        E.early_stopping([100.0], steps=3, step_size=0.01)


def test_a_fixed_preconditioner_weighs_the_ridge():
    rng = np.random.default_rng(0)
    X, D = rng.normal(size=(40, 5)), np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    A, b = X.T @ X / 40, rng.normal(size=5)
    w = np.zeros(5)
    for _ in range(150):
        w = w - 0.05 * (A @ w - b) / D
    Q = E.early_stopping_matrix(A, steps=150, step_size=0.05, preconditioner=D)
    assert np.linalg.norm(Q @ w + A @ w - b) < 1e-12 * np.linalg.norm(A @ w - b) + 1e-13
    soon = E.early_stopping_matrix(A, steps=1, step_size=1e-6, preconditioner=D)
    assert np.allclose(soon * 1e-6, np.diag(D), atol=1e-4)


@pytest.mark.parametrize("count", [8, 9, 10, 12])
def test_as_many_endpoints_as_weights_fix_the_matrix(count):
    A, ends, slopes = paths(targets=count)
    found = E.match_matrix(ends, slopes)
    unknowns = 55
    expected = count * 10 - count * (count - 1) // 2 if count <= 10 else unknowns
    assert found.rank == min(expected, unknowns)
    assert found.unique == (count >= 10)
    Q = E.early_stopping_matrix(A, steps=200, step_size=0.01)
    off = np.linalg.norm(found.matrix - Q) / np.linalg.norm(Q)
    assert (off < 1e-9) == (count >= 10)
    assert found.residual < 1e-10


# --- fields, profiles, validation


@pytest.mark.slow
def test_fields_that_are_gradients_and_others():
    rng = np.random.default_rng(0)
    problem = binary(1)
    w = jnp.asarray(rng.normal(size=12) * 0.3)
    slope = lambda w: problem.gradient(w)
    assert E.curl(lambda w: jax.jvp(slope, (w,), (slope(w),))[1], w).conservative
    divided = lambda w: slope(w) / jnp.sqrt(slope(w) ** 2 + 1e-3)
    assert E.curl(divided, w).value > 0.1
    swap = lambda w: jnp.concatenate([-w[6:], w[:6]])
    assert E.curl(swap, w).value == pytest.approx(np.sqrt(2.0), rel=1e-9)
    assert "linear potential" in repr(E.curl(lambda w: 0.0 * w + 1.0, w))
    with pytest.raises(TypeError, match="pytree like w"):
        E.curl(lambda w: w[:3], w)


SHAPES = {
    "ridge": (lambda a: 0.5 * a, "convex"),
    "l1": (lambda a: np.full_like(a, 0.5), "constant"),
    "huber": (lambda a: np.minimum(a / 0.5, 1.0), "convex"),
    "mcp": (lambda a: np.maximum(1.0 - a / 2.0, 0.0), "concave"),
    "log": (lambda a: 1.0 / (0.5 + a), "concave"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_splines_find_the_derivative_of_a_penalty(name):
    slope, kind = SHAPES[name]
    rng = np.random.default_rng(0)
    w = rng.normal(size=600)
    pull = np.sign(w) * slope(np.abs(w))
    found = E.weight_profile(w, pull + 0.01 * rng.normal(size=600))
    assert found.kind == kind
    at = np.linspace(0.05, 2.0, 50)
    error = np.linalg.norm(found(at) - slope(at)) / np.linalg.norm(slope(at))
    assert error < 0.02
    assert np.allclose(found(-at), -found(at))


def test_a_profile_that_rises_and_falls():
    w = np.random.default_rng(0).normal(size=500)
    found = E.weight_profile(w, np.sign(w) * np.sin(2 * np.abs(w)))
    assert found.kind == "neither"
    axes = found.plot()
    assert axes.get_xlabel() == "weight"
    with pytest.raises(ValueError, match="at least 18 entries"):
        E.weight_profile(np.ones(4), np.ones(4))


def test_retraining_recovers_early_stopping():
    loss = regression()
    rule = pn.optimizers.GradientDescent()
    short = pn.train(loss, rule, steps=30, step_size=0.05)
    diagonal = P.ScaledRidge(jnp.abs(-loss.gradient(short.last) / short.last))
    again = E.retrain(short, loss, [diagonal], [1.0], steps=4000)
    if bool((-loss.gradient(short.last) / short.last > 0).all()):
        assert np.allclose(again.last, short.last, atol=1e-8)
    ridge = E.match(loss, short.last, [P.Ridge()])
    near = E.retrain(short, loss, [P.Ridge()], ridge, steps=4000)
    far = E.retrain(short, loss, [P.Ridge()], [0.0], steps=4000)
    size = lambda run: float(jnp.linalg.norm(run.last))
    found = E.recovery([size(short)], [size(far)], [size(near)])
    assert 0.5 < found.fraction < 1.5


def test_recovery_of_medians():
    rng = np.random.default_rng(0)
    base = rng.normal(size=40)
    found = E.recovery(base + 2.0, base, base + 1.5)
    assert found.fraction == pytest.approx(0.75)
    assert found.interval[0] <= 0.75 <= found.interval[1]
    assert found.seen
    nothing = E.recovery(base, base[::-1], base + 5)
    assert not nothing.seen
    assert "nothing to recover" in repr(nothing)
    with pytest.raises(ValueError, match="one number a seed"):
        E.recovery(base, base[:3], base)
