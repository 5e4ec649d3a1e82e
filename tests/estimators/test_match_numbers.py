"""Numbers of matching to their digits, each derived here by another route."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant.norms import L1, Frobenius, Linf, Nuclear, Spectral

P, E = pn.penalties, pn.estimators


def linear(w, X):
    return X @ w


# --- early stopping: n = 1000, p = 10, noise 1, seed 56; X, coefficients, noise in turn

RIDGES = {
    1: 99.0686,
    10: 9.49511,
    100: 0.602428,
    200: 0.170726,
    500: 9.12769e-3,
    1000: 9.35856e-5,
}


@pytest.fixture(scope="module")
def stopped():
    rng = np.random.default_rng(56)
    X = rng.normal(size=(1000, 10))
    y = X @ (3.0 * rng.normal(size=10)) + rng.normal(size=1000)
    A, b = X.T @ X / 1000, X.T @ y / 1000
    w, ends = np.zeros(10), {}
    for t in range(1, 1001):
        w = w - 0.01 * (A @ w - b)
        ends[t] = w
    return A, b, ends


@pytest.mark.parametrize("steps", RIDGES)
def test_best_ridges_of_least_squares_stopped_early(stopped, steps):
    A, b, ends = stopped
    w = ends[steps]
    says = E.match(E.LoggedGradient(w, A @ w - b), w, ["ridge"])
    assert says.coefficients[0] == pytest.approx(RIDGES[steps], rel=6e-6)
    if steps == 100:
        Q = E.early_stopping_matrix(A, steps=100, step_size=0.01)
        assert np.trace(Q) / 10 == pytest.approx(0.578181, abs=6e-7)


@pytest.mark.parametrize(
    ("x", "approximate"),
    [(1e-4, lambda s, t: 1 / t - s / 2), (30.0, lambda s, t: s * np.exp(-t * s))],
)
def test_both_ends_of_the_eigenvalues(x, approximate):
    # as η goes to 0 with ηt = 2 fixed, where q = x/(eˣ - 1)/(ηt), x = ηts
    steps, eta = 200_000, 1e-5
    s = x / (steps * eta)
    q = float(E.early_stopping([s], steps=steps, step_size=eta)[0])
    assert q == pytest.approx(x / np.expm1(x) / 2.0, rel=3e-3)
    assert q == pytest.approx(approximate(s, 2.0), rel=3e-3)


def test_one_over_time_is_only_the_small_end():
    (q,) = E.early_stopping([1.0], steps=200, step_size=0.01)
    assert q == pytest.approx(0.1547, abs=5e-5)  # one over the time is .5


# --- the norm of an explicit penalty among six


class Rows(pn.norms.AbstractNorm):
    """Sum of the lengths of rows: a stranger's norm."""

    @property
    def label(self):
        return "rows"

    def __call__(self, w):
        return jnp.sum(jnp.linalg.norm(w, axis=1))

    def dual(self, g):
        return jnp.max(jnp.linalg.norm(g, axis=1))

    def steepest(self, g):
        i = jnp.argmax(jnp.linalg.norm(g, axis=1))
        return jnp.zeros_like(g).at[i].set(g[i] / jnp.linalg.norm(g[i]))


def _cvxpy_norm(name, W):
    import cvxpy as cp

    return {
        "ℓ1": lambda: cp.sum(cp.abs(W)),
        "ℓ2": lambda: cp.norm(W, "fro"),
        "ℓ∞": lambda: cp.max(cp.abs(W)),
        "rows": lambda: cp.sum(cp.norm(W, 2, axis=1)),
        "nuclear": lambda: cp.normNuc(W),
        "spectral": lambda: cp.sigma_max(W),
    }[name]()


SIX = (L1(), Frobenius(), Linf(), Rows(), Nuclear(), Spectral())


@pytest.mark.parametrize("name", ["ℓ1", "ℓ2", "ℓ∞", "rows", "nuclear", "spectral"])
def test_the_true_norm_of_six_has_index_1(name):
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 4))
    Y = X @ rng.normal(size=(4, 3)) + rng.normal(size=(40, 3))
    W, strength = cp.Variable((4, 3)), 0.3
    fit = cp.sum_squares(Y - X @ W) / 80
    cp.Problem(cp.Minimize(fit + strength * _cvxpy_norm(name, W))).solve(
        solver="CLARABEL", tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9
    )
    problem = pn.Objective(
        lambda w, b: 0.5 * jnp.sum((b[1] - b[0] @ w) ** 2, axis=1),
        np.zeros((4, 3)),
        (X, Y),
    )
    rows = {
        ("ℓ2" if norm is SIX[1] else norm.label): row.alignment
        for norm, row in zip(SIX, E.alignment(problem, W.value, SIX), strict=True)
    }
    assert rows[name] == pytest.approx(1.0, abs=1e-4)
    others = [value for other, value in rows.items() if other != name]
    assert max(others) < 0.97
    # both estimators of the coefficient, by the weights and by the dual norm
    g = np.asarray(problem.gradient(jnp.asarray(W.value)))
    norm = SIX[[*rows].index(name)]
    by_weights = -np.sum(W.value * g) / float(norm(jnp.asarray(W.value)))
    assert by_weights == pytest.approx(strength, rel=1e-5)
    assert float(norm.dual(jnp.asarray(g))) == pytest.approx(strength, rel=1e-5)


# --- dropout trained by SGD: the coefficient of the scaled ridge where it ends


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2, 0.3, 0.5])
def test_dropout_trained_by_sgd_has_gamma_at_its_end(rate):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 8)) * np.geomspace(0.5, 1.5, 8)
    y = X @ rng.normal(size=8) + 0.5 * rng.normal(size=200)
    loss = pn.Regression(linear, jnp.zeros(8), X, y)
    run = pn.train(
        E.interventions.input_dropout(loss, rate),
        pn.optimizers.GradientDescent(),
        steps=200_000,
        step_size=pn.schedules.power(20.0, 1.0, 200.0),
        batching=pn.batching.WithReplacement(20),
    )
    scaled = P.ScaledRidge(jnp.mean(loss.X**2, axis=0))
    says = E.match(loss, run.last, [scaled])
    assert says.coefficients[0] == pytest.approx(rate / (1 - rate), rel=0.03)
    assert says.r2 > 0.99
    assert E.match(loss, run.last, [P.Ridge()]).r2 < says.r2 - 0.1


# --- diagonal networks at interpolation


@pytest.mark.slow
def test_a_small_start_has_a_quarter_and_the_width_of_its_hypentropy():
    alpha, rng = 0.01, np.random.default_rng(0)
    X = rng.normal(size=(12, 30))
    truth = np.zeros(30)
    truth[:3] = [1.0, -0.7, 0.5]
    start = {"u": jnp.full(30, alpha), "v": jnp.full(30, alpha)}
    square = lambda w: w["u"] ** 2 - w["v"] ** 2
    loss = pn.Regression(lambda w, X: X @ square(w), start, X, X @ truth)
    run = pn.train(loss, pn.optimizers.GradientDescent(), steps=100_000, step_size=0.01)
    assert np.linalg.norm(loss.flat(loss.gradient(run.last))) < 1e-6
    width = 2 * alpha**2
    says = E.match_dual(run, [P.Hypentropy(width)], predictor=square)
    # the excess is of the order of the step size
    assert says.coefficients[0] == pytest.approx(0.25, rel=1e-2)
    assert says.r2 > 0.9999
    free = P.Free(lambda b: P.Hypentropy(b), 1e-6, 1e-1, log=True)
    fitted = E.match_dual(run, [free], predictor=square)
    assert fitted.shape.value == pytest.approx(width, rel=0.03)
    ridge, l1 = (
        E.match_dual(run, [p], predictor=square).r2 for p in (P.Ridge(), P.L1())
    )
    assert ridge < 0.5 < l1 < 0.95


# --- AdamW at rest


@pytest.mark.slow
@pytest.mark.parametrize("decay", [0.03, 0.1])
def test_adamw_rests_at_a_ridge_that_noise_scales(decay):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(256, 20)) * np.geomspace(0.3, 3.0, 20)
    y = X @ rng.normal(size=20) + rng.normal(size=256)
    loss = pn.Regression(linear, jnp.zeros(20), X, y)
    run = pn.train(
        loss,
        pn.optimizers.AdamW(0.9, 0.999, 1e-8, decay),
        steps=100_000,
        step_size=1e-3,
        batching=pn.batching.WithReplacement(8),
    )
    # averages over a window: one set of weights has the noise of single batches
    seen = pn.training.window(run, steps=100_000)
    w, g = (np.asarray(x).mean(axis=0) for x in (seen.weights, seen.gradients))
    log = E.LoggedGradient(w, g)
    says = E.match(log, w, [P.noise_scaled(run)])
    assert says.coefficients[0] == pytest.approx(decay, rel=0.04)
    assert says.r2 > 0.99
    plain = E.match(log, w, [P.Ridge()])
    assert abs(plain.coefficients[0] / decay - 1.0) > 0.3
    assert plain.r2 < 0.9


# --- finite steps


@pytest.mark.slow
def test_extrapolated_quotients_are_1_to_four_digits():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 4))
    model = lambda w, X: jnp.tanh(X @ w["U"]) @ w["v"]
    start = {"U": 0.5 * rng.normal(size=(4, 10)), "v": 0.5 * rng.normal(size=10)}
    loss = pn.Regression(model, start, X, np.sin(X[:, 0]) + 0.5 * X[:, 1])
    run = pn.train(loss, pn.optimizers.GradientDescent(), steps=100, step_size=0.003)
    says = E.match_run(run, [P.GradientNorm()])
    assert says.coefficients[0] / (0.003 / 4) == pytest.approx(1.0, abs=1e-4)
    assert jax.tree.structure(run.last) == jax.tree.structure(start)
