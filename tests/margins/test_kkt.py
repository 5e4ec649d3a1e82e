"""KKT residuals and gaps: known points, other solvers, and kinks."""

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant.norms import L1, L2, Layerwise, Linf, Mahalanobis, Spectral
from penchant.problems.models.networks import MLP, Identity
from tests.cases import multiclass
from tests.flows.cases import EXPONENTIAL, data, linear, network

LINEAR, SQUARED = linear(), network()


def separating(seed):
    """Weights that classify all, far from optimal."""
    rng = np.random.default_rng(seed)
    while True:
        w = np.array([1.0, 0.0, 0.0]) + 0.3 * rng.normal(size=3)
        if LINEAR.margins(jnp.asarray(w)).min() > 0.05:
            return w


def near_rows(w, tol):
    """Signed examples whose margin is within `tol` of the least."""
    X, y = data()
    rows = X * y[:, None]
    q = rows @ w
    return rows[q <= (1 + tol) * q.min()]


def convex_gap(rows, w, dual, size):
    """The least of size * dual(n) / <n, w> - 1 over the cone of rows, by CVXPY."""
    shares = cp.Variable(len(rows), nonneg=True)
    n = rows.T @ shares
    program = cp.Problem(cp.Minimize(dual(n)), [n @ w == 1])
    return float(program.solve(solver=cp.CLARABEL)) * size - 1


def test_at_the_largest_margin_all_residuals_vanish():
    w = pn.max_margin(LINEAR, L2()).weights
    found = pn.kkt(LINEAR, w, tol=1e-4)
    assert found.residual < 1e-6
    assert found.gap < 1e-10
    assert found.least_squares <= found.active + 1e-12
    assert np.isclose(found.multipliers.sum(), 1.0)
    assert found.kinks == 0
    assert found.support.sum() >= 1
    # and away from it none of them
    off = pn.kkt(LINEAR, w + jnp.array([0.0, 0.3, 0.0]))
    assert off.residual > 1e-3
    assert off.gap > 1e-6


@pytest.mark.parametrize("problem", [LINEAR, SQUARED], ids=["linear", "network"])
def test_dynamic_is_the_angle_to_the_negative_gradient(problem):
    w = jnp.asarray(separating(0)) if problem is LINEAR else separated_network()
    v = np.asarray(problem.flat(w))
    g = np.asarray(problem.flat(problem.scaled_gradient(w).direction))
    cos = -(v @ g) / np.linalg.norm(v) / np.linalg.norm(g)
    found = pn.kkt(problem, w)
    assert np.isclose(found.dynamic, np.sqrt(2 * (1 - cos)), rtol=1e-9)
    assert found.least_squares <= found.active + 1e-12
    assert 0 <= found.slackness <= 1


def separated_network():
    """A network a short way down gradient descent."""
    run = pn.train(
        SQUARED,
        pn.optimizers.GradientDescent(),
        steps=100,
        step_size=pn.schedules.loss_based(),
        record=2,
    )
    return jax.tree.map(lambda w: w[-1], run.weights)


@pytest.mark.parametrize("seed", range(4))
def test_gaps_agree_with_independent_programs(seed):
    w, tol = separating(seed), 0.7
    rows = near_rows(w, tol)
    two = pn.kkt(LINEAR, w, L2(), tol=tol)
    wanted = convex_gap(rows, w, cp.norm2, np.linalg.norm(w))
    assert np.isclose(two.gap, wanted, rtol=1e-5, atol=1e-7)
    largest = pn.kkt(LINEAR, w, Linf(), tol=tol)
    wanted = convex_gap(rows, w, cp.norm1, np.abs(w).max())
    assert np.isclose(largest.gap, wanted, rtol=1e-5, atol=1e-7)
    assert largest.residual == largest.gap
    assert np.isnan(largest.dynamic)
    assert np.isclose(
        two.margin, LINEAR.margins(jnp.asarray(w)).min() / np.linalg.norm(w)
    )


def test_a_weighted_norm_is_l2_in_its_own_coordinates():
    M, w = np.array([0.2, 1.0, 3.0]), separating(1)
    X, y = data()
    there = pn.LinearClassification(X / np.sqrt(M), y, loss=EXPONENTIAL)
    a = pn.kkt(LINEAR, w, Mahalanobis(jnp.asarray(M)), tol=0.5)
    b = pn.kkt(there, np.sqrt(M) * w, L2(), tol=0.5)
    for name in ("margin", "residual", "gap", "dynamic", "least_squares", "active"):
        assert np.isclose(getattr(a, name), getattr(b, name), rtol=1e-8), name


@pytest.mark.parametrize("norm", [L2(), Linf()], ids=repr)
def test_linear_certificates_agree(norm):
    best = pn.max_margin(LINEAR, norm)
    found = pn.kkt(LINEAR, best.weights, norm, tol=1e-4)
    assert np.isclose(found.margin, best.margin, rtol=1e-6)
    assert found.gap < 1e-6
    # a gap over all samples bounds how much larger a margin there is
    w = separating(2)
    whole = pn.kkt(LINEAR, w, norm, tol=1e6)
    assert whole.margin <= best.margin * (1 + 1e-9)


def test_scaling_changes_no_certificate():
    w = separated_network()
    a = pn.kkt(SQUARED, w, tol=0.3)
    b = pn.kkt(SQUARED, jax.tree.map(lambda x: 3.0 * x, w), tol=0.3)
    for name in ("margin", "residual", "gap", "least_squares", "active"):
        assert np.isclose(getattr(a, name), getattr(b, name), rtol=1e-6), name


def test_at_a_kink_any_mixture_of_gradients_counts():
    # Units a(x1 - c x2) for class 1 and a(x2 - c x1) for class -1, each exactly at the
    # kink on the other's sample: stationary with slopes c and nothing else.
    X, c = np.array([[1.0, 0.0], [0.6, 0.8]]), 0.6
    share = (1 - c**2) ** -0.5
    a = share**0.5
    W = a * share * np.array([X[0] - c * X[1], X[1] - c * X[0]])
    problem = pn.NetworkClassification(
        MLP((2, 2, 1)),
        [{"W": W}, {"W": np.array([[a, -a]])}],
        X,
        [1, -1],
        loss=EXPONENTIAL,
    )
    w = problem.start
    assert np.allclose(problem.margins(w), 1.0)
    found = pn.kkt(problem, w)
    assert found.active > 0.1
    assert found.residual < 1e-6
    assert found.gap < 1e-10
    assert found.kinks == 2
    assert np.allclose(found.multipliers, 0.5, atol=1e-6)


def test_the_gap_of_a_spectral_norm_per_layer_is_the_least():
    problem = multiclass(0, k=3, d=4, n=12)
    norm = Layerwise(Spectral())
    best = pn.max_margin(problem, Spectral(), tol=1e-8)
    assert pn.kkt(problem, best.weights, norm, tol=1e-3).gap < 1e-3
    # where it is convex: one layer
    W = np.asarray(pn.max_margin(problem, L2()).weights)
    found = pn.kkt(problem, W, norm, tol=0.1)
    X, y = np.asarray(problem.X), np.asarray(problem.y)
    q = np.asarray(problem.pair_margins(jnp.asarray(W)))
    rows = []
    for i, other in np.argwhere(q <= 1.1 * q.min()):
        row = np.zeros((3, 4))
        row[y[i]] += X[i]
        row[other] -= X[i]
        rows.append(row.ravel())
    wanted = convex_gap(
        np.array(rows),
        W.ravel(),
        lambda n: cp.normNuc(cp.reshape(n, (3, 4), order="C")),
        np.linalg.norm(W, 2),
    )
    assert found.gap == pytest.approx(wanted, abs=1e-5)


def test_muon_on_a_linear_problem_comes_to_a_point_of_its_norm():
    problem = multiclass(0, k=3, d=4, n=12)
    run = pn.train(
        problem,
        pn.optimizers.Muon(0.9),
        steps=20_000,
        step_size=pn.schedules.power(0.1, 0.5),
        record=2,
    )
    found = pn.kkt(problem, run.increment(), Layerwise(Spectral()), tol=0.05)
    best = pn.max_margin(problem, Spectral()).margin
    assert found.margin > 0.97 * best
    assert found.gap < 0.05


def test_what_kkt_refuses():
    w = separating(0)
    with pytest.raises(pn.NotSeparatedError, match="8 of 8"):
        pn.kkt(LINEAR, -np.array([1.0, 0.0, 0.0]))
    with pytest.raises(TypeError, match="norm must be L2"):
        pn.kkt(LINEAR, w, L1())
    with pytest.raises(ValueError, match="tol must be > 0"):
        pn.kkt(LINEAR, w, tol=0.0)
    with pytest.raises(ValueError, match="draws must be at least 1"):
        pn.kkt(LINEAR, w, draws=0)
    with pytest.raises(ValueError, match="shape"):
        pn.kkt(LINEAR, np.ones(4))
    with pytest.raises(TypeError):
        pn.kkt("problem", w)
    apply = lambda w, X: X @ w["W"] + w["b"] ** 2
    params = {"W": np.array([1.0, 0.0, 0.0]), "b": np.array(0.1)}
    biased = pn.NetworkClassification(apply, params, *data(), loss=EXPONENTIAL)
    with pytest.raises(pn.NotHomogeneousError):
        pn.kkt(biased, params)


def test_balanced_deep_linear_weights_at_the_largest_margin():
    best = np.asarray(pn.max_margin(LINEAR, L2()).weights)
    best = best / np.linalg.norm(best)
    net = MLP((3, 1, 1), Identity())
    w = [{"W": best[None]}, {"W": np.ones((1, 1))}]
    problem = pn.NetworkClassification(net, w, *data(), loss=EXPONENTIAL)
    assert pn.kkt(problem, w, tol=1e-4).residual < 1e-6
    lopsided = [{"W": 3.0 * best[None]}, {"W": np.ones((1, 1))}]
    assert pn.kkt(problem, lopsided, tol=1e-4).residual > 0.1
